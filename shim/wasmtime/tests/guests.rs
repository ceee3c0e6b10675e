//! Runs modules through compiler and engine: a guest's world, and its container's exit code.
//!
//! No root and no containers: the engine runs in a child of this test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests; the exemption in clippy.toml covers functions marked as tests only"
)]

mod guest;

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use catamaran_wasmtime_artifact::config::{SETTINGS, WASMTIME};
use catamaran_worker::{Runner, RunnerError};
use guest::{compile, file, guest, link_refusal, load, output, run, stdout};

/// Not a test of its own: the guest's process.
#[test]
fn child() {
    guest::be();
}

#[test]
fn exit_codes_of_the_guest_are_kept() {
    assert_eq!(output(r#"(module (func (export "_start")))"#).status.code(), Some(0));
    for code in [0, 1, 42, 125, 126, 134, 255] {
        let wat = format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                 (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {code}))))"#
        );
        assert_eq!(output(&wat).status.code(), Some(code));
    }
}

#[test]
fn a_trap_names_its_reason_and_its_functions() {
    let output = output(
        r#"(module $app (func $inner unreachable) (func $outer call $inner) (func (export "_start") call $outer))"#,
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(134), "{text}");
    assert!(text.starts_with("catamaran: the guest trapped: wasm trap: wasm `unreachable`"), "{text}");
    assert!(text.contains("app!inner\n") && text.contains("app!outer\n"), "{text}");
}

#[test]
fn memory_faults_and_endless_recursion_trap() {
    for (wat, reason) in [
        (
            r#"(module (memory 1) (func (export "_start") (drop (i32.load (i32.const -4)))))"#,
            "out of bounds memory access",
        ),
        (r#"(module (func $f (export "_start") call $f))"#, "call stack exhausted"),
        (
            r#"(module (func (export "_start") (drop (i32.div_s (i32.const 1) (i32.const 0)))))"#,
            "integer divide by zero",
        ),
    ] {
        let output = output(wat);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(134), "{text}");
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn a_trapping_start_function_is_a_trap() {
    let output = output(r#"(module (func $early unreachable) (start $early) (func (export "_start")))"#);
    assert_eq!(output.status.code(), Some(134));
    assert!(String::from_utf8_lossy(&output.stderr).contains("early"));
}

#[test]
fn linking_runs_no_guest_code() {
    let wat = r#"(module (func $early unreachable) (start $early) (func (export "_start")))"#;
    assert!(load(&compile(wat, "best")).unwrap().link(&guest()).is_ok());
}

#[test]
fn a_module_that_cannot_be_linked_is_refused_with_the_reason() {
    let text = link_refusal(r#"(module (func (export "main")))"#);
    assert!(text.contains("`_start`"), "{text}");
    let text = link_refusal(r#"(module (func (export "_initialize")))"#);
    assert!(text.contains("library"), "{text}");
    let text = link_refusal(r#"(module (func (export "_start") (param i32)))"#);
    assert!(text.contains("without parameters"), "{text}");
    let text = link_refusal(r#"(module (import "host" "log" (func)) (func (export "_start")))"#);
    assert!(text.contains("`host.log`"), "{text}");
    let text = link_refusal(r#"(module (import "wasix_64v1" "fork" (func)) (func (export "_start")))"#);
    assert!(text.contains("`wasix_64v1.fork`") && text.contains("wasmer, runs it"), "{text}");
    let text =
        link_refusal(r#"(module (import "wasi_snapshot_preview1" "sock_open" (func)) (func (export "_start")))"#);
    assert!(text.contains("`wasi_snapshot_preview1.sock_open`"), "{text}");
    let text = link_refusal(
        r#"(module (import "wasi_snapshot_preview1" "fd_close" (func (param i64))) (func (export "_start")))"#,
    );
    assert!(text.contains("fd_close"), "{text}");
}

#[test]
fn a_broken_artifact_is_told_from_a_broken_module() {
    let good = compile(r#"(module (func (export "_start")))"#, "best");
    assert!(load(&good).is_ok());
    let refused = |bytes: &[u8]| matches!(load(bytes), Err(RunnerError::Artifact(_)));
    assert!(refused(b""));
    assert!(refused(b"\0asm\x01\0\0\0"));
    for keep in [1, 64, good.len() / 2, good.len() - 1] {
        assert!(refused(&good[..keep]), "cut to {keep} bytes");
    }
    let flip = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        bytes
    };
    // The header (magic bytes, class, flags), the version text, and the settings after it.
    let version = format!("{WASMTIME}+catamaran{SETTINGS}");
    let at = good.windows(version.len()).position(|w| w == version.as_bytes()).expect("the version is in the artifact");
    for at in [0, 4, 48, at, at + version.len() - 1, at + version.len() + 1] {
        assert!(refused(&flip(at)), "byte {at} flipped");
    }
}

#[test]
fn an_artifact_of_other_settings_is_refused() {
    match load(&compile(r#"(module (func (export "_start")))"#, "misfit")) {
        Err(RunnerError::Artifact(text)) => assert!(text.contains("epoch"), "{text}"),
        _ => panic!("loaded"),
    }
}

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

/// Prints what `$count` and `$get` (a pair of WASI's list functions) hand out.
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
fn the_root_is_preopened() {
    let output = output(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $name (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (if (call $name (i32.const 3) (i32.const 0) (i32.const 1)) (then (call $exit (i32.const 1))))
    (if (i32.ne (i32.load8_u (i32.const 0)) (i32.const 47)) (then (call $exit (i32.const 2))))
    (if (i32.eqz (call $get (i32.const 4) (i32.const 16))) (then (call $exit (i32.const 3))))))"#,
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_idle_guest_has_one_thread_uses_no_time_and_holds_no_device() {
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
    // One is the test harness's; the worker itself adds none.
    assert!(threads <= 2, "{threads} threads");
    // Random numbers come by system call: /dev in a container is the image's or a mount, and may be anything.
    for fd in std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap() {
        let target = std::fs::read_link(fd.unwrap().path()).unwrap();
        assert!(!target.ends_with("random") && !target.ends_with("urandom"), "{target:?} is open");
    }
    drop(pipe);
    assert_eq!(child.wait().unwrap().code(), Some(7));
}
