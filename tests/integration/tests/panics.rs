//! A panic in the host's own code: the container ends with 134 and says where, never with a success.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use catamaran_harness::{Container, Engine, Image, Node, guests};
use serde_json::{Value, json};

/// How often it is tried: three of twenty ended so before.
const TIMES: usize = 8;

/// Programs that wait for a time, and that never wait.
fn image() -> Image {
    Image::new("waits-and-spins").file("/sleep", guests::wat("sleep")).file("/spin", guests::wat("spin"))
}

/// A seccomp profile under which the event loop of an engine panics once the guest waits: the thread that runs the guest on
/// Wasmtime, which asks for events, and on Wasmer, where it wakes the one that asks, by a write of eight bytes.
fn profile(engine: Engine) -> Value {
    let refused = match engine {
        Engine::Wasmtime => json!({"names": ["epoll_wait", "epoll_pwait", "epoll_pwait2"]}),
        Engine::Wasmer => json!({"names": ["write"], "args": [{"index": 2, "value": 8, "op": "SCMP_CMP_EQ"}]}),
    };
    let mut refused = refused;
    refused["action"] = "SCMP_ACT_ERRNO".into();
    refused["errnoRet"] = 1.into();
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]})
}

fn order<'n>(node: &'n Node, engine: Engine, id: &str, program: &str) -> Container<'n> {
    let profile = profile(engine);
    let order = node.container(&format!("{}-{id}", engine.name())).image(&image()).args([program]).engine(engine);
    order.spec(move |spec| spec["linux"]["seccomp"] = profile.clone())
}

/// Whether it is one line that says where the host failed.
fn says_where(text: &str) -> bool {
    text.starts_with("catamaran: the host failed: panic at tokio-") && text.lines().count() == 1
}

/// On Wasmer a guard that was dropped while the panic unwound told a success, and another thread ended the process with it.
#[test]
fn a_panic_of_the_host_is_never_a_success() {
    let node = Node::start();
    for engine in Engine::ALL {
        for time in 0..TIMES {
            let ended = order(&node, engine, &format!("container-{time}"), "/sleep").to_its_end();
            assert!(ended.code == 134 && says_where(&ended.stderr), "{}: {ended:?}", engine.name());
        }
        let container = order(&node, engine, "execs", "/spin").spawn();
        for time in 0..TIMES {
            let ended = container.exec(&format!("exec-{time}"), ["/sleep"]);
            assert!(ended.code == 134 && says_where(&ended.stderr), "exec on {}: {ended:?}", engine.name());
        }
        container.discard();
    }
    node.finish();
}
