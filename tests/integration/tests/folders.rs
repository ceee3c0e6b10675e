//! Reads of folders by guests on both engines: the same as by the same program under runc.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::time::Duration;

use catamaran_harness::{Container, Engine, Image, Node, Runtime, guests};
use catamaran_integration::adapted;

/// The program that reads the folder.
#[derive(Clone, Copy, Debug)]
enum Who {
    Native,
    /// Preview 1 on Wasmtime.
    Module,
    Component,
    /// Preview 1 on Wasmer.
    OnWasmer,
    Wasix,
}

const WASM: [Who; 4] = [Who::Module, Who::Component, Who::OnWasmer, Who::Wasix];

/// An order for `folder.c`, over a volume of its own.
fn order<'n>(node: &'n Node, who: Who, words: [&str; 2]) -> Container<'n> {
    let (program, runtime, engine) = match who {
        Who::Native => (guests::native("folder"), Runtime::Runc, Engine::Wasmtime),
        Who::Module => (guests::c("folder"), Runtime::Catamaran, Engine::Wasmtime),
        Who::Component => (adapted(&guests::c("folder")), Runtime::Catamaran, Engine::Wasmtime),
        Who::OnWasmer => (guests::c("folder"), Runtime::Catamaran, Engine::Wasmer),
        Who::Wasix => (guests::wasix("folder"), Runtime::Catamaran, Engine::Wasmer),
    };
    let name = format!("folder-{who:?}").to_lowercase();
    let volume = node.folder(&name);
    let order = node.container("folder").image(&Image::new(&name).file_as("/folder", program, 0o755, 0, 0));
    let order = order.runtime(runtime).args(["/folder", "/data", words[0], words[1]]).limit(Duration::from_secs(120));
    let order = order.bind(&volume, "/data", ["rbind", "rw"]);
    if runtime == Runtime::Catamaran { order.engine(engine) } else { order }
}

/// Files are removed while they are read, names come and go, and the reader returns to earlier places (telldir, seekdir, rewinddir).
#[test]
fn a_folder_is_read_as_a_native_program_reads_it() {
    let node = Node::start();
    let native = order(&node, Who::Native, ["1000", "steps"]).to_its_end();
    assert!(native.code == 0 && native.stdout.contains("removed: 1000, left: 0\n"), "{native:?}");
    for who in WASM {
        let wasm = order(&node, who, ["1000", "steps"]).to_its_end();
        assert_eq!((wasm.code, &wasm.stdout), (0, &native.stdout), "{who:?}: {}", wasm.stderr);
    }
    node.finish();
}

/// wasmtime-wasi and wasmer-wasix list a folder anew for each part that is read of it: 20 s and 3.4 s.
#[test]
fn a_folder_with_twenty_thousand_files_is_read_at_once() {
    let node = Node::start();
    for who in WASM {
        let wasm = order(&node, who, ["20000", "list"]).to_its_end();
        assert_eq!((wasm.code, wasm.stdout.as_str()), (0, "20000\n"), "{who:?}: {}", wasm.stderr);
        let took: u64 = wasm.stderr.trim().parse().unwrap();
        println!("{who:?}: {took} ms");
        // The goal is 300 ms, on an idle machine.
        assert!(took < 2500, "{who:?}: {took} ms");
    }
    node.finish();
}
