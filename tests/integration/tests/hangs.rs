//! Volumes that block for ever: a file system that does not answer, and folders too deep to follow. They delay the request that looks into
//! them, and no other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::ffi::CStr;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use catamaran_harness::guests::wasm;
use catamaran_harness::{Code, Container, Engine, Fuse, Node, Task, guests, wait_until};
use rustix::fs::{Mode, OFlags};

/// The limit for a call that must not wait, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_secs(20);
/// The limit after which a search in a file system that does not answer is ended.
const LONGEST: Duration = Duration::from_secs(30);

fn module() -> Vec<u8> {
    guests::wat("hello")
}

/// Returns the result of `call`, which must come at once.
fn at_once<T>(what: &str, call: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let answer = call();
    assert!(begin.elapsed() < AT_ONCE, "{what} took {:?}", begin.elapsed());
    answer
}

/// All calls to a running container.
fn all_calls(task: &Task<'_>) {
    at_once("State", || task.try_state().unwrap());
    at_once("Stats", || task.try_metrics().unwrap());
    at_once("Pids", || assert!(task.try_pids().unwrap().contains(&task.pid())));
    at_once("Pause", || task.try_pause().unwrap());
    at_once("Resume", || task.try_resume().unwrap());
    at_once("Update", || task.try_update("{}").unwrap());
}

/// The number of searches' cgroups that are left.
fn searches(id: &str) -> usize {
    let pids = Path::new("/sys/fs/cgroup/pids");
    let root = if pids.exists() { pids } else { Path::new("/sys/fs/cgroup") };
    let output = Command::new("find").arg(root).args(["-type", "d", "-name", &format!("{id}-search-*")]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().lines().count()
}

fn in_fuse<'n>(node: &'n Node, id: &str, pod: &str, fuse: &Path) -> Container<'n> {
    node.container(id).image(&wasm("hello")).in_pod(pod).limit(LONGEST + SOON).args(["/data/file"]).bind(
        &fuse.join("folder"),
        "/data",
        ["rbind", "ro"],
    )
}

#[test]
fn a_creation_that_waits_for_a_dead_volume_holds_up_no_other_call() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let at = node.dir().join("fuse");
        let fuse = Fuse::mount(&at, module());
        let own = node.container("own").image(&wasm("sleep")).spawn();
        let other = node.container("other").image(&wasm("sleep")).spawn();
        let runs = in_fuse(&node, "answers", "own", &at).to_its_end();
        assert_eq!((runs.code, runs.stdout.as_str()), (0, "hello from wasm\n"), "{runs:?}");
        fuse.fall_silent();
        std::thread::scope(|scope| {
            let hangs = scope.spawn(|| in_fuse(&node, "hangs", "own", &at).try_create().map(drop).unwrap_err());
            fuse.expect_waiting(SOON);
            for _ in 0..3 {
                all_calls(&own);
                all_calls(&other);
                std::thread::sleep(Duration::from_millis(50));
            }
            wait_until(SOON, "the search to be charged to the pod", || (searches("hangs") == 1).then_some(()));
            let ran = own.further("meanwhile").spawn();
            ran.try_kill(9).unwrap();
            ran.wait(SOON);
            ran.delete();
            let neighbour = node.container("neighbour").image(&wasm("hello")).in_pod("own").to_its_end();
            assert_eq!(neighbour.code, 0, "{neighbour:?}");
            // The search is killed, and does not die: its cgroup stays while everything else goes.
            let begin = Instant::now();
            let refused = hangs.join().unwrap();
            assert!(begin.elapsed() < LONGEST + SOON, "{:?}", begin.elapsed());
            assert_eq!(refused.code, Code::FailedPrecondition, "{refused}");
            assert!(refused.message.contains("did not answer within 30s"), "{refused}");
        });
        all_calls(&own);
        assert_eq!(searches("hangs"), 1, "what does not end is still charged");
        let again = node.container("hangs").image(&wasm("hello")).in_pod("own").to_its_end();
        assert_eq!(again.code, 0, "the id is free: {again:?}");
        at_once("Kill", || other.kill("KILL"));
        at_once("Wait", || other.wait(SOON));
        at_once("Delete", || other.delete());
        fuse.end();
        wait_until(SOON, "the search's cgroup to go", || (searches("hangs") == 0).then_some(()));
        own.discard();
        node.finish();
    }
}

/// A container whose volume has died, after an exec that waited for a file of the volume and was killed. `meanwhile` runs while the exec
/// waits.
fn after_an_exec<'n>(node: &'n Node, meanwhile: impl FnOnce(&Task<'n>)) -> (Fuse, Task<'n>) {
    let at = node.dir().join("fuse");
    let fuse = Fuse::mount(&at, module());
    let task = node.container("own").image(&wasm("sleep")).bind(&at.join("folder"), "/data", ["rbind", "ro"]).spawn();
    fuse.fall_silent();
    let exec = task.further("hangs").args(["/data/file"]).add();
    std::thread::scope(|scope| {
        let starts = scope.spawn(|| exec.try_start());
        fuse.expect_waiting(SOON);
        wait_until(SOON, "the search to be charged to the pod", || (searches("own") == 1).then_some(()));
        meanwhile(&task);
        // As a probe after its deadline.
        at_once("Kill of the exec", || exec.try_kill(9).unwrap());
        assert_eq!(exec.wait(SOON).code, 137);
        starts.join().unwrap().unwrap();
    });
    exec.delete();
    (fuse, task)
}

#[test]
fn an_exec_that_waits_for_a_dead_volume_holds_up_no_other_call_and_ends_by_a_signal() {
    let node = Node::start();
    let (fuse, task) = after_an_exec(&node, all_calls);
    all_calls(&task);
    at_once("Kill", || task.kill("KILL"));
    at_once("Wait", || task.wait(SOON));
    fuse.end();
    // The shim, which still lives, removes it.
    wait_until(SOON, "the search's cgroup to go", || (searches("own") == 0).then_some(()));
    task.delete();
    node.finish();
}

#[test]
fn a_pod_whose_search_hangs_is_removed_and_its_search_later() {
    let node = Node::start();
    let (fuse, task) = after_an_exec(&node, |_| ());
    at_once("Kill", || task.kill("KILL"));
    task.wait(SOON);
    // The shim ends with its last container.
    at_once("Delete", || task.delete());
    assert_eq!(searches("own"), 1);
    fuse.end();
    // The next `delete` on the node removes it.
    let mut number = 0;
    wait_until(SOON, "the search's cgroup to go", || {
        number += 1;
        assert_eq!(node.container(&format!("next{number}")).image(&wasm("hello")).run().code, 0);
        (searches("own") == 0).then_some(())
    });
    node.finish();
}

/// A folder so deep, with names of one letter, that the kernel's longest path just reaches its bottom.
fn deep(at: &Path) -> usize {
    const DEPTH: usize = 2030;
    fs::create_dir_all(at).unwrap();
    let name: &CStr = c"d";
    let mut folder = OwnedFd::from(File::open(at).unwrap());
    for _ in 0..DEPTH {
        rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)).unwrap();
        folder = rustix::fs::openat(&folder, name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    DEPTH
}

#[test]
fn a_long_path_over_a_deep_folder_costs_a_moment() {
    let node = Node::start();
    let volume = node.dir().join("deep");
    let depth = deep(&volume);
    let path = vec![format!("/v{}", "/d".repeat(depth)); 64].join(":");
    // Longer than the kernel allows for an argument.
    let variable = format!("PATH={path}");
    let order = node
        .container("deep")
        .image(&wasm("hello"))
        .args(["nothing.wasm"])
        .spec({
            let variable = variable.clone();
            move |spec| spec["process"]["env"] = serde_json::json!([variable])
        })
        .bind(&volume, "/v", ["rbind", "ro"]);
    order.record();
    let begin = Instant::now();
    let refused = order.try_create_again().map(drop).unwrap_err();
    assert!(begin.elapsed() < AT_ONCE, "Create took {:?}", begin.elapsed());
    assert_eq!(refused.code, Code::InvalidArgument, "{refused}");
    assert!(refused.message.contains("write a shorter path"), "{refused}");
    // The same for an exec, in the tree of a running container.
    let task = node.container("own").image(&wasm("sleep")).bind(&volume, "/v", ["rbind", "ro"]).spawn();
    let begin = Instant::now();
    let output = task
        .further("deep")
        .args(["nothing.wasm"])
        .process(|process| process["env"] = serde_json::json!([variable]))
        .run();
    assert!(begin.elapsed() < AT_ONCE, "the exec took {:?}", begin.elapsed());
    assert_eq!(output.code, 126, "{output:?}");
    assert!(output.stderr.contains("write a shorter path"), "{output:?}");
    task.discard();
    // Too deep for the test's own clean-up.
    assert!(Command::new("rm").arg("-rf").arg(&volume).status().unwrap().success());
    node.finish();
}
