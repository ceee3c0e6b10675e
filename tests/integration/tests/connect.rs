//! Connections that cannot be made, as a guest of WASIX is told of them: as the same program under runc is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use catamaran_harness::{Engine, Image, Node, Runtime, guests};

#[test]
fn a_connection_that_is_refused_fails() {
    let node = Node::start();
    let image = |name: &str, program| Image::new(name).file_as("/connect", program, 0o755, 0, 0).entrypoint(["/connect"]);
    let native = image("connect-native", guests::native("connect"));
    let native = node.container("native").runtime(Runtime::Runc).image(&native).to_its_end();
    assert_eq!((native.code, native.stdout.lines().next()), (0, Some("connect: ECONNREFUSED")), "{native:?}");
    let wasix = image("connect-wasix", guests::wasix("connect"));
    let wasix = node.container("wasix").engine(Engine::Wasmer).image(&wasix).to_its_end();
    assert_eq!((wasix.code, &wasix.stdout), (0, &native.stdout), "{}", wasix.stderr);
    node.finish();
}
