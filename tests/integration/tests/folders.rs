//! Reads of folders by guests on both engines: the same as by the same program under runc.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::time::Duration;

use catamaran_harness::{Container, Image, Node};
use catamaran_integration::builds::Build;

/// An order for `folder.c`, over a volume of its own.
fn order<'n>(node: &'n Node, build: Build, words: [&str; 2]) -> Container<'n> {
    let name = format!("folder-{build:?}").to_lowercase();
    let volume = node.folder(&name);
    let image = Image::new(&name).file_as("/folder", build.program("folder"), 0o755, 0, 0);
    let order = node.container("folder").image(&image).args(["/folder", "/data", words[0], words[1]]);
    build.chosen(order).limit(Duration::from_secs(120)).bind(&volume, "/data", ["rbind", "rw"])
}

/// Files are removed while they are read, names come and go, and the reader returns to earlier places (telldir, seekdir, rewinddir).
#[test]
fn a_folder_is_read_as_a_native_program_reads_it() {
    let node = Node::start();
    let native = order(&node, Build::Native, ["1000", "steps"]).to_its_end();
    assert!(native.code == 0 && native.stdout.contains("removed: 1000, left: 0\n"), "{native:?}");
    for build in Build::WASM {
        let wasm = order(&node, build, ["1000", "steps"]).to_its_end();
        assert_eq!((wasm.code, &wasm.stdout), (0, &native.stdout), "{build:?}: {}", wasm.stderr);
    }
    node.finish();
}

/// wasmtime-wasi and wasmer-wasix list a folder anew for each part that is read of it: 20 s and 3.4 s.
#[test]
fn a_folder_with_twenty_thousand_files_is_read_at_once() {
    let node = Node::start();
    for build in Build::WASM {
        let wasm = order(&node, build, ["20000", "list"]).to_its_end();
        assert_eq!((wasm.code, wasm.stdout.as_str()), (0, "20000\n"), "{build:?}: {}", wasm.stderr);
        let took: u64 = wasm.stderr.trim().parse().unwrap();
        println!("{build:?}: {took} ms");
        // The goal is 300 ms, on an idle machine.
        assert!(took < 2500, "{build:?}: {took} ms");
    }
    node.finish();
}
