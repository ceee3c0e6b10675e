//! The spec's seccomp profile beside the worker's own filter.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::time::Duration;

use catamaran_harness::guests::wasm;
use catamaran_harness::{Code, Container, Node, Runtime, guests};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);

fn with_profile<'n>(order: Container<'n>, profile: Value) -> Container<'n> {
    order.spec(move |spec| spec["linux"]["seccomp"] = profile.clone())
}

#[test]
fn containerds_default_profile_is_applied() {
    let node = Node::start();
    let task = node.container("default").image(&wasm("sleep")).flag(["--seccomp"]).spawn();
    task.expect_stdout("ready");
    let status = fs::read_to_string(format!("/proc/{}/status", task.pid())).unwrap();
    assert!(status.contains("Seccomp:\t2\n") && status.contains("Seccomp_filters:\t1\n"), "{status}");
    task.discard();
    let hello = node.container("hello").image(&wasm("hello")).flag(["--seccomp"]).run();
    assert_eq!(hello.stdout, guests::greeting(Runtime::Catamaran));
    node.finish();
}

#[test]
fn a_seccomp_profile_of_the_pods_own_applies() {
    let node = Node::start();
    // The call that opens a file for the guest, and only that.
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["openat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}],
    });
    let image = wasm("read").file("/there", "content\n");
    let order = node.container("read").image(&image).args(["/read", "/there"]);
    assert_eq!(order.run().stdout, "content\n");
    let task = with_profile(order, profile).spawn();
    task.wait(SOON);
    let output = task.delete();
    assert_eq!((output.code, output.stderr.as_str()), (2, "path_open failed\n"), "{output:?}");
    node.finish();
}

#[test]
fn a_profile_that_kills_the_worker_is_named() {
    let node = Node::start();
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["write"], "action": "SCMP_ACT_KILL_PROCESS"}],
    });
    let order = with_profile(node.container("killed").image(&wasm("hello")), profile);
    let refused = order.try_create().map(drop).unwrap_err();
    assert!(refused.message.contains("seccomp profile"), "{refused}");
    node.expect_nothing_left(SOON);
    node.finish();
}

#[test]
fn a_profile_with_an_agent_is_refused() {
    let node = Node::start();
    let profile = json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/agent.sock"});
    let order = with_profile(node.container("agent").image(&wasm("hello")), profile);
    let refused = order.try_create().map(drop).unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument, "{refused}");
    assert!(refused.message.contains("linux.seccomp.listenerPath"), "{refused}");
    node.finish();
}
