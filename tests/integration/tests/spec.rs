//! The spec's process and namespaces, read off the worker from the host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::process::Command;

use catamaran_harness::guests::wasm;
use catamaran_harness::{Code, Node, Task, shim_folder};
use object::{Object, ObjectSymbol};
use serde_json::json;

fn line(task: &Task<'_>, file: &str, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/{file}", task.pid())).unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(key));
    found.unwrap_or_else(|| panic!("no {key} in {text}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The output of a program in the worker's namespaces of these kinds.
fn within(task: &Task<'_>, kinds: &[&str], program: &[&str]) -> String {
    let output =
        Command::new("nsenter").args(["-t", &task.pid().to_string()]).args(kinds).args(program).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn rlimits_groups_umask_and_oom_score_come_from_the_spec() {
    let node = Node::start();
    let order = node.container("process").image(&wasm("sleep")).spec(|spec| {
        let process = &mut spec["process"];
        process["user"] = json!({"uid": 1000, "gid": 1001, "umask": 0o027, "additionalGids": [1001, 4711, 4712]});
        process["oomScoreAdj"] = json!(321);
        process["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_NPROC", "soft": 50, "hard": 50},
            {"type": "RLIMIT_FSIZE", "soft": 1 << 20, "hard": 1 << 21},
            {"type": "RLIMIT_CORE", "soft": 1 << 20, "hard": 1 << 20},
        ]);
    });
    let task = order.spawn();
    task.expect_stdout("ready\n");
    assert_eq!(line(&task, "status", "Uid:"), "1000 1000 1000 1000");
    assert_eq!(line(&task, "status", "Gid:"), "1001 1001 1001 1001");
    assert_eq!(line(&task, "status", "Groups:"), "1001 4711 4712");
    assert_eq!(line(&task, "status", "Umask:"), "0027");
    assert_eq!(line(&task, "limits", "Max open files"), "100 200 files");
    assert_eq!(line(&task, "limits", "Max processes"), "50 50 processes");
    assert_eq!(line(&task, "limits", "Max file size"), "1048576 2097152 bytes");
    assert_eq!(line(&task, "limits", "Max core file size"), "0 0 bytes", "never a core file");
    assert_eq!(fs::read_to_string(format!("/proc/{}/oom_score_adj", task.pid())).unwrap().trim(), "321");
    task.discard();
    node.finish();
}

#[test]
fn names_and_sysctls_are_set_in_the_containers_namespaces() {
    let node = Node::start();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let order = node.container("names").image(&wasm("sleep")).spec(|spec| {
        spec["hostname"] = json!("catamaran-test");
        spec["domainname"] = json!("example.test");
        spec["linux"]["sysctl"] =
            json!({"net.ipv4.ip_unprivileged_port_start": "80", "kernel.shmmni": "77", "fs.mqueue.msg_max": "12"});
    });
    let task = order.spawn();
    task.expect_stdout("ready\n");
    assert_eq!(within(&task, &["-u"], &["uname", "-n"]), "catamaran-test");
    assert_eq!(within(&task, &["-u"], &["cat", "/proc/sys/kernel/domainname"]), "example.test");
    for (path, expected) in
        [("net/ipv4/ip_unprivileged_port_start", "80"), ("kernel/shmmni", "77"), ("fs/mqueue/msg_max", "12")]
    {
        assert_eq!(within(&task, &["-n", "-i"], &["cat", &format!("/proc/sys/{path}")]), expected);
    }
    let routes = within(&task, &["-n"], &["cat", "/proc/net/fib_trie"]);
    assert!(routes.contains("127.0.0.1"), "the loopback interface is up: {routes}");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), host);
    task.discard();
    node.finish();
}

#[test]
fn what_would_change_the_host_is_refused() {
    let node = Node::start();
    let without = |kind: &'static str, key: &'static str, value: serde_json::Value| {
        node.container("host").image(&wasm("hello")).spec(move |spec| {
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != kind);
            spec.pointer_mut(key).map(|place| *place = value.clone()).unwrap_or_else(|| match key {
                "/hostname" => spec["hostname"] = value.clone(),
                _ => spec["linux"]["sysctl"] = value.clone(),
            });
        })
    };
    for (order, word) in [
        (without("uts", "/hostname", json!("other")), "hostname"),
        (without("network", "/linux/sysctl", json!({"net.ipv4.ip_forward": "1"})), "linux.sysctl[net.ipv4.ip_forward]"),
        (without("ipc", "/linux/sysctl", json!({"kernel.shmmax": "1"})), "linux.sysctl[kernel.shmmax]"),
        (without("none", "/linux/sysctl", json!({"kernel.panic": "1"})), "linux.sysctl[kernel.panic]"),
        (without("none", "/linux/sysctl", json!({"net/../kernel.panic": "1"})), "linux.sysctl["),
        (without("none", "/linux/sysctl", json!({"net.ipv4.no_such_key": "1"})), "net.ipv4.no_such_key"),
    ] {
        let refused = order.try_create().map(drop).unwrap_err();
        assert!(refused.message.contains(word), "{refused}");
        assert!(matches!(refused.code, Code::InvalidArgument | Code::Internal), "{refused}");
    }
    node.finish();
}

#[test]
fn an_unknown_rlimit_is_named() {
    let node = Node::start();
    let order = node.container("limit").image(&wasm("hello")).spec(|spec| {
        spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 300, "hard": 200}]);
    });
    let refused = order.try_create().map(drop).unwrap_err();
    assert!(refused.message.contains("RLIMIT_NOFILE to 300:200"), "{refused}");
    node.finish();
}

/// A regex engine's tables of addresses cost some 220 kB of private memory in every pod: `shim/daemon/src/spec/oci.rs`, `shim/absent`.
#[test]
fn the_shim_and_wasmers_worker_have_no_regex_engine() {
    for (name, uses) in [("containerd-shim-catamaran-v1", "serde_json"), ("catamaran-wasmer", "wasmer_package")] {
        let bytes = fs::read(shim_folder().join(name)).unwrap();
        let program = object::File::parse(&*bytes).unwrap();
        let defined = program.symbols().filter(ObjectSymbol::is_definition);
        let names: Vec<&str> = defined.filter_map(|symbol| symbol.name().ok()).collect();
        assert!(names.iter().any(|symbol| symbol.contains(uses)), "{name} has no symbols to look at");
        let engine: Vec<_> = names.iter().filter(|symbol| symbol.contains("regex_")).collect();
        assert!(engine.is_empty(), "{name}: {} symbols of it, as {}", engine.len(), engine[0]);
    }
}
