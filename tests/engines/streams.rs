//! The standard input, arguments and environment of a guest of preview 1, and what it costs while it waits: the same on both engines,
//! whose tests include this file.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::THREADS;
use crate::guest::{file, output, run, stdout};

/// Copies standard input to standard output until its end, then exits with 7.
const CAT: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $more
      (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1000))
      (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (call $exit (i32.const 1))))
      (if (i32.eqz (i32.load (i32.const 8))) (then (call $exit (i32.const 7))))
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)) (then (call $exit (i32.const 2))))
      (br $more))))"#;

#[test]
fn standard_input_reaches_the_guest_and_ends() {
    let mut child = run(CAT, Stdio::piped());
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(b"first ").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    pipe.write_all(b"second").unwrap();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(7), "first second"));
}

#[test]
fn standard_input_may_be_a_file_or_dev_null() {
    let output = output(CAT);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(7), ""));
    let (text, path) = file(b"from a file");
    let output = run(CAT, text.into()).wait_with_output().unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(7), "from a file"));
}

/// Polls standard input and a timer of 300 ms together; exits with the number of the event that came first: 1 for
/// input, 2 for the timer.
const POLL: &str = r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i64.store (i32.const 0) (i64.const 1))
    (i32.store8 (i32.const 8) (i32.const 1))
    (i64.store (i32.const 48) (i64.const 2))
    (i32.store (i32.const 64) (i32.const 1))
    (i64.store (i32.const 72) (i64.const 300000000))
    (if (call $poll (i32.const 0) (i32.const 256) (i32.const 2) (i32.const 512)) (then (call $exit (i32.const 99))))
    (call $exit (i32.load (i32.const 256)))))"#;

#[test]
fn a_poll_wakes_for_input_and_for_the_timer() {
    let mut silent = run(POLL, Stdio::piped());
    let pipe = silent.stdin.take();
    let started = Instant::now();
    assert_eq!(silent.wait().unwrap().code(), Some(2));
    assert!(started.elapsed() >= Duration::from_millis(250));
    drop(pipe);

    let mut spoken = run(POLL, Stdio::piped());
    let mut pipe = spoken.stdin.take().unwrap();
    pipe.write_all(b"x").unwrap();
    assert_eq!(spoken.wait().unwrap().code(), Some(1));

    let mut ended = run(POLL, Stdio::piped());
    drop(ended.stdin.take());
    assert_eq!(ended.wait().unwrap().code(), Some(1), "the end of input is an event");
}

/// Prints what `sizes` and `get` (a pair of WASI's list functions) hand out.
fn list(sizes: &str, get: &str) -> String {
    let output = output(&format!(
        r#"(module
  (import "wasi_snapshot_preview1" "{sizes}" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "{get}" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 12)))
    (drop (call $get (i32.const 256) (i32.const 1024)))
    (i32.store (i32.const 8) (i32.const 1024))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))))"#
    ));
    stdout(&output)
}

#[test]
fn arguments_and_environment_come_from_the_spec_and_pwd_is_added() {
    assert_eq!(list("args_sizes_get", "args_get"), "/app.wasm\0one\0");
    assert_eq!(list("environ_sizes_get", "environ_get"), "NAME=value\0PWD=/srv\0");
}

#[test]
fn an_idle_guest_has_few_threads_uses_no_time_and_holds_no_device() {
    // Waits for input that never comes, as an idle server does.
    let mut child = run(CAT, Stdio::piped());
    let pipe = child.stdin.take();
    std::thread::sleep(Duration::from_millis(600));
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let ticks = || {
        stat().rsplit(')').next().unwrap().split_whitespace().skip(11).take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = ticks();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(before, ticks(), "user and system time of an idle guest");
    let threads = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap().count();
    assert!(threads <= THREADS, "{threads} threads");
    // Random numbers come by system call: /dev in a container is the image's or a mount, and may be anything.
    for fd in std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap() {
        let target = std::fs::read_link(fd.unwrap().path()).unwrap();
        assert!(!target.ends_with("random") && !target.ends_with("urandom"), "{target:?} is open");
    }
    drop(pipe);
    assert_eq!(child.wait().unwrap().code(), Some(7));
}
