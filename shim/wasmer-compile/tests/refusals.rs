//! Refusals of the compile process, and their texts for the user.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests; the exemption in clippy.toml covers functions marked as tests only"
)]

use catamaran_wasmer_compile::compile;
use catamaran_worker::compiler::{Refusal, Tier};

fn module(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap()
}

/// Returns the text with which `bytes` are refused for every engine.
#[track_caller]
fn refusal(bytes: &[u8]) -> String {
    match compile(bytes, Tier::Best).expect_err("compiled") {
        Refusal::Module(text) => text,
        Refusal::OtherEngine(text) | Refusal::OtherWorld(_, text) => panic!("left to the other engine: {text}"),
    }
}

/// Returns the text with which `bytes` are left to the other engine.
#[track_caller]
fn left_to_the_other(bytes: &[u8]) -> String {
    match compile(bytes, Tier::Best).expect_err("compiled") {
        Refusal::OtherEngine(text) => text,
        Refusal::Module(text) | Refusal::OtherWorld(_, text) => panic!("refused: {text}"),
    }
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

#[test]
fn files_that_are_not_wasm_are_refused() {
    says(&refusal(b""), &["empty"]);
    says(&refusal(b"\x7fELF\x02\x01\x01"), &["native ELF"]);
    says(&refusal(b"(module)"), &["WebAssembly text", "wat2wasm"]);
    says(&refusal(b"\0asm\x02\0\0\0"), &["unknown version (02 00 00 00)"]);
}

#[test]
fn native_code_is_refused() {
    let artifact = compile(&module(r#"(module (func (export "_start")))"#), Tier::Best).unwrap();
    // The artifact as it is in the cache, and as Wasmer itself writes it.
    says(&refusal(&artifact), &["not a WebAssembly module"]);
    says(&refusal(&artifact[4096..]), &["never run", ".wasmu"]);
}

#[test]
fn features_that_only_wasmtime_has_are_declined() {
    says(&left_to_the_other(&module("(component)")), &["component", "wasmtime, runs it"]);
    let collected =
        module("(module (type (struct (field i32))) (func (export \"_start\") (drop (struct.new 0 (i32.const 1)))))");
    says(&left_to_the_other(&collected), &["part of Wasm", "wasmtime, runs it"]);
    let tail = module("(module (func $f (return_call $f)) (func (export \"_start\")))");
    says(&left_to_the_other(&tail), &["part of Wasm", "tail"]);
}

#[test]
fn imports_that_nothing_provides_are_refused() {
    says(&refusal(&module(r#"(module (import "env" "puts" (func)))"#)), &["`env.puts`", "WASIX"]);
    says(&refusal(&module(r#"(module (import "host" "log" (func)))"#)), &["`host.log`"]);
    says(&refusal(&module(r#"(module (import "wasi" "spawn" (func)))"#)), &["`wasi.spawn`", "WASIX"]);
    says(&refusal(&module(r#"(module (import "wasi_unstable" "fd_write" (func)))"#)), &["before preview 1"]);
}

#[test]
fn threads_and_shared_memories_are_accepted() {
    let wat = r#"(module (import "wasix_32v1" "thread_spawn_v2" (func (param i32 i32) (result i32)))
                   (import "env" "memory" (memory 1 1 shared)) (func (export "_start")))"#;
    assert!(compile(&module(wat), Tier::Best).is_ok());
}

#[test]
fn only_the_shared_memory_of_threads_may_be_imported() {
    for (name, limits) in [("memory", "1"), ("other", "1 1 shared")] {
        let wat = format!(r#"(module (import "env" "{name}" (memory {limits})) (func (export "_start")))"#);
        says(&refusal(&module(&wat)), &[&format!("`env.{name}`"), "--import-memory"]);
    }
}

#[test]
fn legacy_exceptions_are_refused_with_the_remedy() {
    let wat = r#"(module (tag $t) (func $f) (func (export "_start") try call $f catch $t end))"#;
    says(&refusal(&module(wat)), &["legacy", "wasm-opt --translate-to-exnref"]);
}

#[test]
fn an_invalid_module_is_refused_with_the_offset() {
    let mut bytes = module(r#"(module (func (export "_start") i32.const 1 drop))"#);
    let at = bytes.windows(2).position(|w| w == [0x41, 0x01]).unwrap();
    bytes[at] = 0xff;
    says(&refusal(&bytes), &["cannot be compiled", "offset"]);
    says(&refusal(&bytes[..bytes.len() - 3]), &["offset"]);
}

#[test]
fn the_same_bytes_give_the_same_artifact() {
    let bytes = module(include_str!("guests/many.wat"));
    for tier in [Tier::Fast, Tier::Best] {
        assert!(compile(&bytes, tier).unwrap() == compile(&bytes, tier).unwrap());
    }
    assert!(compile(&bytes, Tier::Fast).unwrap() != compile(&bytes, Tier::Best).unwrap());
}

#[test]
fn a_small_module_does_not_become_a_large_artifact() {
    // A call is two bytes and 30 kB of code, because all of its parameters and results lie on the stack. 9 kB of module make 71 MB of code.
    let values = "i32 ".repeat(1000);
    let caller = format!("(func call $first {} unreachable)", "call $next ".repeat(10));
    let bytes = module(&format!(
        r#"(module (func (export "_start")) (func $first (result {values}) unreachable)
          (func $next (param {values}) (result {values}) unreachable) {})"#,
        caller.repeat(230)
    ));
    says(&refusal(&bytes), &[&format!("the file has {} bytes", bytes.len()), "machine code", "at most 6"]);
}
