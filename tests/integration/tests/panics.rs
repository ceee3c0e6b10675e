//! Panics in the host's own code: the container ends with 134 and a line that says where, never with a success.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;

use catamaran_harness::{Container, Engine, Image, Node, guests};
use serde_json::{Value, json};

/// The number of tries: on Wasmer three of twenty ended with a code other than 0 before.
const TIMES: usize = 8;

/// Programs that sleep, and that never wait.
fn image() -> Image {
    Image::new("waits-and-spins").file("/sleep", guests::wat("sleep")).file("/spin", guests::wat("spin"))
}

/// A seccomp profile under which an engine panics when it enters the guest: on Wasmer a dropped guard reports a success then.
fn profile() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["sigaltstack"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    })
}

fn order<'n>(node: &'n Node, engine: Engine, id: &str, program: &str) -> Container<'n> {
    let profile = profile();
    let order = node.container(&format!("{}-{id}", engine.name())).image(&image()).args([program]).engine(engine);
    order.spec(move |spec| spec["linux"]["seccomp"] = profile.clone())
}

/// Whether the text is one line that says where the host failed.
fn says_where(text: &str, engine: Engine) -> bool {
    let library = match engine {
        Engine::Wasmtime => "wasmtime",
        Engine::Wasmer => "wasmer-vm",
    };
    text.starts_with(&format!("catamaran: the host failed: panic at {library}-")) && text.lines().count() == 1
}

/// On Wasmer a guard dropped while the panic unwound reported a success, and another thread ended the process with it.
#[test]
fn a_panic_of_the_host_is_never_a_success() {
    let node = Node::start();
    for engine in Engine::ALL {
        for time in 0..TIMES {
            let ended = order(&node, engine, &format!("container-{time}"), "/sleep").to_its_end();
            assert!(ended.code == 134 && says_where(&ended.stderr, engine), "{}: {ended:?}", engine.name());
        }
    }
    node.finish();
}

#[test]
fn a_panic_of_the_host_in_an_exec_is_never_a_success() {
    let node = Node::start();
    for engine in Engine::ALL {
        // The profile comes from the bundle, because the container itself was started without it.
        let container = node.container(engine.name()).image(&image()).args(["/spin"]).engine(engine).spawn();
        let path = node.bundle(container.id()).join("config.json");
        let mut spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        spec["linux"]["seccomp"] = profile();
        fs::write(path, spec.to_string()).unwrap();
        for time in 0..TIMES {
            let ended = container.exec(&format!("exec-{time}"), ["/sleep"]);
            assert!(ended.code == 134 && says_where(&ended.stderr, engine), "exec on {}: {ended:?}", engine.name());
        }
        container.discard();
    }
    node.finish();
}
