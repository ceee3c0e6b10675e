//! Annotations of a pod other than its engine's: values that are refused, and the world in which a component is called.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use catamaran_harness::{Code, Image, Node, guests};

const CONTAINER: &str = "io.kubernetes.cri.container-name";

fn image() -> Image {
    Image::new("worlds").file("/sleep", guests::wat("sleep")).file("/server", server()).entrypoint(["/sleep"])
}

/// A component with a server's export, as far as Create looks at it.
fn server() -> Vec<u8> {
    let text = r#"(component
        (component $empty)
        (instance $handler (instantiate $empty))
        (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;
    wat::parse_str(text).unwrap()
}

#[test]
fn an_annotation_that_is_wrong_refuses_a_container_of_any_world() {
    let node = Node::start();
    let image = image();
    for (key, value, expected) in [
        ("world", "server", "command, for a program that runs once, or http"),
        ("compile", "slow", "fast, to start as soon as possible, or best"),
        ("http-listen", "localhost:80", "no host name"),
        ("http-max-concurrent-requests", "5000", "a number from 1 to 4096"),
        ("http-request-timeout", "30", "a duration from 1ms to 24h"),
        ("http-instance-reuse", "0", "a number from 1 to 1000000"),
        ("http-instance-memory", "1Ki", "a quantity from 64Ki to 4Gi"),
        ("http-max-request-body", "1MB", "a quantity"),
        ("http-lame-duck", "1h", "a duration from 0s to 10m"),
    ] {
        let (pods, own) = (format!("catamaran.wasm/{key}"), format!("catamaran.wasm/{key}.app"));
        let named = || node.container("same").image(&image).annotation(CONTAINER, "app");
        let found = format!("annotation {pods}: {value:?}");
        named().annotation(&pods, value).expect_refused(Code::InvalidArgument, &[&found, expected]);
        let found = format!("annotation {own}: {value:?}");
        let both = named().annotation(&pods, "never read").annotation(&own, value);
        both.expect_refused(Code::InvalidArgument, &[&found, expected]);
    }
    // A valid value, or a key that is not ours, changes nothing for a command.
    let task = node
        .container("right")
        .image(&image)
        .annotation("catamaran.wasm/compile", "best")
        .annotation("catamaran.wasm/http-listen", ":80")
        .annotation("catamaran.wasm/http-request-timeout", "none")
        .annotation("catamaran.wasm/of-tomorrow", "1")
        .spawn();
    task.expect_stdout("ready\n");
    task.discard();
    let told =
        "unknown annotation catamaran.wasm/of-tomorrow is ignored: after catamaran.wasm/ comes one of engine, world,";
    assert!(node.log().contains(told), "{}", node.log());
    assert!(node.log().contains(" world=command module="), "{}", node.log());
    node.finish();
}

#[test]
fn a_world_that_no_engine_of_the_container_has_is_refused() {
    let node = Node::start();
    let image = image();
    let both = node.container("same").image(&image).annotation("catamaran.wasm/engine", "wasmer");
    let both = both.annotation("catamaran.wasm/world", "http");
    let words = [
        "catamaran.wasm/world: \"http\", which wasmer does not run",
        "\"wasmtime\" in the annotation catamaran.wasm/engine",
    ];
    both.expect_refused(Code::InvalidArgument, &words);
    node.finish();
}

#[test]
fn a_server_that_is_to_be_a_command_is_refused_and_an_exec_of_one_ends_with_126() {
    let node = Node::start();
    let image = image();
    // The second time from the cache's memory.
    for _ in 0..2 {
        let command =
            node.container("same").image(&image).args(["/server"]).annotation("catamaran.wasm/world", "command");
        command.expect_refused(Code::FailedPrecondition, &["/server: ", "wasi:http/incoming-handler"]);
    }
    let task = node.container("c").image(&image).spawn();
    task.expect_stdout("ready\n");
    for _ in 0..2 {
        let ran = task.further("e").args(["/server"]).run();
        assert_eq!(ran.code, 126, "{ran:?}");
        assert!(ran.stderr.contains("/server: ") && ran.stderr.contains("wasi:http/incoming-handler"), "{ran:?}");
    }
    task.discard();
    node.finish();
}
