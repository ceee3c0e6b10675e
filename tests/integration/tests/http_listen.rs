//! A server's address: given in five ways, refused with the name of the wrong value.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::net::SocketAddr;

use catamaran_harness::{Code, Container, Node, Task};
use catamaran_integration::http::{Answer, Client, server};

const LISTEN: &str = "catamaran.wasm/http-listen";
const RUNWASI: &str = "WASMTIME_HTTP_PROXY_SOCKET_ADDR";
const SPIN: &str = "SPIN_HTTP_LISTEN_ADDR";
const NAME: &str = "io.kubernetes.cri.container-name";

fn at(task: &Task<'_>, address: &str, path: &str) -> Answer {
    let address: SocketAddr = address.parse().unwrap();
    task.within(|| Client::connect_to(address).get(path))
}

/// The listening sockets in the task's network namespace: the local address as the kernel prints it, its port in decimal.
fn listening(task: &Task<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for file in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{}/net/{file}", task.pid())).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<_> = line.split_whitespace().collect();
            if words[3] == "0A" {
                let (address, port) = words[1].split_once(':').unwrap();
                found.push(format!("{address}:{}", u16::from_str_radix(port, 16).unwrap()));
            }
        }
    }
    found
}

fn refused(container: &Container<'_>, words: &[&str]) {
    let status = container.try_create().map(drop).unwrap_err();
    assert!(matches!(status.code, Code::InvalidArgument | Code::FailedPrecondition), "{status}");
    for word in words {
        assert!(status.message.contains(word), "{word:?} is missing in: {status}");
    }
}

#[test]
fn a_server_listens_where_it_is_told_first() {
    let node = Node::start();
    type Say = for<'n> fn(Container<'n>) -> Container<'n>;
    let ways: [(&str, &str, Say); 6] = [
        ("default", "127.0.0.1:8080", |c| c),
        ("port", "127.0.0.1:3001", |c| c.env("PORT", "3001")),
        ("spin", "127.0.0.1:3002", |c| c.env("PORT", "3001").env(SPIN, "0.0.0.0:3002")),
        ("runwasi", "127.0.0.2:3003", |c| {
            c.env("PORT", "3001").env(SPIN, "0.0.0.0:3002").env(RUNWASI, "127.0.0.2:3003")
        }),
        ("annotation", "127.0.0.1:3004", |c| c.env(RUNWASI, "127.0.0.2:3003").annotation(LISTEN, ":3004")),
        ("own", "127.0.0.1:3005", |c| {
            let c = c.annotation(NAME, "web").annotation(LISTEN, ":3004");
            c.annotation("catamaran.wasm/http-listen.web", "127.0.0.1:3005")
        }),
    ];
    for (id, address, say) in ways {
        let task = say(server(&node, id)).spawn();
        assert_eq!(at(&task, address, "/hello").text(), "hello from http\n", "{id}");
        assert_eq!(listening(&task).len(), 1, "{id}: {:?}", listening(&task));
        // The guest does not see the variables that give the address, except PORT.
        for name in [RUNWASI, SPIN, "WASMTIME_HTTP_PROXY_BACKLOG", "WASMTIME_HTTP_BACKLOG"] {
            assert_eq!(at(&task, address, &format!("/env?{name}")).text(), "(unset)", "{id}: {name}");
        }
        let port = at(&task, address, "/env?PORT").text();
        assert_eq!(port, if matches!(id, "port" | "spin" | "runwasi") { "3001" } else { "(unset)" }, "{id}");
        // The start's line in the log names the address.
        let (_, port) = address.split_once(':').unwrap();
        let log = node.log();
        let line = log.lines().find(|line| line.contains("world=http") && line.contains(&format!("id={id} ")));
        assert!(line.is_some_and(|line| line.contains("listen=") && line.contains(port)), "{id}: {line:?}");
        task.discard();
    }
    node.finish();
}

#[test]
fn a_server_listens_to_ipv4_and_ipv6() {
    let node = Node::start();
    let task = server(&node, "both").spawn();
    assert_eq!(at(&task, "127.0.0.1:8080", "/hello").status, 200);
    if fs::exists("/proc/net/if_inet6").unwrap() {
        assert_eq!(listening(&task), ["00000000000000000000000000000000:8080"]);
        assert_eq!(at(&task, "[::1]:8080", "/hello").status, 200);
    }
    task.discard();
    let task = server(&node, "four").annotation(LISTEN, "0.0.0.0:8080").spawn();
    assert_eq!(listening(&task), ["00000000:8080"]);
    task.discard();
    node.finish();
}

#[test]
fn the_backlog_is_set_by_either_name() {
    let node = Node::start();
    for (name, backlog) in [("WASMTIME_HTTP_PROXY_BACKLOG", "7"), ("WASMTIME_HTTP_BACKLOG", "9")] {
        let task = server(&node, "backlog").env(name, backlog).spawn();
        assert_eq!(at(&task, "127.0.0.1:8080", &format!("/env?{name}")).text(), "(unset)");
        task.discard();
        refused(&server(&node, "backlog").env(name, "many"), &[name, "many"]);
    }
    node.finish();
}

#[test]
fn a_value_that_does_not_parse_refuses_the_container_by_name() {
    let node = Node::start();
    for (name, value) in [
        (RUNWASI, "8080"),
        (RUNWASI, "localhost:8080"),
        (SPIN, "http://0.0.0.0:80"),
        (SPIN, ""),
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", "tcp://10.0.0.1:80"),
    ] {
        refused(&server(&node, "refused").env(name, value), &[name, &format!("{value:?}")]);
    }
    for (key, value) in [
        ("http-listen", "localhost:80"),
        ("http-max-concurrent-requests", "0"),
        ("http-request-timeout", "30"),
        ("http-instance-reuse", "0"),
        ("http-instance-memory", "1"),
        ("http-max-request-body", "a lot"),
        ("http-lame-duck", "11m"),
        ("compile", "good"),
        ("world", "wasi"),
    ] {
        let key = format!("catamaran.wasm/{key}");
        refused(&server(&node, "refused").annotation(&key, value), &[&key, &format!("{value:?}")]);
        let own = format!("{key}.web");
        refused(
            &server(&node, "refused").annotation(NAME, "web").annotation(&own, value),
            &[&own, &format!("{value:?}")],
        );
    }
    // For a command these variables may mean something else.
    let hello = catamaran_harness::guests::image(catamaran_harness::Runtime::Catamaran, "hello");
    let command = node.container("command").image(&hello).env("PORT", "http").env(SPIN, "").run();
    assert_eq!((command.code, command.stdout.as_str()), (0, "hello from wasm\n"), "{command:?}");
    node.finish();
}

#[test]
fn an_address_that_cannot_be_had_is_refused_with_what_to_write() {
    let node = Node::start();
    let first = server(&node, "first").spawn();
    let namespace = format!("/proc/{}/ns/net", first.pid());
    let join = move |spec: &mut serde_json::Value| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.iter_mut().filter(|n| n["type"] == "network").for_each(|n| n["path"] = namespace.clone().into());
    };
    let second = server(&node, "second").spec(join.clone());
    refused(&second, &["[::]:8080", "the default", "another container of the pod", LISTEN]);
    let elsewhere = server(&node, "elsewhere").annotation(LISTEN, ":8081").spec(join.clone()).spawn();
    assert_eq!(at(&elsewhere, "127.0.0.1:8081", "/hello").status, 200);
    elsewhere.discard();
    // TEST-NET-1: no interface has this address.
    let foreign = server(&node, "foreign").annotation(LISTEN, "192.0.2.1:8080").spec(join);
    refused(&foreign, &["192.0.2.1:8080", LISTEN, "no such address"]);
    first.discard();
    // The port is free at once.
    let again = server(&node, "again").spawn();
    assert_eq!(at(&again, "127.0.0.1:8080", "/hello").status, 200);
    again.discard();
    node.finish();
}

#[test]
fn a_low_port_is_refused_or_allowed_by_the_network_namespaces_setting() {
    let node = Node::start();
    // As on the node: no capability helps, not even root's.
    let all = ["CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"];
    for user in ["0:0", "1000:1000"] {
        let low = server(&node, "low").annotation(LISTEN, "127.0.0.1:80").user(user).spec(move |spec| {
            let capabilities = &mut spec["process"]["capabilities"];
            for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
                capabilities[set] = all.into();
            }
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "network");
        });
        refused(&low, &["127.0.0.1:80", LISTEN, "1024"]);
    }
    // As the CRI sets it in a pod's own network.
    let pod = server(&node, "pod").annotation(LISTEN, ":80").user("1000:1000").spec(|spec| {
        spec["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"] = "0".into();
    });
    let task = pod.spawn();
    assert_eq!(at(&task, "127.0.0.1:80", "/hello").status, 200);
    task.discard();
    node.finish();
}
