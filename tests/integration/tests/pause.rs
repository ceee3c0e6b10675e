//! Pause and Resume, beside runc's shim where both have the same test; and the other calls of the task API meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use catamaran_harness::cri::{self, ContainerState, Pod, Shape};
use catamaran_harness::guests::wasm;
use catamaran_harness::procfs::{self, parent};
use catamaran_harness::{
    CgroupVersion, Code, Engine, Node, Runtime, State, Task, cgroup_version, guests, kill9, systemd_runs, wait_until,
};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);
/// Long enough to notice a guest that computes.
const A_WHILE: Duration = Duration::from_millis(300);

/// Each of our engines, and runc.
fn nodes() -> Vec<(Node, Runtime)> {
    let ours = Engine::ALL.map(|engine| (Node::start().engine(engine), Runtime::Catamaran));
    ours.into_iter().chain([(Node::start(), Runtime::Runc)]).collect()
}

fn started_on<'n>(node: &'n Node, runtime: Runtime, id: &str, guest: &str) -> Task<'n> {
    let task = node.container(id).runtime(runtime).image(&guests::image(runtime, guest)).spawn();
    task.expect_stdout("ready\n");
    task
}

fn started<'n>(node: &'n Node, id: &str, guest: &str) -> Task<'n> {
    started_on(node, Runtime::Catamaran, id, guest)
}

/// Waits until a guest visibly computes.
fn goes_on(pid: u32) {
    let before = procfs::ticks(pid);
    wait_until(SOON, "the process to compute", || (procfs::ticks(pid) > before).then_some(()));
}

fn stands_still(pid: u32) {
    let before = procfs::ticks(pid);
    std::thread::sleep(A_WHILE);
    assert_eq!(procfs::ticks(pid), before, "it computes");
}

/// The file of a task's freezer, and its content when the task is frozen.
fn freezer(task: &Task<'_>) -> (PathBuf, &'static str) {
    match cgroup_version() {
        CgroupVersion::V1 => (task.cgroup_folder("freezer").join("freezer.state"), "FROZEN"),
        CgroupVersion::V2 => (task.cgroup_folder("").join("cgroup.freeze"), "1"),
    }
}

#[test]
fn a_paused_guest_stands_still_and_goes_on() {
    for (node, runtime) in nodes() {
        let events = node.events();
        let task = started_on(&node, runtime, "spin", "spin");
        goes_on(task.pid());
        for _ in 0..3 {
            task.try_pause().unwrap();
            assert_eq!(task.state(), State::Paused);
            stands_still(task.pid());
            task.try_resume().unwrap();
            assert_eq!(task.state(), State::Running);
            goes_on(task.pid());
        }
        task.kill("KILL");
        task.wait(SOON);
        let heard = events.of("spin");
        let expected = ["create", "start", "paused", "resumed", "paused", "resumed", "paused", "resumed", "exit"];
        wait_until(SOON, "the events", || (events.of("spin").len() >= expected.len()).then_some(()));
        assert_eq!(events.of("spin"), expected, "{heard:?}");
        task.delete();
        node.finish();
    }
}

#[test]
fn ctr_pauses_and_resumes() {
    let node = Node::start();
    let task = started(&node, "sleep", "sleep");
    node.ctr_ok(["tasks", "pause", "sleep"]);
    let listed = node.ctr_ok(["tasks", "ls"]);
    assert!(listed.lines().any(|line| line.starts_with("sleep ") && line.contains("PAUSED")), "{listed}");
    node.ctr_ok(["tasks", "resume", "sleep"]);
    assert_eq!(task.state(), State::Running);
    task.discard();
    node.finish();
}

#[test]
fn what_is_written_to_a_paused_guest_is_read_when_it_goes_on() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let task = node.container("cat").image(&wasm("cat")).hold_stdin().spawn();
        task.write("one\n");
        task.expect_stdout("one\n");
        task.try_pause().unwrap();
        task.write("two\n");
        task.close_stdin();
        std::thread::sleep(A_WHILE);
        assert_eq!(task.stdout(), "one\n");
        task.try_resume().unwrap();
        assert_eq!(task.wait(SOON).code, 0);
        assert_eq!(task.delete().stdout, "one\ntwo\n");
        node.finish();
    }
}

#[test]
fn refused_transitions_name_the_containers_state() {
    let node = Node::start();
    let task = node.container("sleep").image(&wasm("sleep")).create();
    let refused = |task: &Task<'_>, what: Result<(), catamaran_harness::Status>, words: &str| {
        let status = what.expect_err(words);
        assert_eq!(status.code, Code::FailedPrecondition, "{status}");
        assert!(status.message.contains(&format!("container {} is {words}", task.id())), "{status}");
    };
    refused(&task, task.try_pause(), "created: it cannot be paused");
    refused(&task, task.try_resume(), "created: it cannot be resumed");
    task.start();
    task.expect_stdout("ready\n");
    refused(&task, task.try_resume(), "running: it cannot be resumed");
    task.try_pause().unwrap();
    refused(&task, task.try_pause(), "paused: it cannot be paused");
    refused(&task, task.try_start().map(drop), "paused: it cannot be started");
    refused(&task, task.try_delete().map(drop), "paused: it cannot be deleted");
    assert_eq!(task.state(), State::Paused, "a refused transition changes nothing");
    task.kill("KILL");
    task.wait(SOON);
    refused(&task, task.try_pause(), "stopped: it cannot be paused");
    refused(&task, task.try_resume(), "stopped: it cannot be resumed");
    task.delete();
    node.finish();
}

#[test]
fn a_paused_guest_is_ended_by_sigkill_at_once_and_by_other_signals_when_it_goes_on() {
    for (node, runtime) in nodes() {
        let task = started_on(&node, runtime, "kill", "spin");
        task.try_pause().unwrap();
        task.kill("KILL");
        assert_eq!(task.wait(SOON).code, 137, "SIGKILL ends it where it is");
        assert_eq!(task.state(), State::Stopped);
        task.delete();
        let task = started_on(&node, runtime, "term", "sleep");
        task.try_pause().unwrap();
        task.kill("TERM");
        assert!(task.try_wait(A_WHILE).is_err(), "any other signal waits");
        assert_eq!(task.state(), State::Paused);
        task.try_resume().unwrap();
        assert_eq!(task.wait(SOON).code, 143);
        task.delete();
        node.finish();
    }
}

/// When a stopped process dies is the kernel's matter, and the same as on runc.
#[test]
fn a_paused_worker_that_is_killed_from_outside_ends_as_the_kernel_decides() {
    for (node, runtime) in nodes() {
        let task = started_on(&node, runtime, "victim", "sleep");
        task.try_pause().unwrap();
        kill9(task.pid());
        if cgroup_version() == CgroupVersion::V1 {
            assert!(task.try_wait(A_WHILE).is_err(), "v1 keeps it");
            assert_eq!(task.state(), State::Paused);
            task.try_resume().unwrap();
        }
        assert_eq!(task.wait(SOON).code, 137);
        wait_until(SOON, "the task to be stopped", || (task.state() == State::Stopped).then_some(()));
        task.delete();
        node.finish();
    }
}

#[test]
fn a_paused_container_answers_every_call() {
    let node = Node::start();
    let task = started(&node, "sleep", "sleep");
    task.try_pause().unwrap();
    assert_eq!(task.try_pids().unwrap(), [task.pid()]);
    let (kind, figures) = task.try_metrics().unwrap();
    assert!(kind.ends_with(".Metrics") && !figures.is_empty());
    task.try_update(r#"{"pids":{"limit":33}}"#).unwrap();
    assert_eq!(task.state(), State::Paused);
    // A restarted containerd finds it paused.
    node.restart_containerd();
    assert_eq!(task.state(), State::Paused);
    task.try_resume().unwrap();
    assert_eq!(task.state(), State::Running);
    task.discard();
    node.finish();
}

#[test]
fn all_processes_in_the_cgroup_are_listed_and_paused() {
    let node = Node::start();
    let task = started(&node, "sleep", "sleep");
    // In the place of an exec'd process: one of the container's cgroup, beside the worker.
    let (file, _) = freezer(&task);
    let folder = file.parent().unwrap();
    let first = if cgroup_version() == CgroupVersion::V1 { first_hierarchy(&task) } else { folder.to_owned() };
    let script = format!(
        "echo $$ > {}/cgroup.procs; echo $$ > {}/cgroup.procs; while :; do :; done",
        folder.display(),
        first.display()
    );
    let mut other = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).spawn().unwrap();
    wait_until(SOON, "the other process to be told", || {
        let mut told = task.try_pids().unwrap();
        told.sort_unstable();
        let mut expected = vec![task.pid(), other.id()];
        expected.sort_unstable();
        (told == expected).then_some(())
    });
    goes_on(other.id());
    task.try_pause().unwrap();
    stands_still(other.id());
    task.try_resume().unwrap();
    goes_on(other.id());
    task.try_pause().unwrap();
    // Delete clears the cgroup, whatever processes are in it, frozen or not.
    task.kill("KILL");
    task.wait(SOON);
    let deleted = std::thread::scope(|scope| {
        let deletion = scope.spawn(|| task.delete());
        let ended = other.wait().unwrap();
        assert!(!ended.success());
        deletion.join().unwrap()
    });
    assert_eq!(deleted.code, 137);
    node.finish();
}

/// v1: the first hierarchy of the mount table, whose processes Pids reports.
fn first_hierarchy(task: &Task<'_>) -> PathBuf {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let first = table.lines().find(|line| line.contains(" - cgroup ") || line.contains(" - cgroup2 ")).unwrap();
    let mount = first.split(' ').nth(4).unwrap();
    let own = fs::read_to_string(procfs::file(task.pid(), "cgroup")).unwrap();
    let path = own.lines().find_map(|line| line.split_once("freezer:")).unwrap().1.to_owned();
    PathBuf::from(format!("{mount}{path}"))
}

#[test]
fn a_shim_that_dies_leaves_no_paused_process() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let task = started(&node, "victim", "spin");
        task.try_pause().unwrap();
        let worker = task.pid();
        kill9(parent(worker));
        wait_until(SOON, "containerd to forget the task", || task.try_state().is_err().then_some(()));
        wait_until(SOON, "the worker to die", || (!procfs::is_there(worker)).then_some(()));
        task.remove_container();
        node.expect_nothing_left(SOON);
        let again = node.container("victim").image(&wasm("hello")).run();
        assert_eq!(again.stdout, "hello from wasm\n", "the id is free: {again:?}");
        node.finish();
    }
}

/// Runs `ctr` in the namespace of the CRI's containers.
fn ctr_of_pods(node: &Node, words: &[&str]) -> String {
    node.ctr_ok(["--namespace", "k8s.io"].iter().chain(words))
}

#[test]
fn one_container_of_a_pod_is_paused_and_the_others_go_on() {
    let node = Node::start_with(cri::options());
    let pod = Pod::run(&node, "pod", Shape { handler: "catamaran".to_owned(), ..Shape::default() });
    let [one, two] = ["one", "two"].map(|name| pod.order(name, &wasm("spin")).start());
    one.expect_line("ready");
    two.expect_line("ready");
    ctr_of_pods(&node, &["tasks", "pause", one.id()]);
    stands_still(one.status().pid);
    goes_on(two.status().pid);
    // A kubelet's stop: SIGTERM, which stays pending, and then SIGKILL.
    one.stop(Duration::from_secs(1));
    let status = one.status();
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 137), "{status:?}");
    assert_eq!(two.status().state, ContainerState::Running);
    // The sandbox container is paused like any other; nothing runs in it that the pod would miss.
    ctr_of_pods(&node, &["tasks", "pause", pod.id()]);
    let listed = ctr_of_pods(&node, &["tasks", "ls"]);
    assert!(listed.lines().any(|line| line.starts_with(pod.id()) && line.contains("PAUSED")), "{listed}");
    assert!(pod.order("three", &wasm("hello")).start().wait(SOON).exit_code == 0, "a pod takes further containers");
    ctr_of_pods(&node, &["tasks", "resume", pod.id()]);
    ctr_of_pods(&node, &["tasks", "pause", pod.id()]);
    ctr_of_pods(&node, &["tasks", "pause", two.id()]);
    // All containers end with the pod, paused or not.
    pod.remove();
    node.finish();
}

#[test]
fn a_pod_whose_shim_dies_while_its_containers_are_paused_is_gone() {
    let node = Node::start_with(cri::options());
    let pod = Pod::run(&node, "orphan", Shape { handler: "catamaran".to_owned(), ..Shape::default() });
    let containers = ["one", "two"].map(|name| pod.order(name, &wasm("spin")).start());
    let holder = pod.status().pid;
    let pids = [holder, containers[0].status().pid, containers[1].status().pid];
    for id in [pod.id(), containers[0].id(), containers[1].id()] {
        ctr_of_pods(&node, &["tasks", "pause", id]);
    }
    kill9(parent(holder));
    wait_until(SOON, "holder and workers to die", || (!pids.into_iter().any(procfs::is_there)).then_some(()));
    wait_until(SOON, "the pod to be known as gone", || (!pod.status().ready).then_some(()));
    for container in &containers {
        assert_ne!(container.wait(SOON).exit_code, 0);
    }
    pod.remove();
    node.finish();
}

/// On v1 there are no scopes, and a test for it is in `resources.rs`.
#[test]
fn a_scope_of_systemds_is_paused_and_ends() {
    let node = Node::start();
    let path = format!("catamaran-tests.slice:{}:scoped", node.namespace());
    let order = node.container("scoped").image(&wasm("spin"));
    let order = order.spec(move |spec| spec["linux"]["cgroupsPath"] = json!(path));
    if cgroup_version() == CgroupVersion::V1 || !systemd_runs() {
        assert!(order.try_create().is_err());
        return node.finish();
    }
    let task = order.spawn();
    task.expect_stdout("ready\n");
    task.try_pause().unwrap();
    let (file, on) = freezer(&task);
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), on);
    stands_still(task.pid());
    task.try_resume().unwrap();
    goes_on(task.pid());
    task.try_pause().unwrap();
    task.kill("KILL");
    assert_eq!(task.wait(SOON).code, 137);
    task.delete();
    // And when no shim is left to thaw it.
    let task = order.spawn();
    task.expect_stdout("ready\n");
    task.try_pause().unwrap();
    kill9(parent(task.pid()));
    wait_until(SOON, "containerd to forget the task", || task.try_state().is_err().then_some(()));
    task.remove_container();
    node.finish();
}
