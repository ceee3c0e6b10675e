//! Reports of kills: when memory ran out in a container's cgroup and the kernel killed there, and when the cause was another.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::time::Duration;

use catamaran_harness::{CgroupVersion, Engine, Image, Node, Runtime, State, Task, cgroup_version, guests, wait_until};
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);
const MIB: u64 = 1 << 20;

/// A guest that grows by 256 MiB and, after the first byte on stdin, writes to all of it.
fn hog() -> Image {
    let module = wat::parse_str(
        r#"(module
             (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
             (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
             (memory (export "memory") 1)
             (data (i32.const 0) "\10\00\00\00\06\00\00\00") (data (i32.const 16) "ready\n")
             (data (i32.const 32) "\40\00\00\00\01\00\00\00")
             (func (export "_start")
               (if (i32.eq (memory.grow (i32.const 4096)) (i32.const -1)) (then unreachable))
               (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
               (drop (call $read (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 8)))
               (memory.fill (i32.const 0) (i32.const 1) (i32.const 268435456))))"#,
    );
    guests::of("hog", module.unwrap())
}

/// A guest that asks for more memory than it may declare, then for all that it may, and writes to none of it.
fn modest() -> Image {
    let module = wat::parse_str(
        r#"(module (memory (export "memory") 1 8192) (func (export "_start")
             (if (i32.ne (memory.grow (i32.const 9000)) (i32.const -1)) (then unreachable))
             (if (i32.eq (memory.grow (i32.const 8191)) (i32.const -1)) (then unreachable))))"#,
    );
    guests::of("modest", module.unwrap())
}

/// The number of the kernel's kills in the task's cgroup, from the kernel's own counter.
fn kills(folder: &std::path::Path) -> u64 {
    let file = if cgroup_version() == CgroupVersion::V1 { "memory.oom_control" } else { "memory.events" };
    let text = fs::read_to_string(folder.join(file)).unwrap();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap().parse().unwrap()
}

/// Fills the memory of the task's cgroup by a process that is not the container's, until the kernel kills that process.
fn crowd(task: &Task<'_>) {
    let output = task.in_cgroup("memory", "exec tail /dev/zero");
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn an_oom_kill_is_reported_before_the_exit() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let events = node.events();
        for n in 0..4 {
            let id = format!("hog-{n}");
            let task = node.container(&id).image(&hog()).memory(64 * MIB).hold_stdin().spawn();
            task.expect_stdout("ready\n");
            let folder = task.cgroup_folder("memory");
            events.expect(&id, &["create", "start"]);
            task.write("x");
            assert_eq!(task.wait(SOON).code, 137, "{engine:?}");
            assert_eq!(kills(&folder), 1);
            // A client that waited for the exit finds the reason reported already.
            events.settle();
            assert_eq!(events.of(&id)[..3], ["create", "start", "oom"], "{engine:?}");
            assert_eq!(task.delete().code, 137);
            events.expect(&id, &["create", "start", "oom", "exit", "delete"]);
        }
        let counters = fs::read_to_string(node.catamaran_root().join("counters")).unwrap();
        assert!(counters.contains(&format!("\noom_kills.{} 4\n", engine.name())), "{counters}");
        node.finish();
    }
}

#[test]
fn other_kills_are_not_reported_as_oom() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let events = node.events();
        let task = node.container("killed").image(&hog()).memory(64 * MIB).hold_stdin().spawn();
        task.expect_stdout("ready\n");
        task.kill("KILL");
        assert_eq!(task.wait(SOON).code, 137, "{engine:?}");
        task.delete();
        let modest = node.container("modest").image(&modest()).memory(64 * MIB).to_its_end();
        assert_eq!(modest.code, 0, "{engine:?}: {modest:?}");
        for id in ["killed", "modest"] {
            events.expect(id, &["create", "start", "exit", "delete"]);
        }
        node.finish();
    }
}

/// Like an exec'd process, or a debugger: the container itself goes on.
fn kill_of_another_process(runtime: Runtime) {
    let node = Node::start().runtime(runtime);
    let events = node.events();
    let task = node.container("sleep").image(&guests::image(runtime, "sleep")).memory(64 * MIB).spawn();
    task.expect_stdout("ready\n");
    for told in 1..=3 {
        crowd(&task);
        wait_until(SOON, "the kill to be told", || (events.of("sleep").len() >= 2 + told).then_some(()));
        assert_eq!(task.state(), State::Running);
    }
    assert_eq!(kills(&task.cgroup_folder("memory")), 3);
    task.kill("KILL");
    assert_eq!(task.wait(SOON).code, 137);
    task.delete();
    let topics = events.of("sleep");
    assert_eq!(topics[..6], ["create", "start", "oom", "oom", "oom", "exit"], "{runtime:?}");
    node.finish();
}

#[test]
fn an_oom_kill_of_another_process_is_reported_at_once() {
    kill_of_another_process(Runtime::Catamaran);
}

#[test]
fn an_oom_kill_of_another_process_is_reported_at_once_on_runc() {
    kill_of_another_process(Runtime::Runc);
}

/// The limit of a whole pod: the kernel kills in the container's cgroup, and counts the kill there.
#[test]
fn an_oom_kill_by_the_pods_limit_is_reported() {
    let node = Node::start();
    let events = node.events();
    let task = node.container("hog").image(&hog()).hold_stdin().spawn();
    task.expect_stdout("ready\n");
    let folder = task.cgroup_folder("memory");
    let file = if cgroup_version() == CgroupVersion::V1 { "memory.limit_in_bytes" } else { "memory.max" };
    fs::write(folder.parent().unwrap().join(file), (64 * MIB).to_string()).unwrap();
    task.write("x");
    assert_eq!(task.wait(SOON).code, 137);
    assert_eq!(kills(&folder), 1);
    task.delete();
    events.expect("hog", &["create", "start", "oom", "exit", "delete"]);
    node.finish();
}

/// The worker itself needs some memory.
#[test]
fn a_limit_that_the_worker_does_not_fit_in_refuses_the_container() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let image = guests::image(Runtime::Catamaran, "hello");
        let small = 64 << 10;
        let order = node.container("small").image(&image);
        let refused = order.clone().spec(move |spec| spec["linux"]["resources"]["memory"] = json!({"limit": small}));
        let status = refused.try_create().err().expect("created");
        for words in ["linux.resources.memory.limit", "allows 65536 bytes", "the kernel killed"] {
            assert!(status.message.contains(words), "{engine:?}: {words} is missing in: {status}");
        }
        node.expect_nothing_left(SOON);
        assert_eq!(order.run().code, 0, "the id is free");
        node.finish();
    }
}
