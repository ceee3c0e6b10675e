//! Native containers: a program that is no Wasm, run by runc in a pod of this shim's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::time::Duration;

use catamaran_harness::{Image, Node, Runtime, guests};

const SOON: Duration = Duration::from_secs(10);

/// The native peer of the Wasm guests.
fn peer(name: &str) -> Image {
    guests::image(Runtime::Runc, name)
}

#[test]
fn hello() {
    let node = Node::start();
    let output = node.container("hello").image(&peer("hello")).run();
    assert_eq!((output.code, output.stdout.as_str()), (0, "hello from native\n"), "{output:?}");
    node.finish();
}
