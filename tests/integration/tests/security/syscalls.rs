//! Seccomp profiles.

use std::fs;

use catamaran_harness::cri::{Pod, Seccomp};
use catamaran_harness::procfs::status;
use catamaran_harness::{Engine, Image, Node};
use serde_json::json;

use crate::{denied, done, has_words, kitchen, on_each_engine, options, refused, sleeping, wasm};

fn profile(node: &Node, name: &str, text: &str) -> Seccomp {
    let path = node.folder("profiles").join(format!("{name}.json"));
    fs::write(&path, text).unwrap();
    Seccomp::Localhost(path)
}

#[test]
fn the_nodes_seccomp_profile_applies_beside_the_workers_filter() {
    let node = Node::start_with(options());
    // The calls that make a folder for the guest and open a file, and an errno that neither returns by itself.
    let denying = |calls: &[&str], errno: u32| {
        let rule = json!({"names": calls, "action": "SCMP_ACT_ERRNO", "errnoRet": errno});
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}).to_string()
    };
    let no_folders = profile(&node, "no-folders", &denying(&["mkdir", "mkdirat"], 28));
    on_each_engine(&node, |pod, engine| {
        for (name, asked) in [
            ("default", Some(Seccomp::RuntimeDefault)),
            ("unconfined", Some(Seccomp::Unconfined)),
            ("localhost", Some(no_folders.clone())),
            ("silent", None),
        ] {
            let with = |kind: &str, image: &Image| {
                let order = pod.order(&format!("{kind}-{name}"), image);
                if let Some(profile) = &asked { order.seccomp(profile.clone()) } else { order }
            };
            let (container, pid) = sleeping(with("sleep", &wasm("sleep")));
            assert_eq!(status(pid)["Seccomp"], "2", "{engine:?}: {name}");
            container.remove();
            let folder = with("folder", &kitchen()).args(["mkdir", "/folder"]);
            if name == "localhost" {
                denied(folder, "No space left on device");
            } else {
                done(folder);
            }
        }
    });
    node.finish();
}

#[test]
fn a_missing_seccomp_profile_is_named() {
    let node = Node::start_with(options());
    on_each_engine(&node, |pod, engine| broken_profiles(&node, pod, engine));
    node.finish();
}

fn broken_profiles(node: &Node, pod: &Pod<'_>, engine: Engine) {
    // How each engine looks at the container's root.
    let looking = match engine {
        Engine::Wasmtime => r#""openat""#,
        Engine::Wasmer => r#""statx", "newfstatat""#,
    };
    let blind = format!(
        r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": [{looking}], "action": "SCMP_ACT_ERRNO"}}]}}"#
    );
    let order = |name: &str, profile| pod.order(name, &wasm("hello")).seccomp(profile);
    // containerd refuses these when it writes the spec.
    let missing = Seccomp::Localhost(node.dir().join("nowhere.json"));
    let told = order("missing", missing).try_ready().err().expect("it was created");
    has_words(&told, &["seccomp", "nowhere.json", "no such file"]);
    let told = order("cut", profile(node, "cut", "{\"defaultAction\": ")).try_ready().err().expect("it was created");
    has_words(&told, &["seccomp", "unexpected end of JSON"]);
    // And the shim refuses these.
    for (name, text, words) in [
        ("action", r#"{"defaultAction": "SCMP_ACT_PERHAPS"}"#, &["config.json", "SCMP_ACT_PERHAPS"][..]),
        (
            "agent",
            r#"{"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/agent.sock"}"#,
            &["linux.seccomp.listenerPath", "no seccomp agents"],
        ),
        (
            "errno",
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 70000}"#,
            &["linux.seccomp.defaultErrnoRet", "70000", "at most 65535"],
        ),
        (
            "argument",
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
            &["linux.seccomp.syscalls[0].args[].index", "0 to 5"],
        ),
        (
            "killing",
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["write"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#,
            &["seccomp profile"],
        ),
        ("looking", blind.as_str(), &["/hello: the ", "cannot be "]),
    ] {
        let told = refused(order(name, profile(node, name, text)));
        has_words(&told, words);
    }
    // The pod is unaffected.
    assert_eq!(done(pod.order("hello", &wasm("hello"))), ["hello from wasm"]);
}
