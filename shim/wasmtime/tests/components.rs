//! Runs components through compiler and engine. Their effects on the world are in tests/integration.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests; the exemption in clippy.toml covers functions marked as tests only"
)]

mod engine;
#[path = "../../../tests/engines/guest.rs"]
mod guest;

use std::process::Stdio;

use catamaran_wasmtime::Wasmtime;
use catamaran_worker::Runner;
use engine::load;
use guest::{compile, file, guest as world, link_refusal as refusal, output, run, stdout};

/// Not a test of its own: the guest's process.
#[test]
fn child() {
    guest::be();
}

/// A program whose `run` is this code; `imports` come before it, each with a core function that is handed to it.
fn program(imports: &str, handed: &str, core: &str) -> String {
    format!(
        r#"(component
  {imports}
  (core module $app {core})
  (core instance $i (instantiate $app {handed}))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command)))"#
    )
}

fn returning(result: u32) -> String {
    program("", "", &format!(r#"(func (export "run") (result i32) (i32.const {result}))"#))
}

/// Calls a function of `wasi:cli/exit`.
fn leaving(function: &str, parameter: &str, value: u32) -> String {
    program(
        &format!(
            r#"(import "wasi:cli/exit@0.2.1" (instance $exit (export "{function}" (func (param {parameter})))))
               (core func $leave (canon lower (func $exit "{function}")))"#
        ),
        r#"(with "host" (instance (export "leave" (func $leave))))"#,
        &format!(
            r#"(import "host" "leave" (func $leave (param i32)))
               (func (export "run") (result i32) (call $leave (i32.const {value})) (i32.const 0))"#
        ),
    )
}

#[test]
fn a_result_is_an_exit_code() {
    assert_eq!(output(&returning(0)).status.code(), Some(0));
    assert_eq!(output(&returning(1)).status.code(), Some(1));
}

#[test]
fn an_exit_keeps_its_code() {
    assert_eq!(output(&leaving("exit", "\"status\" (result)", 0)).status.code(), Some(0));
    assert_eq!(output(&leaving("exit", "\"status\" (result)", 1)).status.code(), Some(1));
    for code in [0, 1, 42, 134, 255] {
        assert_eq!(output(&leaving("exit-with-code", "\"status-code\" u8", code)).status.code(), Some(code as i32));
    }
}

#[test]
fn a_trap_names_its_reason_and_its_functions() {
    let output = output(&program(
        "",
        "",
        r#"(func $inner unreachable) (func (export "run") (result i32) (call $inner) (i32.const 0))"#,
    ));
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(134), "{text}");
    assert!(text.starts_with("catamaran: the guest trapped: wasm trap: wasm `unreachable`"), "{text}");
    assert!(text.contains("app!inner\n"), "{text}");
}

#[test]
fn garbage_collection_and_exceptions_work_inside() {
    let core = r#"(type $pair (struct (field i32))) (tag $t (param i32))
      (func (export "run") (result i32)
        (block $caught (result i32)
          (try_table (catch $t $caught) (throw $t (struct.get $pair 0 (struct.new $pair (i32.const 0)))))
          (i32.const 1)))"#;
    assert_eq!(output(&program("", "", core)).status.code(), Some(0));
}

#[test]
fn linking_runs_no_guest_code() {
    let wat =
        program("", "", r#"(func $early unreachable) (start $early) (func (export "run") (result i32) (i32.const 0))"#);
    assert!(load(&compile(&wat, "best")).unwrap().link(&world()).is_ok());
}

#[test]
fn a_component_that_cannot_be_linked_is_refused_with_the_reason() {
    let unknown = program(
        r#"(import "wasi:cli/exit@0.2.1" (instance $exit (export "leave-quietly" (func))))"#,
        "",
        r#"(func (export "run") (result i32) (i32.const 0))"#,
    );
    let text = refusal(&unknown);
    assert!(text.contains("wasi:cli/exit@0.2.1") && text.contains("leave-quietly"), "{text}");
    // The inspection refuses these; the worker does not rely on it.
    assert!(refusal("(component)").contains("`wasi:cli/run@0.2`"));
    assert!(refusal(r#"(component (import "acme:a/b" (instance)))"#).contains("`acme:a/b`"));
    let other = r#"(component (core module $m (func (export "run"))) (core instance $i (instantiate $m))
      (func $run (canon lift (core func $i "run"))) (instance $c (export "run" (func $run)))
      (export "wasi:cli/run@0.2.0" (instance $c)))"#;
    assert!(refusal(other).contains("has another type"), "a run without a result");
}

#[test]
fn an_artifact_says_which_kind_it_is() {
    let module = compile(r#"(module (func (export "_start")))"#, "best");
    let component = compile(&returning(0), "fast");
    let by_name = |bytes: &[u8]| {
        let (file, path) = file(bytes);
        std::fs::remove_file(path).unwrap();
        Wasmtime::maps_by_name(&file)
    };
    assert!(by_name(&component) && !by_name(&module));
    assert!(!by_name(&component[..63]) && !by_name(b""));
    assert!(load(&module).is_ok() && load(&component).is_ok());
    assert!(load(&component[..component.len() / 2]).is_err());
}

#[test]
fn only_components_that_import_sockets_get_them() {
    let needs = |imports: &str| {
        let wat = program(imports, "", r#"(func (export "run") (result i32) (i32.const 0))"#);
        load(&compile(&wat, "fast")).unwrap().needs().sockets
    };
    assert!(!needs("") && !needs(r#"(import "wasi:sockets/network@0.2.0" (instance))"#));
    for interface in ["tcp-create-socket", "udp-create-socket", "ip-name-lookup"] {
        assert!(needs(&format!(r#"(import "wasi:sockets/{interface}@0.2.0" (instance))"#)), "{interface}");
    }
    let module = compile(r#"(module (func (export "_start")))"#, "best");
    assert!(!load(&module).unwrap().needs().sockets);
}

#[test]
fn a_component_writes_to_its_streams() {
    // One interface by hand: a stream, written to by its own method.
    let imports = r#"
  (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
  (alias export $error "error" (type $e))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type $out (sub resource)))
    (alias outer 1 $e (type $e))
    (export "error" (type $err (eq $e)))
    (type $failed (variant (case "last-operation-failed" (own $err)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $failed)))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $out)) (param "contents" (list u8)) (result (result (error $stream-error)))))))
  (alias export $streams "output-stream" (type $out))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $out (type $o)) (export "output-stream" (type $os (eq $o)))
    (export "get-stdout" (func (result (own $os))))))
  (core module $libc (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $libc (instantiate $libc))
  (core func $get (canon lower (func $stdout "get-stdout")))
  (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))"#;
    let handed = r#"(with "host" (instance (export "get" (func $get)) (export "write" (func $write))))
      (with "libc" (instance $libc))"#;
    let core = r#"(import "host" "get" (func $get (result i32)))
      (import "host" "write" (func $write (param i32 i32 i32 i32)))
      (import "libc" "memory" (memory 1)) (data (i32.const 0) "from a component")
      (func (export "run") (result i32)
        (call $write (call $get) (i32.const 0) (i32.const 16) (i32.const 64))
        (i32.load8_u (i32.const 64)))"#;
    let output = run(&program(imports, handed, core), Stdio::null()).wait_with_output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "from a component"));
}
