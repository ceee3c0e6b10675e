//! Connections that cannot be made: a guest of WASIX gets the same errors as the same program under runc.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use catamaran_harness::{Engine, Image, Node, Runtime, guests};

#[test]
fn a_connection_that_is_refused_fails() {
    let node = Node::start();
    let image =
        |name: &str, program| Image::new(name).file_as("/connect", program, 0o755, 0, 0).entrypoint(["/connect"]);
    let native = image("connect-native", guests::native("connect"));
    let native = node.container("native").runtime(Runtime::Runc).image(&native).to_its_end();
    assert_eq!((native.code, native.stdout.lines().next()), (0, Some("connect: ECONNREFUSED")), "{native:?}");
    let wasix = image("connect-wasix", guests::wasix("connect"));
    let wasix = node.container("wasix").engine(Engine::Wasmer).image(&wasix).to_its_end();
    // An immediate refusal is reported at once: wasix-libc does not ask for SO_ERROR, it returns success for it.
    let expected = native.stdout.replace(
        "at once: EINPROGRESS\nready: 1\nits error: ECONNREFUSED\n",
        "at once: ECONNREFUSED\nready: 1\nits error: 0\n",
    );
    assert_ne!(expected, native.stdout);
    assert_eq!((wasix.code, wasix.stdout), (0, expected), "{}", wasix.stderr);
    node.finish();
}
