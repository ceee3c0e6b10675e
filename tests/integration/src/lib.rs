//! Shared code of this crate's tests: a loop over all runtimes for tests that hold on runc too, and components, made of modules of preview
//! 1 by the adapter that every toolchain has.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test says that it failed")]

pub mod builds;
pub mod compiles;
pub mod http;
pub mod storm;

use std::path::PathBuf;
use std::process::Command;

use catamaran_harness::{Container, Engine, Example, Image, Node, Runtime, Task};
use wit_component::{ComponentEncoder, StringEncoding};

/// Runs `check` for each runtime, and for ours with each engine, on a node of its own.
pub fn everywhere(check: impl Fn(&Node, Runtime)) {
    for (runtime, engine) in [
        (Runtime::Catamaran, Engine::Wasmtime),
        (Runtime::Catamaran, Engine::Wasmer),
        (Runtime::Runc, Engine::Wasmtime),
    ] {
        let node = Node::start().runtime(runtime).engine(engine);
        check(&node, runtime);
        node.finish();
    }
}

/// Runs a program of the machine.
///
/// # Panics
/// When it fails.
pub fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Starts a container that says when it is ready and then waits, so that the test can look at its tree from outside.
///
/// # Panics
/// When it does not start.
pub fn waiting<'n>(order: &Container<'n>) -> Task<'n> {
    let task = order.spawn();
    task.expect_stdout("ready\n");
    task
}

/// Makes the component of a module of preview 1.
///
/// # Panics
/// When it cannot be made.
pub fn adapted(module: &[u8]) -> Vec<u8> {
    let name = wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
    let adapter = wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER;
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(module).unwrap().adapter(name, adapter).unwrap().encode().unwrap()
}

/// An image whose entrypoint is the component `/NAME.wasm`.
pub fn component(name: &str, component: impl AsRef<[u8]>) -> Image {
    let path = format!("/{name}.wasm");
    Image::new(&format!("component-{name}")).file(&path, component).entrypoint([&path])
}

/// Builds the component of `tests/guests/rust/NAME`, of WASI 0.3.
///
/// # Panics
/// When it cannot be built.
pub fn rust_guest(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../guests/rust");
    Example::open_in(&folder, name).recipe().files.remove(0).1
}

/// `tests/guests/net.wat`, as the component `/net.wasm`.
///
/// # Panics
/// When it cannot be made.
pub fn net() -> Image {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../guests");
    let mut module = wat::parse_file(folder.join("net.wat")).unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_file(folder.join("net.wit")).unwrap();
    let world = resolve.select_world(&[package], Some("net")).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    component("net", adapted(&module))
}
