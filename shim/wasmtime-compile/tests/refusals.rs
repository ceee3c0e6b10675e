//! Files that the compile process refuses, and the texts for the user.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests; the exemption in clippy.toml covers functions marked as tests only"
)]

use catamaran_wasmtime_artifact::config;
use catamaran_wasmtime_compile::{Kind, compile, translate};
use catamaran_worker::compiler::{Refusal, Tier, World};

/// Compiles `bytes` as a command, and returns the text of the refusal.
fn refusal(bytes: &[u8]) -> String {
    refusal_in(bytes, World::Command)
}

#[track_caller]
fn refusal_in(bytes: &[u8], world: World) -> String {
    match compile(bytes, Tier::Best, world, None).expect_err("compiled") {
        Refusal::Module(text) | Refusal::OtherEngine(text) => text,
        Refusal::OtherWorld(world, text) => panic!("{}: {text}", world.word()),
    }
}

/// Compiles `bytes` as a command, and returns the text that says that they are a server.
fn server(bytes: &[u8]) -> String {
    match compile(bytes, Tier::Best, World::Command, None).expect_err("compiled") {
        Refusal::OtherWorld(_, text) => text,
        other => panic!("no server: {other:?}"),
    }
}

fn module(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap()
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
    says(&refusal(b"#!/bin/sh\nexit 0\n"), &["begins with 23 21 2f"]);
    says(&refusal(b"\x7fELF\x02\x01\x01"), &["native ELF"]);
    says(&refusal(b"\0asm"), &["ends after its magic bytes"]);
    says(&refusal(b"\0asm\x02\0\0\0"), &["unknown version (02 00 00 00)"]);
}

#[test]
fn text_is_refused() {
    says(&refusal(b"(module)"), &["WebAssembly text", "wat2wasm"]);
    says(&refusal(b"\n  ;; hello\n(module)"), &["WebAssembly text"]);
}

#[test]
fn components_without_run_or_with_unknown_imports_are_refused() {
    says(&refusal(&module("(component)")), &["`wasi:cli/run@0.2`", "wasm32-wasip2"]);
    let with = |import: &str| refusal(&module(&format!("(component (import \"{import}\" (instance)))")));
    says(&with("wasi:http/outgoing-handler@0.2.3"), &["does not export `wasi:cli/run@0.2` or `wasi:cli/run@0.3`"]);
    says(
        &with("wasi:http/outgoing-handler@0.4.0"),
        &["`wasi:http/outgoing-handler@0.4.0`", "of no WASI that is known"],
    );
    says(&with("acme:queue/topics@1.0.0"), &["`acme:queue/topics@1.0.0`", "wac plug"]);
    let exporting =
        |name: &str| refusal(&module(&format!("(component (instance $i) (export \"{name}\" (instance $i)))")));
    says(&exporting("wasi:http/handler@0.4.0"), &["`wasi:http/handler@0.4.0`", "of no WASI that is known"]);
    says(&exporting("wasi:cli/run@0.4.0"), &["`wasi:cli/run@0.4.0`", "has WASI 0.2 and 0.3"]);
    says(&exporting("acme:queue/topics"), &["`acme:queue/topics`", "library"]);
}

/// Makes a component with these imports and exports, all empty instances.
fn component(imports: &[&str], exports: &[&str]) -> Vec<u8> {
    let imports: String = imports.iter().map(|name| format!("(import \"{name}\" (instance))")).collect();
    let exports: String = exports.iter().map(|name| format!("(export \"{name}\" (instance $i))")).collect();
    module(&format!("(component {imports} (instance $i) {exports})"))
}

const HANDLER: &str = "wasi:http/incoming-handler@0.2.3";
const HANDLER_3: &str = "wasi:http/handler@0.3.2";
const RUN: &str = "wasi:cli/run@0.2.3";
const SERVERS: [World; 2] = [World::Http, World::HttpUninterrupted];

#[test]
fn a_component_is_compiled_for_the_world_whose_export_it_has() {
    let http = ["wasi:http/types@0.2.0", "wasi:http/outgoing-handler@0.2.12", "wasi:cli/environment@0.2.3"];
    let handler = component(&http, &[HANDLER]);
    says(&server(&handler), &["`wasi:http/incoming-handler@0.2.3` and not `wasi:cli/run`", "catamaran.wasm/world"]);
    says(&server(&component(&["wasi:cli/types@0.3.0"], &[HANDLER_3])), &["`wasi:http/handler@0.3.2` and not"]);
    // The forbidden import is refused only when the component is compiled as a server.
    let stranger = component(&["acme:queue/topics@1.0.0"], &[HANDLER]);
    says(&server(&stranger), &["it is a server"]);
    let command = component(&["wasi:cli/environment@0.2.3"], &[RUN]);
    let both = component(&["wasi:cli/environment@0.2.3"], &[RUN, HANDLER]);
    for world in SERVERS {
        compile(&handler, Tier::Fast, world, None).unwrap();
        compile(&both, Tier::Best, world, None).unwrap();
        says(&refusal_in(&stranger, world), &["`acme:queue/topics@1.0.0`", "wac plug"]);
        says(&refusal_in(&command, world), &["it is to be a server", "`wasi:cli/run@0.2.3`: it is a command"]);
        says(&refusal_in(&component(&[], &["acme:queue/topics"]), world), &["`wasi:http/proxy`"]);
        compile(&component(&["wasi:http/types@0.3.0", "wasi:io/poll@0.2.9"], &[HANDLER_3]), Tier::Fast, world, None)
            .unwrap();
        says(&refusal_in(&component(&[], &["wasi:http/handler@0.4.0"]), world), &["of no WASI that is known"]);
        says(&refusal_in(&module(r#"(module (func (export "_start")))"#), world), &["is a module and no component"]);
        says(&refusal_in(b"#!/bin/sh\n", world), &["begins with 23 21"]);
    }
    compile(&both, Tier::Best, World::Command, None).unwrap();
}

#[test]
fn a_command_that_needs_http_or_wasi_0_3_is_an_extended_command() {
    let http = ["wasi:http/types@0.2.0", "wasi:http/outgoing-handler@0.2.12", "wasi:cli/environment@0.2.3"];
    for (imports, exports, why) in [
        (&http[..], &[RUN][..], "`wasi:http/types@0.2.0`, which is HTTP by the host"),
        (&http, &[RUN, HANDLER], "`wasi:http/types@0.2.0`, which is HTTP by the host"),
        (
            &["wasi:cli/environment@0.2.3"],
            &["wasi:cli/run@0.3.1"],
            "exports `wasi:cli/run@0.3.1`, which is of WASI 0.3",
        ),
        (&["wasi:clocks/types@0.3.0"], &[RUN], "imports `wasi:clocks/types@0.3.0`, which is of WASI 0.3"),
    ] {
        let bytes = component(imports, exports);
        match compile(&bytes, Tier::Fast, World::Command, None).unwrap_err() {
            Refusal::OtherWorld(World::ExtendedCommand, text) => says(&text, &[why]),
            other => panic!("{other:?}"),
        }
        compile(&bytes, Tier::Fast, World::ExtendedCommand, None).unwrap();
    }
    // A forbidden import is refused at once. A component that runs as a plain command is not an extended one.
    says(&refusal(&component(&["acme:queue/topics@1.0.0"], &["wasi:cli/run@0.3.0"])), &["`acme:queue/topics@1.0.0`"]);
    says(&refusal(&component(&["wasi:http/types@0.2.0-rc-2023-12-05"], &[RUN])), &["from before WASI 0.2.0"]);
    compile(&component(&[], &[RUN, "wasi:cli/run@0.3.0"]), Tier::Fast, World::Command, None).unwrap();
}

/// A worker refuses the code of every world but its own.
#[test]
fn code_made_for_one_world_is_not_loaded_in_another() {
    let bytes = component(&[], &[RUN, HANDLER]);
    let made = |world| compile(&bytes, Tier::Best, world, None).unwrap();
    let engine = |config: wasmtime::Result<wasmtime::Config>| wasmtime::Engine::new(&config.unwrap()).unwrap();
    let settings = [config::config(), config::extended(), config::server(true), config::server(false)];
    let (worlds, engines) = (World::ALL, settings.map(engine));
    for (own, engine) in engines.iter().enumerate() {
        for (of, world) in worlds.into_iter().enumerate() {
            // SAFETY: the artifact is what this compiler made of valid bytes.
            #[allow(unsafe_code, reason = "what a worker does")]
            let loaded = unsafe { wasmtime::component::Component::deserialize(engine, made(world)) };
            assert_eq!(loaded.is_ok(), own == of, "{world:?} on an engine for {:?}: {:?}", worlds[own], loaded.err());
        }
    }
}

#[test]
fn imports_of_nested_components_are_not_checked() {
    // The inner component's import is forbidden, but the outer component provides it. Neither is a program.
    let nested = r#"(component
      (component $inner (import "acme:queue/topics" (instance)) (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))
      (core module (import "env" "puts" (func))))"#;
    says(&refusal(&module(nested)), &["does not export `wasi:cli/run@0.2` or `wasi:cli/run@0.3` or anything else"]);
}

#[test]
fn an_invalid_component_is_refused_with_the_offset() {
    let bytes = module("(component (core module (func (result i32) i32.const 1)))");
    says(&refusal(&bytes[..bytes.len() - 3]), &["component cannot be compiled"]);
}

#[test]
fn native_code_is_refused() {
    let artifact = compile(&module(r#"(module (func (export "_start")))"#), Tier::Best, World::Command, None).unwrap();
    says(&refusal(&artifact), &["never run", ".cwasm"]);
}

#[test]
fn imports_that_nothing_provides_are_refused() {
    says(
        &refusal(&module(r#"(module (import "wasix_32v1" "futex_wake" (func)))"#)),
        &["`wasix_32v1.futex_wake`", "WASIX", "wasmer, runs it"],
    );
    says(&refusal(&module(r#"(module (import "env" "puts" (func)))"#)), &["`env.puts`", "wasi_snapshot_preview1"]);
    says(&refusal(&module(r#"(module (import "host" "log" (func)))"#)), &["`host.log`"]);
    says(
        &refusal(&module(r#"(module (import "wasi" "thread-spawn" (func)))"#)),
        &["`wasi.thread-spawn`", "wasi-threads"],
    );
}

#[test]
fn threads_are_refused() {
    says(&refusal(&module("(module (memory 1 1 shared))")), &["shared memory", "wasmer, runs it"]);
    says(&refusal(&module(r#"(module (import "env" "memory" (memory 1 1 shared)))"#)), &["shared memory"]);
    // Without the inspection, the validator refuses the module.
    assert!(translate(&module("(module (memory 1 1 shared))"), Kind::Module, Tier::Best, World::Command).is_err());
}

#[test]
fn an_invalid_module_is_refused_with_the_offset() {
    let mut bytes = module(r#"(module (func (export "_start") i32.const 1 drop))"#);
    let at = bytes.windows(2).position(|w| w == [0x41, 0x01]).unwrap();
    bytes[at] = 0xff;
    says(&refusal(&bytes), &["cannot be compiled", "offset"]);
    says(&refusal(&bytes[..bytes.len() - 3]), &["offset"]);
}

/// Makes a program with a hundred of these pieces.
fn hundred(piece: impl Fn(u32) -> String) -> String {
    format!("(module (func $f (export \"_start\")) {})", (0..100).map(piece).collect::<String>())
}

#[test]
fn a_small_module_does_not_become_a_large_artifact() {
    let tables = hundred(|n| format!("(table $t{n} 1048576 funcref) (elem (table $t{n}) (i32.const 1048575) func $f)"));
    let filled = hundred(|n| format!("(table $t{n} 1048576 funcref (ref.func $f))"));
    let memories = hundred(|n| {
        format!(
            "(memory $m{n} 256) (data (memory $m{n}) (i32.const 0) \"x\") (data (memory $m{n}) (i32.const 16000000) \"x\")"
        )
    });
    let run = r#"(core module $m (func (export "run") (result i32) i32.const 0)) (core instance $i (instantiate $m))
      (func $run (result (result)) (canon lift (core func $i "run"))) (instance $c (export "run" (func $run)))
      (export "wasi:cli/run@0.2.0" (instance $c))"#;
    let nested = format!("(component {run} {})", tables.replace("(module", "(core module"));
    let began = std::time::Instant::now();
    for text in [&tables, &filled, &memories, &nested] {
        let bytes = module(text);
        says(&refusal(&bytes), &[&format!("the file has {} bytes", bytes.len()), "at most 67", "closer together"]);
    }
    assert!(began.elapsed().as_secs() < 5, "{:?}: they were compiled", began.elapsed());
}

#[test]
fn sparse_tables_and_memories_of_real_programs_are_compiled() {
    let one = r#"(module (func $f (export "_start")) (table 1000000 funcref) (elem (i32.const 999999) func $f)
      (memory 65536) (data (i32.const 16) "x") (data (i32.const 0x0ff0_0000) "x")
      (table $large 10000000 funcref) (elem (table $large) (i32.const 9999999) func $f))"#;
    assert!(compile(&module(one), Tier::Best, World::Command, None).unwrap().len() < 8 << 20);
}

#[test]
fn the_same_bytes_give_the_same_artifact() {
    let bytes = module(include_str!("guests/many.wat"));
    let compiled = || compile(&bytes, Tier::Best, World::Command, None).unwrap();
    assert!(compiled() == compiled());
}
