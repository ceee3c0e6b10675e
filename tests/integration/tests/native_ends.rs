//! Ends of native containers when another process ends: the shim, containerd, runc, or the client. And pauses, limits and many containers
//! at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use catamaran_harness::procfs::{children, parent, status};
use catamaran_harness::{
    CgroupVersion, Code, Container, Image, Node, Runtime, State, Task, cgroup_version, guests, kill9, procfs,
    wait_until,
};
use nix::sys::ptrace;
use nix::unistd::Pid;
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);

fn side() -> Image {
    Image::new("side").file("/bin/side", guests::native("side")).env(["PATH=/bin"]).entrypoint(["side"])
}

fn order<'n>(node: &'n Node, id: &str) -> Container<'n> {
    node.container(id).image(&side()).args(["side", "sleep"])
}

fn sleeping<'n>(node: &'n Node, id: &str) -> Task<'n> {
    let task = order(node, id).spawn();
    task.expect_stdout("ready 1\n");
    task
}

/// Whether the root file system of a container is mounted.
fn mounted(node: &Node, id: &str) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.contains(node.bundle(id).join("rootfs").to_str().unwrap())
}

#[test]
fn killing_the_shim_ends_its_containers_and_leaves_nothing() {
    for victim in ["created", "running", "with an exec", "paused", "in a pod"] {
        let node = Node::start();
        let events = node.events();
        let task = if victim == "created" { order(&node, "victim").create() } else { sleeping(&node, "victim") };
        let mut native = vec![task.pid()];
        let exec = task.further("further").args(["side", "sleep"]);
        let mut members = Vec::new();
        match victim {
            "with an exec" => {
                let exec = exec.spawn();
                exec.expect_stdout("ready");
                native.push(exec.try_state().unwrap().1);
            }
            "paused" => task.try_pause().unwrap(),
            "in a pod" => {
                let wasm = guests::image(Runtime::Catamaran, "sleep");
                members.push(node.container("wasm").image(&wasm).in_pod("victim").spawn());
                members.push(order(&node, "native").in_pod("victim").spawn());
                members.iter().for_each(|member| member.expect_stdout("ready"));
                native.extend(members.iter().map(Task::pid));
            }
            _ => {}
        }
        assert!(mounted(&node, "victim"), "{victim}");
        kill9(parent(task.pid()));
        wait_until(SOON, "containerd to forget the task", || task.try_state().is_err().then_some(()));
        wait_until(SOON, "`delete` to end them", || (!native.iter().any(|pid| procfs::is_there(*pid))).then_some(()));
        wait_until(SOON, "the exit to be told", || events.of("victim").contains(&"exit".to_owned()).then_some(()));
        task.remove_container();
        for member in members {
            // containerd still knows of them, until a client asks for them.
            let _ = member.try_delete();
            member.remove_container();
        }
        node.expect_nothing_left(SOON);
        let again = node.container("victim").image(&side()).args(["side", "exit", "5"]).to_its_end();
        assert_eq!(again.code, 5, "{victim}: the id is free");
        node.finish();
    }
}

#[test]
fn a_restarted_containerd_finds_native_containers_and_their_exits() {
    let node = Node::start();
    let (stays, ends) = (sleeping(&node, "stays"), sleeping(&node, "ends"));
    let paused = sleeping(&node, "paused");
    paused.try_pause().unwrap();
    node.kill_containerd();
    kill9(ends.pid());
    node.restart_containerd();
    assert_eq!(stays.state(), State::Running);
    assert_eq!(stays.further("exec").args(["side", "echo", "still here"]).run().stdout, "still here\n");
    assert_eq!(ends.wait(SOON).code, 137);
    assert_eq!(ends.delete().code, 137);
    paused.try_resume().unwrap();
    paused.discard();
    stays.kill("TERM");
    assert_eq!(stays.wait(SOON).code, 143);
    stays.delete();
    node.finish();
}

/// A runc that first runs a script, with its command in `$verb`.
fn runc(node: &Node, script: &str) -> (PathBuf, PathBuf) {
    let program = node.dir().join("other-runc");
    let words = "for verb; do case $verb in create|start|exec|delete|kill|pause|resume|update) break;; esac; done";
    let runc = node.programs().runc.display();
    let text = format!("#!/bin/sh\n{words}\n{script}\nexec {runc} \"$@\"\n");
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let options = node.dir().join("options.toml");
    fs::write(&options, format!("native_runtime = '{}'\n", program.display())).unwrap();
    (program, options)
}

fn with<'n>(order: Container<'n>, options: &Path) -> Container<'n> {
    order.flag(["--runtime-config-path", options.to_str().unwrap()])
}

#[test]
fn a_runc_that_is_killed_leaves_nothing() {
    let node = Node::start();
    for (script, verb) in [
        ("[ $verb != create ] || kill -9 $$", "create"),
        // In the middle of its work, at whatever step.
        ("[ $verb != create ] || (sleep 0.02; kill -9 $$) &", "create"),
        ("[ $verb != create ] || (sleep 0.04; kill -9 $$) &", "create"),
        ("[ $verb != start ] || kill -9 $$", "start"),
    ] {
        let (_, options) = runc(&node, script);
        let created = with(order(&node, "victim"), &options).try_create();
        match created {
            Err(refused) => assert!(refused.message.contains(&format!("OCI runtime {verb} failed")), "{refused}"),
            Ok(task) => {
                // runc was faster than the kill.
                if verb == "start" {
                    let refused = task.try_start().unwrap_err();
                    assert!(refused.message.contains("OCI runtime start failed"), "{refused}");
                    assert_eq!(task.state(), State::Created);
                }
                task.discard();
            }
        }
        node.expect_nothing_left(SOON);
    }
    node.finish();
}

#[test]
fn a_runc_that_hangs_blocks_only_its_own_container() {
    let node = Node::start();
    let hung = node.dir().join("hung");
    let script = format!("[ $verb != create ] || {{ echo $$ >{}; exec sleep 1000; }}", hung.display());
    let (_, options) = runc(&node, &script);
    let pod = node.container("pod").image(&guests::image(Runtime::Catamaran, "sleep"));
    let pod = with(pod, &options).spawn();
    pod.expect_stdout("ready\n");
    let shim = parent(pod.pid());
    let late = with(order(&node, "late"), &options).in_pod("pod").limit(Duration::from_secs(2));
    let begin = Instant::now();
    let refused = late.try_create().map(drop).unwrap_err();
    assert!(refused.code == Code::DeadlineExceeded || refused.message.contains("deadline"), "{refused}");
    assert!(begin.elapsed() < SOON);
    // The waiting creation ends with its deletion, which containerd asks for.
    wait_until(SOON, "the creation to be given up", || (children(shim) == [pod.pid()]).then_some(()));
    let pid: u32 = fs::read_to_string(&hung).unwrap().trim().parse().unwrap();
    assert!(!procfs::is_there(pid), "runc goes with it");
    assert!(!mounted(&node, "late"));
    assert_eq!(pod.state(), State::Running);
    // And with the shim.
    fs::remove_file(&hung).unwrap();
    std::thread::scope(|scope| {
        let again = with(order(&node, "again"), &options).in_pod("pod").limit(SOON).keep();
        let created = scope.spawn(move || again.try_create().map(drop));
        let pid: u32 = wait_until(SOON, "runc to hang", || fs::read_to_string(&hung).ok()?.trim().parse().ok());
        kill9(shim);
        created.join().unwrap().unwrap_err();
        wait_until(SOON, "runc to end with the shim", || (!procfs::is_there(pid)).then_some(()));
    });
    wait_until(SOON, "containerd to forget the pod", || pod.try_state().is_err().then_some(()));
    pod.remove_container();
    node.ctr_ok(["containers", "rm", "again"]);
    // The hung runc mounted and made nothing, and the shim's record of it is gone.
    node.finish();
}

#[test]
fn kill_all_signals_every_process_of_a_native_container() {
    let node = Node::start();
    let task = node.container("leave").image(&side()).args(["side", "leave", "and stay"]).spawn();
    task.expect_stdout("left ");
    let left = children(task.pid());
    assert_eq!(left.len(), 1);
    task.try_kill(10, true).unwrap();
    wait_until(SOON, "the child to hear of it", || {
        (!procfs::is_there(left[0]) || status(left[0])["State"].starts_with('Z')).then_some(())
    });
    assert_eq!(task.state(), State::Running, "the first process of a namespace hears nothing of it");
    task.try_kill(9, true).unwrap();
    assert_eq!(task.wait(SOON).code, 137);
    task.delete();
    node.finish();
}

#[test]
fn a_paused_native_container_stands_still_and_can_be_killed() {
    let node = Node::start();
    let task = sleeping(&node, "paused");
    task.try_pause().unwrap();
    let frozen = match cgroup_version() {
        CgroupVersion::V1 => ("freezer", "freezer.state", "FROZEN"),
        CgroupVersion::V2 => ("freezer", "cgroup.freeze", "1"),
    };
    let read = || fs::read_to_string(task.cgroup_folder(frozen.0).join(frozen.1)).unwrap().trim().to_owned();
    assert_eq!(read(), frozen.2);
    let refused = task.further("exec").args(["side", "echo", "a"]).try_add().err().unwrap();
    assert!(refused.message.contains("paused"), "{}", refused.message);
    task.try_resume().unwrap();
    assert_ne!(read(), frozen.2);
    task.try_pause().unwrap();
    task.try_kill(9, false).unwrap();
    assert_eq!(task.wait(SOON).code, 137);
    task.delete();
    node.finish();
}

#[test]
fn limits_of_a_native_container_change_while_it_runs() {
    let node = Node::start();
    let task = sleeping(&node, "side");
    task.try_update(&json!({"memory": {"limit": 64 << 20}, "cpu": {"shares": 512}}).to_string()).unwrap();
    let (file, value) = match cgroup_version() {
        CgroupVersion::V1 => ("memory.limit_in_bytes", 64 << 20),
        CgroupVersion::V2 => ("memory.max", 64 << 20),
    };
    let read = || fs::read_to_string(task.cgroup_folder("memory").join(file)).unwrap();
    assert_eq!(read().trim().parse::<u64>().unwrap(), value);
    let refused = task.try_update(&json!({"cpu": {"cpus": "9999"}}).to_string()).unwrap_err();
    assert!(refused.message.contains("OCI runtime update failed"), "{refused}");
    task.discard();
    node.finish();
}

#[test]
fn an_execs_exit_is_never_reported_after_its_containers() {
    let node = Node::start();
    let events = node.events();
    // runc's work is done long before it ends.
    let real = node.programs().runc.display().to_string();
    let script = format!("[ $verb != exec ] || {{ {real} \"$@\"; code=$?; sleep 2; exit $code; }}");
    let (_, options) = runc(&node, &script);
    let shared = with(order(&node, "c"), &options).spec(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "pid");
    });
    let task = shared.spawn();
    task.expect_stdout("ready");
    let exec = task.further("late").args(["side", "sleep"]).add();
    std::thread::scope(|scope| {
        let start = scope.spawn(|| exec.try_start());
        exec.expect_stdout("ready");
        task.kill("KILL");
        assert_eq!(task.wait(SOON).code, 137);
        let refused = start.join().unwrap().unwrap_err();
        assert_eq!(refused.code, Code::FailedPrecondition, "{refused}");
    });
    exec.try_delete().unwrap();
    events.settle();
    assert_eq!(events.of("c").last().map(String::as_str), Some("exit"), "{:?}", events.of("c"));
    task.delete();
    node.finish();
}

#[test]
fn a_native_container_held_by_a_tracer_blocks_nobody() {
    let node = Node::start();
    let pod = sleeping(&node, "pod");
    let traced = order(&node, "traced").in_pod("pod").spawn();
    traced.expect_stdout("ready");
    let pid = Pid::from_raw(traced.pid().cast_signed());
    ptrace::seize(pid, ptrace::Options::empty()).unwrap();
    kill9(traced.pid());
    wait_until(SOON, "it to end", || status(traced.pid())["State"].starts_with('Z').then_some(()));
    // The parent is notified of the end, and cannot reap the process before the tracer has.
    std::thread::sleep(Duration::from_millis(300));
    let answer = pod.further("echo").args(["side", "echo", "a"]).try_add().map(drop);
    nix::sys::wait::waitpid(pid, None).unwrap();
    answer.unwrap();
    assert_eq!(traced.wait(SOON).code, 137);
    traced.delete();
    pod.discard();
    node.finish();
}

#[test]
fn fifty_native_containers_start_eight_at_a_time() {
    let node = Node::start();
    node.container("first").image(&side()).args(["side", "exit", "0"]).to_its_end();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let node = &node;
            scope.spawn(move || {
                for n in (worker..50).step_by(8) {
                    let id = format!("crowd-{n}");
                    let text = format!("hello {n}");
                    let output = node.container(&id).image(&side()).args(["side", "echo", &text]).to_its_end();
                    assert_eq!((output.code, output.stdout), (0, format!("{text}\n")), "{id}");
                }
            });
        }
    });
    println!("fifty native containers, eight at a time: {:?}", begin.elapsed());
    node.finish();
}
