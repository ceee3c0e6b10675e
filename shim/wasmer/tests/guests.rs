//! Takes modules through compiler and engine: what a guest sees, and its container's exit code.
//!
//! No root and no containers: the engine runs in a child of this test (the same executable, told by an environment
//! variable), because it writes to descriptors 1 and 2 and ends with the process's exit code.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests; the exemption in clippy.toml covers functions marked as tests only"
)]

use std::fs::File;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use catamaran_wasmer::Wasmer;
use catamaran_worker::job::Rules;
use catamaran_worker::{Guest, Runner, RunnerError, Terms};

/// The variable with the path of the child's artifact; unset in the parent.
const ARTIFACT: &str = "CATAMARAN_TEST_ARTIFACT";

fn guest() -> Guest {
    Guest {
        args: vec!["/app.wasm".to_owned(), "one".to_owned()],
        env: vec![("NAME".to_owned(), "value".to_owned())],
        cwd: "/srv".to_owned(),
    }
}

/// A new file with the bytes, and its path, which the caller unlinks.
fn file(bytes: &[u8]) -> (File, std::path::PathBuf) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("catamaran-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).unwrap();
    (File::open(&path).unwrap(), path)
}

fn terms() -> Terms {
    Terms { server: None, certificate: None, rules: Rules { wasi_p3: true, link_local_requests: false } }
}

fn load(artifact: &[u8]) -> Result<Wasmer, RunnerError> {
    let (file, path) = file(artifact);
    std::fs::remove_file(path).unwrap();
    Wasmer::load(file, terms())
}

/// The artifact of a module, by the compile process's own code but for its inspection. The worker links no compiler, and
/// neither do its tests.
fn compile(bytes: &[u8], tier: &str) -> Vec<u8> {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    folder.pop();
    let program = folder.join("examples/translate-for-wasmer");
    let mut child = Command::new(&program)
        .arg(tier)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}; tests/all builds it", program.display()));
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// The text with which linking refuses a module that was compiled in spite of the inspection.
fn link_refusal(wat: &str) -> String {
    let engine = load(&compile(&wat::parse_str(wat).unwrap(), "best")).unwrap();
    match engine.link(&guest()) {
        Err(RunnerError::Module(text)) => text,
        Err(e) => panic!("not the module's fault: {e}"),
        Ok(_) => panic!("linked"),
    }
}

/// Runs the module in a child process with `input` on standard input.
fn run(wat: &str, input: Stdio) -> std::process::Child {
    let artifact = compile(&wat::parse_str(wat).unwrap(), "best");
    let (_, path) = file(&artifact);
    child_with(&path, input)
}

/// The process that runs an artifact.
fn child_with(path: &std::path::Path, input: Stdio) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(ARTIFACT, path)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn output(wat: &str) -> Output {
    run(wat, Stdio::null()).wait_with_output().unwrap()
}

/// The guest's output, which follows the line in which the child's test harness names the test.
fn stdout(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_once("test child ... ").map(|(_, guests)| guests.to_owned()).unwrap_or(text)
}

/// Not a test of its own: the guest's process.
#[test]
fn child() {
    let Some(path) = std::env::var_os(ARTIFACT) else { return };
    let artifact = File::open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    catamaran_worker::signals::end_on_signals().unwrap();
    Wasmer::load(artifact, terms()).unwrap().link(&guest()).unwrap()();
    panic!("the program ends its process itself");
}

#[test]
fn exit_codes_of_the_guest_are_kept() {
    assert_eq!(output(r#"(module (memory (export "memory") 1) (func (export "_start")))"#).status.code(), Some(0));
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
        r#"(module $app (memory (export "memory") 1) (func $inner unreachable) (func $outer call $inner) (func (export "_start") call $outer))"#,
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(134), "{text}");
    assert!(text.starts_with("catamaran: the guest trapped: wasm trap: unreachable\nwasm backtrace:\n"), "{text}");
    assert!(text.contains("app!inner\n") && text.contains("app!outer\n"), "{text}");
}

#[test]
fn a_trap_names_functions_of_rust_and_cpp_as_they_were_written() {
    let output = output(
        r#"(module $app (memory (export "memory") 1) (func $_ZN3app5inner17h0123456789abcdefE unreachable)
             (func $_ZN3app5outerEi call $_ZN3app5inner17h0123456789abcdefE) (func (export "_start") call $_ZN3app5outerEi))"#,
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("app!app::inner\n") && text.contains("app!app::outer(int)\n"), "{text}");
}

#[test]
fn memory_faults_and_endless_recursion_trap() {
    for (wat, reason) in [
        (
            r#"(module (memory (export "memory") 1) (func (export "_start") (drop (i32.load (i32.const -4)))))"#,
            "out of bounds memory access",
        ),
        (r#"(module (memory (export "memory") 1) (func $f (export "_start") call $f))"#, "call stack exhausted"),
        (
            r#"(module (memory (export "memory") 1) (func (export "_start") (drop (i32.div_s (i32.const 1) (i32.const 0)))))"#,
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
    let output = output(
        r#"(module (memory (export "memory") 1) (func $early unreachable) (start $early) (func (export "_start")))"#,
    );
    assert_eq!(output.status.code(), Some(134));
    assert!(String::from_utf8_lossy(&output.stderr).contains("early"));
}

#[test]
fn linking_runs_no_guest_code() {
    let bytes = wat::parse_str(
        r#"(module (memory (export "memory") 1) (func $early unreachable) (start $early) (func (export "_start")))"#,
    )
    .unwrap();
    assert!(load(&compile(&bytes, "best")).unwrap().link(&guest()).is_ok());
}

#[test]
fn a_module_that_cannot_be_linked_is_refused_with_the_reason() {
    let text = link_refusal(r#"(module (func (export "main")))"#);
    assert!(text.contains("`_start`"), "{text}");
    let text = link_refusal(r#"(module (func (export "_initialize")))"#);
    assert!(text.contains("library"), "{text}");
    let text = link_refusal(r#"(module (func (export "_start") (param i32)))"#);
    assert!(text.contains("without parameters"), "{text}");
    let text = link_refusal(r#"(module (func (export "_start")))"#);
    assert!(text.contains("memory"), "{text}");
    let with = |import: &str| {
        link_refusal(&format!(r#"(module (import {import}) (memory (export "memory") 1) (func (export "_start")))"#))
    };
    let text = with(r#""host" "log" (func)"#);
    assert!(text.contains("`host.log`"), "{text}");
    let text = with(r#""wasix_32v1" "teleport" (func)"#);
    assert!(text.contains("`wasix_32v1.teleport`"), "{text}");
    let text = with(r#""wasi_snapshot_preview1" "sock_open" (func)"#);
    assert!(text.contains("`wasi_snapshot_preview1.sock_open`"), "{text}");
    let text = with(r#""wasi_snapshot_preview1" "fd_close" (func (param i64))"#);
    assert!(text.contains("fd_close"), "{text}");
}

#[test]
fn a_broken_artifact_is_told_from_a_broken_module() {
    let good =
        compile(&wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#).unwrap(), "best");
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
    // Engine, version, target and features in the header's one line, its padding, and Wasmer's own first bytes after it.
    let line = good.iter().position(|&byte| byte == b'\n').unwrap();
    for at in [0, 10, 26, 30, line - 1, line, line + 1, 4095, 4096, 4112, 4120] {
        assert!(refused(&flip(at)), "byte {at} flipped");
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

#[test]
fn an_endless_loop_ends_on_sigterm() {
    let mut child = run(r#"(module (memory (export "memory") 1) (func (export "_start") (loop br 0)))"#, Stdio::null());
    std::thread::sleep(Duration::from_millis(500));
    let killed = Instant::now();
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(killed.elapsed() < Duration::from_secs(2));
}

#[test]
fn code_of_the_fast_compiler_runs() {
    let wat = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                   (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 77))))"#;
    let (_, path) = file(&compile(&wat::parse_str(wat).unwrap(), "fast"));
    assert_eq!(child_with(&path, Stdio::null()).wait().unwrap().code(), Some(77));
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
fn the_root_is_preopened() {
    // By descriptor 3, wasmer-wasix's own root, and by 4: both are called "/", and there is no third.
    let output = output(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $name (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (if (call $name (i32.const 3) (i32.const 0) (i32.const 1)) (then (call $exit (i32.const 1))))
    (if (call $name (i32.const 4) (i32.const 1) (i32.const 1)) (then (call $exit (i32.const 2))))
    (if (i32.ne (i32.load16_u (i32.const 0)) (i32.const 0x2f2f)) (then (call $exit (i32.const 3))))
    (if (i32.eqz (call $get (i32.const 5) (i32.const 16))) (then (call $exit (i32.const 4))))))"#,
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_idle_guest_has_two_threads_uses_no_time_and_holds_no_device() {
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
    // Of which one is the test harness's, one the guest's, and one waits for the guest's input.
    assert!(threads <= 3, "{threads} threads");
    // Random numbers come by system call: /dev in a container is the image's or a mount, and may be anything.
    for fd in std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap() {
        let target = std::fs::read_link(fd.unwrap().path()).unwrap();
        assert!(!target.ends_with("random") && !target.ends_with("urandom"), "{target:?} is open");
    }
    drop(pipe);
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

/// wasmer-wasix has no call of WASI before there is an instance: it ended the process.
#[test]
fn a_start_function_calls_wasi() {
    let module = |start: &str| {
        format!(
            r#"(module
                 (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
                 (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                 (memory (export "memory") 1) (data (i32.const 0) "\10\00\00\00\06\00\00\00") (data (i32.const 16) "first\n")
                 (data (i32.const 32) "\30\00\00\00\05\00\00\00") (data (i32.const 48) "then\n")
                 (func $say (param i32) (drop (call $write (i32.const 1) (local.get 0) (i32.const 1) (i32.const 8))))
                 (func $start (call $say (i32.const 0)) {start})
                 (start $start)
                 (func (export "_start") (call $say (i32.const 32)) (call $exit (i32.const 7))))"#
        )
    };
    let ended = output(&module(""));
    assert_eq!((ended.status.code(), stdout(&ended).as_str()), (Some(7), "first\nthen\n"));
    let left = output(&module("(call $exit (i32.const 5))"));
    assert_eq!((left.status.code(), stdout(&left).as_str()), (Some(5), "first\n"));
    let trapped = output(&module("unreachable"));
    let text = String::from_utf8_lossy(&trapped.stderr).into_owned();
    assert_eq!((trapped.status.code(), stdout(&trapped).as_str()), (Some(134), "first\n"));
    assert!(text.contains("wasm trap: unreachable"), "{text}");
}
