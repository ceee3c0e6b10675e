//! Runs modules through compiler and engine: what a guest sees, and its container's exit code. No root and no containers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests; the exemption in clippy.toml covers functions marked as tests only"
)]

#[path = "../../../tests/engines/ends.rs"]
mod ends;
mod engine;
#[path = "../../../tests/engines/guest.rs"]
mod guest;
#[path = "../../../tests/engines/streams.rs"]
mod streams;

use guest::{link_refusal, output};

/// The engine's words for the instruction `unreachable`.
const UNREACHABLE: &str = "wasm trap: unreachable";

/// The most threads of an idle guest: its own, one that waits for its input, and the test harness's.
const THREADS: usize = 3;

/// The bytes of an artifact that the engine checks: engine, version, target and features in the header's one line, its padding, and
/// Wasmer's own first bytes after it.
fn checked_bytes(artifact: &[u8]) -> Vec<usize> {
    let line = artifact.iter().position(|&byte| byte == b'\n').unwrap();
    vec![0, 10, 26, 30, line - 1, line, line + 1, 4095, 4096, 4112, 4120]
}

/// Not a test of its own: the guest's process.
#[test]
fn child() {
    guest::be();
}

#[test]
fn a_module_without_memory_or_with_an_unknown_call_of_wasix_is_refused() {
    let text = link_refusal(r#"(module (func (export "_start")))"#);
    assert!(text.contains("memory"), "{text}");
    let import = r#"(import "wasix_32v1" "teleport" (func))"#;
    let text = link_refusal(&format!(r#"(module {import} (memory (export "memory") 1) (func (export "_start")))"#));
    assert!(text.contains("`wasix_32v1.teleport`"), "{text}");
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
