//! Lanes of compiles: a start waits only for compiles that take about as long as its own. With one lane for all, a probe of a kilobyte
//! waited for the optimiser of a server, 40 s beside four busy processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use catamaran_harness::{Image, Node, Task, guests, wait_until};
use catamaran_integration::compiles::{all_slots, creations, image, lane, processes, quiet, tickets};
use catamaran_integration::component;
use catamaran_integration::http::get;

const SOON: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(120);

/// A container that sleeps, in which `/exit.wasm` was not compiled yet.
fn sleeping(node: &Node) -> Task<'_> {
    let tools = Image::new("tools").file("/sleep.wasm", guests::wat("sleep")).file("/exit.wasm", guests::wat("exit"));
    let task = node.container("tools").image(&tools.entrypoint(["/sleep.wasm"])).spawn();
    task.expect_stdout("ready\n");
    task
}

/// A server as large as an interpreter, by a custom section of this many bytes.
fn server(bytes: usize) -> Image {
    let mut module = guests::http("server");
    let name = b"\x07padding";
    let mut length = name.len() + bytes;
    module.push(0);
    while length >= 0x80 {
        module.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    module.push(length as u8);
    module.extend(name);
    module.resize(module.len() + bytes, 0);
    component("server", module)
}

#[test]
fn an_exec_of_a_small_module_waits_for_no_servers_compile() {
    let node = Node::start();
    let task = sleeping(&node);
    let best = lane(&node, "best");
    // As if other servers had them.
    let slots = all_slots(&best);
    let order = node.container("server").image(&server(1 << 20)).limit(LATER);
    std::thread::scope(|scope| {
        let created = scope.spawn(|| order.create());
        wait_until(SOON, "the server's order", || (tickets(&best).len() == 1).then_some(()));
        assert_eq!(task.exec("probe", ["/exit.wasm", "3"]).code, 3);
        // A command that starts on fast code does not wait either.
        let command = node.container("command").image(&image("command", guests::idle_of_size(1 << 20))).limit(LATER);
        let command = command.spawn();
        command.expect_stdout("ready\n");
        assert_eq!(tickets(&best).len(), 1, "the server's turn has not come");
        drop(slots);
        let server = created.join().unwrap();
        server.start();
        assert_eq!(get(&server, "/hello").status, 200);
        server.discard();
        command.discard();
    });
    task.discard();
    quiet(&node);
    node.finish();
}

/// The node's compile process for this tier.
fn compile(node: &Node, tier: &str) -> Option<u32> {
    processes(node, "compile").into_iter().find(|pid| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).nth(1) == Some(tier.as_bytes())
    })
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success(), "kill {name} {pid}");
}

#[test]
fn a_compile_goes_past_those_that_take_longer() {
    let node = Node::start();
    let task = sleeping(&node);
    let order = |tier: &str, functions| {
        let image = image(tier, guests::large(functions));
        node.container(tier).image(&image).annotation("catamaran.wasm/compile", tier).limit(LATER)
    };
    let (best, fast) = (order("best", 1000), order("fast", 1001));
    std::thread::scope(|scope| {
        // Each is stopped midway, so that it lasts longer than the compile that must overtake it.
        let mut stopped = Vec::new();
        let creations_of = [(&best, "best"), (&fast, "fast")].map(|(order, tier)| {
            let created = scope.spawn(move || order.create());
            let pid = wait_until(LATER, "the compile", || compile(&node, tier));
            signal("-STOP", pid);
            stopped.push(pid);
            created
        });
        let exec = task.exec("probe", ["/exit.wasm", "3"]);
        let during = ["best", "fast"].map(|tier| (creations(&node, tier).len(), compile(&node, tier)));
        stopped.iter().for_each(|pid| signal("-CONT", *pid));
        assert_eq!(exec.code, 3, "{exec:?}");
        assert_eq!(during, [(0, Some(stopped[0])), (0, Some(stopped[1]))], "both were being compiled");
        creations_of.into_iter().for_each(|created| drop(created.join().unwrap().discard()));
    });
    task.discard();
    quiet(&node);
    node.finish();
}
