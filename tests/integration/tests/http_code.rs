//! The machine code of servers: made once, shared, of the requested tier; and the cost of an idle server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::time::Duration;

use catamaran_harness::{Node, Task, procfs};
use catamaran_integration::compiles::{counter, entries};
use catamaran_integration::http::{get, image, server};

const MIB: usize = 1 << 20;

/// The value of `key=` in the log line about the start of this container.
fn said(node: &Node, id: &str, key: &str) -> String {
    let log = node.log();
    let line = log.lines().rev().find(|line| line.contains(&format!("id={id} ")) && line.contains("world="));
    let line = line.unwrap_or_else(|| panic!("no line about the start of {id}"));
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(&format!("{key}=")));
    word.unwrap_or_else(|| panic!("no {key}= in {line}")).trim_matches('"').to_owned()
}

#[test]
fn servers_of_one_component_share_its_code() {
    let node = Node::start();
    let first = server(&node, "first").spawn();
    let compiles = counter(&node, "compiles.wasmtime");
    let second = server(&node, "second").spawn();
    assert_eq!(counter(&node, "compiles.wasmtime"), compiles, "it was compiled once");
    for task in [&first, &second] {
        assert_eq!(get(task, "/hello").status, 200);
    }
    let smaps = fs::read_to_string(format!("/proc/{}/smaps", second.pid())).unwrap();
    let artifact = entries(&node).into_iter().find(|name| smaps.contains(name.as_str()));
    assert!(artifact.is_some(), "the artifact in the cache is not mapped");
    first.discard();
    second.discard();
    node.finish();
}

#[test]
fn code_with_and_without_a_clock_is_two_artifacts() {
    let node = Node::start();
    let task = server(&node, "limited").spawn();
    assert_eq!(get(&task, "/hello").status, 200);
    task.discard();
    let limited = entries(&node).len();
    let task = server(&node, "free").annotation("catamaran.wasm/http-request-timeout", "none").spawn();
    assert_eq!(get(&task, "/hello").status, 200);
    task.discard();
    assert!(entries(&node).len() > limited, "{:?}", entries(&node));
    let folders = fs::read_dir(node.catamaran_root().join("cache")).unwrap().flatten();
    let names: Vec<_> = folders.map(|folder| folder.file_name().into_string().unwrap()).collect();
    for word in ["wasmtime-http-", "wasmtime-http-uninterrupted-"] {
        assert!(names.iter().any(|name| name.starts_with(word)), "{word}: {names:?}");
    }
    node.finish();
}

#[test]
fn the_tier_is_the_authors_choice() {
    let node = Node::start();
    // Small enough that the start waits for the best code.
    for (id, annotation, tier) in
        [("best", Some("best"), "best"), ("default", None, "best"), ("fast", Some("fast"), "fast")]
    {
        let image = image("server").file("/other", id);
        let server = node.container(id).image(&image).annotation("catamaran.wasm/http-lame-duck", "0s");
        // Otherwise code of another tier exists already.
        let server =
            if id == "fast" { server.annotation("catamaran.wasm/http-request-timeout", "none") } else { server };
        let server = annotation.into_iter().fold(server, |c, tier| c.annotation("catamaran.wasm/compile", tier));
        let task = server.spawn();
        assert_eq!(get(&task, "/hello").status, 200, "{id}");
        assert_eq!(said(&node, id, "tier"), tier, "{id}");
        assert_eq!(said(&node, id, "world"), "http", "{id}");
        task.discard();
    }
    let starts = ["http.best", "http.fast", "command.best", "command.fast"];
    let starts = starts.map(|name| counter(&node, &format!("starts.wasmtime.{name}")));
    assert_eq!(starts, [2, 1, 0, 0]);
    node.await_compiles();
    node.finish();
}

/// A line of a file about the worker in /proc.
fn line(task: &Task<'_>, file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/{file}", task.pid())).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    value.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn an_idle_server_uses_no_processor_time() {
    let node = Node::start();
    let switches = |task: &Task<'_>| {
        let threads = fs::read_dir(format!("/proc/{}/task", task.pid())).unwrap().flatten();
        let count = |status: String| -> u64 {
            let value = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            value.trim().parse().unwrap()
        };
        threads.map(|thread| count(fs::read_to_string(thread.path().join("status")).unwrap())).sum::<u64>()
    };
    let task = server(&node, "server").spawn();
    for asked in [false, true] {
        if asked {
            assert_eq!(get(&task, "/hello").status, 200);
        }
        // Work that the start or the request began may still be going on.
        std::thread::sleep(Duration::from_secs(1));
        let (before, woken) = (procfs::ticks(task.pid()), switches(&task));
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(procfs::ticks(task.pid()), before, "asked: {asked}");
        assert!(switches(&task) - woken <= 1, "it was woken up {} times, asked: {asked}", switches(&task) - woken);
        // Its own, a clock's, and one for a further processor.
        let threads = line(&task, "status", "Threads:");
        assert!(threads <= 4, "{threads} threads");
    }
    // The rest is backed by files, which all servers of a node share.
    let own = line(&task, "smaps_rollup", "Private_Dirty:");
    assert!(own < 2 * (MIB as u64 >> 10), "{own} kB");
    assert_eq!(line(&task, "status", "Seccomp:"), 2);
    task.discard();
    node.finish();
}
