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

use catamaran_wasmtime_artifact::config::{SETTINGS, WASMTIME};
use catamaran_worker::RunnerError;
use engine::load;
use guest::{compile, link_refusal, output};

/// The engine's words for the instruction `unreachable`.
const UNREACHABLE: &str = "wasm trap: wasm `unreachable`";

/// The most threads of an idle guest: its own, and the test harness's.
const THREADS: usize = 2;

/// The bytes of an artifact that the engine checks: the header (magic bytes, class, flags), the version text, and the settings after it.
fn checked_bytes(artifact: &[u8]) -> Vec<usize> {
    let version = format!("{WASMTIME}+catamaran{SETTINGS}");
    let found = artifact.windows(version.len()).position(|bytes| bytes == version.as_bytes());
    let at = found.expect("the version is in the artifact");
    vec![0, 4, 48, at, at + version.len() - 1, at + version.len() + 1]
}

/// Not a test of its own: the guest's process.
#[test]
fn child() {
    guest::be();
}

#[test]
fn an_artifact_of_other_settings_is_refused() {
    match load(&compile(r#"(module (func (export "_start")))"#, "misfit")) {
        Err(RunnerError::Artifact(text)) => assert!(text.contains("epoch"), "{text}"),
        _ => panic!("loaded"),
    }
}

#[test]
fn a_module_for_wasix_is_left_to_wasmer() {
    let text = link_refusal(r#"(module (import "wasix_64v1" "fork" (func)) (func (export "_start")))"#);
    assert!(text.contains("`wasix_64v1.fork`") && text.contains("wasmer, runs it"), "{text}");
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
