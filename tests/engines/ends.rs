//! How a guest of preview 1 ends, and which modules and artifacts are refused: the same on both engines, whose tests include this file.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use catamaran_worker::{Runner, RunnerError};

use crate::engine::load;
use crate::guest::{compile, guest, link_refusal, output, run, run_artifact, stdout};
use crate::{UNREACHABLE, checked_bytes};

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
    assert!(text.starts_with(&format!("catamaran: the guest trapped: {UNREACHABLE}")), "{text}");
    assert!(text.contains("app!inner\n") && text.contains("app!outer\n"), "{text}");
}

#[test]
fn a_trap_names_functions_of_rust_and_cpp_as_they_were_written() {
    let output = output(
        r#"(module $app (memory (export "memory") 1) (func $_ZN3app5inner17h0123456789abcdefE unreachable)
             (func $_ZN3app5outerEi call $_ZN3app5inner17h0123456789abcdefE) (func (export "_start") call $_ZN3app5outerEi))"#,
    );
    let text = String::from_utf8_lossy(&output.stderr);
    // Wasmtime tells the digest of a Rust function too.
    assert!(text.contains("app!app::inner") && text.contains("app!app::outer(int)\n"), "{text}");
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
    let wat =
        r#"(module (memory (export "memory") 1) (func $early unreachable) (start $early) (func (export "_start")))"#;
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
    let with = |import: &str| {
        link_refusal(&format!(r#"(module (import {import}) (memory (export "memory") 1) (func (export "_start")))"#))
    };
    let text = with(r#""host" "log" (func)"#);
    assert!(text.contains("`host.log`"), "{text}");
    let text = with(r#""wasi_snapshot_preview1" "sock_open" (func)"#);
    assert!(text.contains("`wasi_snapshot_preview1.sock_open`"), "{text}");
    let text = with(r#""wasi_snapshot_preview1" "fd_close" (func (param i64))"#);
    assert!(text.contains("fd_close"), "{text}");
}

#[test]
fn a_broken_artifact_is_told_from_a_broken_module() {
    let good = compile(r#"(module (memory (export "memory") 1) (func (export "_start")))"#, "best");
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
    for at in checked_bytes(&good) {
        assert!(refused(&flip(at)), "byte {at} flipped");
    }
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
    assert_eq!(run_artifact(&compile(wat, "fast"), Stdio::null()).wait().unwrap().code(), Some(77));
}

/// wasmer-wasix itself has no WASI before there is an instance: it ended the process.
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
    assert!(text.contains(UNREACHABLE), "{text}");
}
