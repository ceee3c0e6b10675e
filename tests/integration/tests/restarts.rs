//! containerd stopped, killed and restarted under running containers; shims that die meanwhile; many clients at once. `tests/faults` has
//! the table of deaths at each step.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use catamaran_harness::guests::wasm;
use catamaran_harness::{Code, Image, Node, State, Task, guests, procfs, shim_folder, wait_until};
use containerd_shim_protos::api::{ConnectRequest, DeleteResponse, KillRequest, StateRequest};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::{Client, TaskClient, ttrpc};

const SOON: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(90);

/// Waits for a byte on stdin and ends with 7.
fn seven() -> Image {
    let module = wat::parse_str(
        r#"(module
             (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
             (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
             (memory (export "memory") 1) (data (i32.const 0) "\10\00\00\00\01\00\00\00")
             (func (export "_start")
               (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
               (call $exit (i32.const 7))))"#,
    );
    guests::of("seven", module.unwrap())
}

fn sleeping<'n>(node: &'n Node, id: &str) -> Task<'n> {
    let task = node.container(id).image(&wasm("sleep")).spawn();
    task.expect_stdout("ready\n");
    task
}

fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

fn ended(pid: u32) {
    wait_until(SOON, "the process to end", || (!runs(pid)).then_some(()));
}

/// The number of a process's wake-ups so far.
fn wakes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let count =
        |line: &str| line.split_once("ctxt_switches:").and_then(|(_, number)| number.trim().parse::<u64>().ok());
    status.lines().filter_map(count).sum()
}

fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// Ends containerd, by SIGKILL or as an administrator does.
fn end_containerd(node: &Node, how: &str) {
    let pid = node.containerd_pid();
    match how {
        "KILL" => node.kill_containerd(),
        _ => {
            signal("-TERM", pid);
            ended(pid);
        }
    }
}

/// The socket of a container's shim, from containerd's record.
fn socket(node: &Node, id: &str) -> PathBuf {
    let text = fs::read_to_string(node.bundle(id).join("bootstrap.json")).unwrap();
    let address = text.split("unix://").nth(1).unwrap();
    PathBuf::from(&address[..address.find('"').unwrap()])
}

#[test]
fn containers_in_every_state_are_found_again_and_exit_codes_arrive() {
    for how in ["TERM", "KILL"] {
        let node = Node::start();
        let created = node.container("created").image(&wasm("sleep")).create();
        let running = sleeping(&node, "running");
        let stopped = node.container("stopped").image(&seven()).stdin("x").spawn();
        assert_eq!(stopped.wait(SOON).code, 7);
        let ending = node.container("ending").image(&seven()).hold_stdin().spawn();
        let cat = node.container("cat").image(&wasm("cat")).hold_stdin().spawn();
        end_containerd(&node, how);
        ending.write("x");
        ended(ending.pid());
        cat.write("written while it was down\n");
        cat.expect_stdout("written while it was down\n");
        node.restart_containerd();
        let states = [&created, &running, &stopped, &ending, &cat].map(Task::state);
        assert_eq!(states, [State::Created, State::Running, State::Stopped, State::Stopped, State::Running], "{how}");
        assert_eq!((stopped.wait(SOON).code, ending.wait(SOON).code), (7, 7), "{how}");
        assert_eq!(running.try_pids().unwrap(), [running.pid()]);
        created.start();
        created.expect_stdout("ready\n");
        cat.write("and after it\n");
        cat.expect_stdout("and after it\n");
        let events = node.events();
        for task in [created, running, cat] {
            assert_eq!(task.discard().code, 137);
        }
        assert_eq!((stopped.delete().code, ending.delete().code), (7, 7), "{how}");
        events.expect("running", &["exit", "delete"]);
        events.expect("ending", &["delete"]);
        node.finish();
    }
}

#[test]
fn calls_in_flight_when_containerd_dies_are_answered_by_the_next_one() {
    let node = Node::start();
    let waited = sleeping(&node, "waited");
    let killed = sleeping(&node, "killed");
    std::thread::scope(|scope| {
        let wait = scope.spawn(|| waited.try_wait(LATER));
        let kill = scope.spawn(|| {
            for _ in 0..200 {
                if killed.try_kill(15, false).is_err() {
                    return;
                }
            }
        });
        std::thread::sleep(Duration::from_millis(20));
        node.kill_containerd();
        assert_eq!(wait.join().unwrap().unwrap_err().code, Code::Unavailable);
        kill.join().unwrap();
    });
    node.restart_containerd();
    assert_eq!(waited.state(), State::Running);
    assert_eq!(killed.wait(SOON).code, 143);
    assert_eq!((waited.discard().code, killed.discard().code), (137, 143));
    node.finish();
}

#[test]
fn a_retry_after_a_restart_finds_what_was_being_compiled() {
    let node = Node::start();
    // Its compile takes longer than a restart of containerd.
    let image = guests::of("large", guests::large(600));
    let order = node.container("large").image(&image).limit(LATER).keep();
    let root = node.catamaran_root();
    let compiles = || {
        let text = fs::read_to_string(root.join("counters")).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("compiles ")?.parse::<u64>().ok()).unwrap_or(0)
    };
    order.record();
    std::thread::scope(|scope| {
        let created = scope.spawn(|| order.try_create_again().map(drop));
        wait_until(SOON, "the compile", || (compiles() > 0).then_some(()));
        node.kill_containerd();
        assert!(created.join().unwrap().is_err(), "it was created in no time: the test needs a larger module");
    });
    node.restart_containerd();
    wait_until(SOON, "containerd to remove what it does not know", || {
        node.leftovers().iter().all(|line| line == "container large").then_some(())
    });
    let task = wait_until(LATER, "the container", || order.try_create_again().ok());
    assert!(node.log().lines().any(|line| line.contains("created id=large") && !line.contains("artifact=compiled")));
    task.discard();
    node.await_compiles();
    assert!(compiles() <= 2, "one for the start, one for the better code");
    node.finish();
}

#[test]
fn a_shim_idles_while_containerd_is_down_and_after_it_came_back() {
    let node = Node::start();
    let quiet = sleeping(&node, "quiet");
    let ending = sleeping(&node, "ending");
    let shims = [&quiet, &ending].map(|task| procfs::parent(task.pid()));
    node.kill_containerd();
    signal("-TERM", ending.pid());
    ended(ending.pid());
    // The shim offers its exit at longer and longer intervals.
    std::thread::sleep(Duration::from_secs(4));
    let before = shims.map(wakes);
    std::thread::sleep(Duration::from_secs(6));
    let after = shims.map(wakes);
    assert_eq!(after[0], before[0], "nothing happened to it");
    assert!(after[1] - before[1] <= 8, "{} wake-ups in six seconds", after[1] - before[1]);
    node.restart_containerd();
    assert_eq!(ending.wait(SOON).code, 143);
    std::thread::sleep(Duration::from_secs(1));
    let before = shims.map(wakes);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(shims.map(wakes), before);
    assert_eq!(shims.map(threads), [1, 1]);
    assert_eq!(ending.delete().code, 143);
    quiet.discard();
    node.finish();
}

#[test]
fn events_wait_for_a_containerd_that_is_stopped_and_are_told_once() {
    let node = Node::start();
    let events = node.events();
    let task = sleeping(&node, "task");
    signal("-STOP", node.containerd_pid());
    signal("-TERM", task.pid());
    ended(task.pid());
    // Longer than the time-out of such a call elsewhere.
    std::thread::sleep(Duration::from_secs(12));
    signal("-CONT", node.containerd_pid());
    events.expect("task", &["create", "start", "exit"]);
    assert_eq!(task.delete().code, 143);
    node.finish();
}

#[test]
fn a_shim_that_died_while_containerd_was_down_is_cleaned_up_and_its_exit_code_kept() {
    let node = Node::start();
    let task = node.container("task").image(&seven()).hold_stdin().spawn();
    let other = sleeping(&node, "other");
    let shim = procfs::parent(task.pid());
    node.kill_containerd();
    task.write("x");
    ended(task.pid());
    let died = procfs::parent(other.pid());
    for pid in [shim, died] {
        signal("-KILL", pid);
        ended(pid);
    }
    ended(other.pid());
    // containerd reports both at its start, before any client can listen.
    let answer = delete_in(&node, "task");
    assert_eq!((answer.pid, answer.exit_status), (task.pid(), 7));
    assert!(answer.exited_at.seconds > 0);
    node.restart_containerd();
    for task in [task, other] {
        assert_eq!(task.try_state().unwrap_err().code, Code::NotFound);
        task.remove_container();
    }
    node.finish();
}

/// Runs `delete` as containerd does.
fn delete_in(node: &Node, id: &str) -> DeleteResponse {
    let output = Command::new(shim_folder().join("containerd-shim-catamaran-v1"))
        .args(["-namespace", node.namespace(), "-id", id, "-address"])
        .arg(node.socket())
        .arg("-bundle")
        .arg(node.bundle(id))
        .arg("delete")
        .current_dir(node.bundle(id))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    DeleteResponse::parse_from_bytes(&output.stdout).unwrap()
}

#[test]
fn a_pod_of_several_containers_goes_with_its_shim() {
    let node = Node::start();
    let pod = sleeping(&node, "pod");
    let member = |id: &str| node.container(id).image(&wasm("sleep")).in_pod("pod");
    let (running, created) = (member("running").spawn(), member("created").create());
    running.expect_stdout("ready\n");
    let stranger = sleeping(&node, "stranger");
    let shim = procfs::parent(pod.pid());
    assert_eq!([procfs::parent(running.pid()), procfs::parent(created.pid())], [shim, shim]);
    // One of them ends after a restart, when containerd runs `delete` for it under the living shim.
    node.restart_containerd();
    let gone = member("gone").spawn();
    node.restart_containerd();
    assert_eq!(gone.discard().code, 137);
    assert_eq!((running.state(), pod.state()), (State::Running, State::Running));
    signal("-KILL", shim);
    for task in [&pod, &running, &created] {
        ended(task.pid());
    }
    wait_until(SOON, "containerd to forget the pod", || pod.try_state().is_err().then_some(()));
    // containerd still knows the others, and its call for the pod alone has cleaned up all of them.
    let left = || {
        let of = |line: &String| ["cgroup", "process", "state"].iter().any(|kind| line.starts_with(kind));
        node.leftovers().into_iter().filter(of).filter(|line| ["running", "created"].iter().any(|id| line.contains(id)))
    };
    wait_until(SOON, "the pod's cgroups and state to go", || (left().count() == 0).then_some(()));
    assert!(runs(stranger.pid()) && stranger.state() == State::Running);
    for task in [running, created] {
        let _ = task.try_delete();
        task.remove_container();
    }
    pod.remove_container();
    stranger.discard();
    node.expect_nothing_left(SOON);
    assert_eq!(node.container("running").image(&wasm("hello")).run().code, 0, "the ids are free");
    node.finish();
}

#[test]
fn a_shim_that_answers_nobody_goes_with_its_pod_when_containerd_restarts() {
    let node = Node::start();
    let stuck = sleeping(&node, "stuck");
    let shim = procfs::parent(stuck.pid());
    signal("-STOP", shim);
    node.restart_containerd();
    assert_eq!(stuck.try_state().unwrap_err().code, Code::NotFound, "containerd has given it up");
    ended(shim);
    ended(stuck.pid());
    stuck.remove_container();
    node.expect_nothing_left(SOON);
    assert_eq!(node.container("stuck").image(&wasm("hello")).run().code, 0);
    node.finish();
}

#[test]
fn a_container_that_delete_took_from_a_stopped_shim_kept_that_shim_for_ever() {
    let node = Node::start();
    let pod = sleeping(&node, "pod");
    let member = |id: &str| node.container(id).image(&wasm("sleep")).in_pod("pod");
    let (running, ended_before) = (member("running").spawn(), member("ended").create());
    running.expect_stdout("ready\n");
    ended_before.kill("KILL");
    ended_before.wait(SOON);
    let shim = procfs::parent(pod.pid());
    // As a restarting containerd does for containers whose shim does not answer its search.
    signal("-STOP", shim);
    for task in [&running, &ended_before] {
        assert_eq!(delete_in(&node, task.id()).exit_status, 137);
    }
    signal("-CONT", shim);
    running.wait(SOON);
    let written = || node.leftovers().into_iter().filter(|line| line.ends_with(".json")).collect::<Vec<_>>();
    assert!(written().iter().all(|line| line.ends_with("/pod.json")), "written down anew: {:?}", written());
    pod.kill("KILL");
    pod.wait(SOON);
    assert_eq!(pod.delete().code, 137);
    ended(shim);
    for task in [running, ended_before] {
        let _ = task.try_delete();
        task.remove_container();
    }
    node.finish();
}

#[test]
fn pods_that_cannot_be_cleaned_up_held_up_every_other_ones_delete() {
    let node = Node::start();
    let task = sleeping(&node, "task");
    let states = node.leftovers().into_iter().find_map(|line| Some(line.strip_prefix("state ")?.to_owned())).unwrap();
    let of_node =
        Path::new(&states).ancestors().find(|path| path.parent() == Some(Path::new("/run/catamaran"))).unwrap();
    // A cgroup with a process that hangs in the kernel stays busy whatever is done; so does a folder with a mount on it.
    let stuck: Vec<_> = ["one", "two"].map(|id| (of_node.join(id), node.folder(id))).into();
    for (pod, busy) in &stuck {
        let mount = Command::new("mount").args(["-t", "tmpfs", "busy"]).arg(busy).status().unwrap();
        assert!(mount.success());
        fs::create_dir_all(pod).unwrap();
        let server = serde_json::json!({
            "format": 2, "pid": 4_194_305, "started": 1, "socket": "/nowhere", "bundle": "/nowhere",
        });
        fs::write(pod.join("server"), server.to_string()).unwrap();
        let state = serde_json::json!({ "format": 2, "pid": 0, "cgroups": [busy] });
        fs::write(pod.join("container.json"), state.to_string()).unwrap();
    }
    let shim = procfs::parent(task.pid());
    node.kill_containerd();
    signal("-KILL", shim);
    ended(shim);
    let begin = Instant::now();
    assert_eq!(delete_in(&node, "task").exit_status, 137);
    let lasted = begin.elapsed();
    for (_, busy) in &stuck {
        assert!(Command::new("umount").arg(busy).status().unwrap().success());
    }
    // containerd waits for five seconds, and takes it for failed then.
    assert!(lasted < Duration::from_secs(4), "{lasted:?}");
    delete_in(&node, "task");
    assert!(stuck.iter().all(|(pod, busy)| !pod.exists() && !busy.exists()), "the next one tries again");
    node.restart_containerd();
    task.remove_container();
    node.finish();
}

#[test]
fn a_client_that_sends_half_a_message_blocks_no_other() {
    let node = Node::start();
    let task = sleeping(&node, "task");
    let shim = procfs::parent(task.pid());
    let address = socket(&node, "task");
    let open = || fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count();
    let before = open();
    let mut half = Vec::new();
    // A part of a header, a header without its message, a part of a message, and no ttrpc at all.
    let head = [0, 0, 0, 100, 0, 0, 0, 1, 1, 0];
    for words in [&head[..3], &head, &[&head[..], b"half"].concat(), b"GET / HTTP/1.1\r\n\r\n"] {
        let mut client = UnixStream::connect(&address).unwrap();
        client.write_all(words).unwrap();
        half.push(client);
    }
    let patience = || ttrpc::context::with_timeout(10_000_000_000);
    std::thread::scope(|scope| {
        for n in 0..16 {
            let address = format!("unix://{}", address.display());
            scope.spawn(move || {
                let client = TaskClient::new(Client::connect(&address).unwrap());
                for _ in 0..25 {
                    let connected =
                        client.connect(patience(), &ConnectRequest { id: "task".to_owned(), ..Default::default() });
                    assert_eq!(connected.unwrap().shim_pid, shim);
                    let asked = StateRequest { id: format!("none{n}"), ..Default::default() };
                    let refused = client.state(patience(), &asked).unwrap_err();
                    assert!(matches!(refused, ttrpc::Error::RpcStatus(s) if s.code() == ttrpc::Code::NOT_FOUND));
                }
                // Cut off with a call under way.
                let kill = KillRequest { id: "task".to_owned(), signal: 0, ..Default::default() };
                client.kill(patience(), &kill).unwrap();
            });
        }
    });
    assert_eq!(task.state(), State::Running);
    drop(half);
    wait_until(SOON, "the connections to go", || (open() <= before).then_some(()));
    assert_eq!(task.discard().code, 137);
    node.finish();
}

#[test]
fn a_newer_delete_cleans_up_after_an_older_shim() {
    let node = Node::start();
    // The leavings of shims of format 1: a state file in the bundle, a cgroup with a process, a socket.
    let bundle = node.bundle("old");
    fs::create_dir_all(&bundle).unwrap();
    let hierarchy = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(Path::new).into_iter().find(|p| p.exists()).unwrap();
    let cgroup = hierarchy.join(node.namespace()).join("old");
    fs::create_dir_all(&cgroup).unwrap();
    let mut worker = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(cgroup.join("cgroup.procs"), worker.id().to_string()).unwrap();
    let dead = node.dir().join("old.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let state = serde_json::json!({
        "format": 1, "shim": 4_194_305, "pid": worker.id(), "cgroups": [&cgroup], "socket": &dead,
    });
    fs::write(bundle.join("catamaran.json"), state.to_string()).unwrap();
    let answer = delete_in(&node, "old");
    assert_eq!((answer.pid, answer.exit_status), (worker.id(), 137));
    assert!(!worker.wait().unwrap().success());
    assert!(!cgroup.exists() && !dead.exists() && !bundle.join("catamaran.json").exists());
    assert_eq!(delete_in(&node, "old").pid, 0, "and again");
    fs::remove_dir_all(&bundle).unwrap();
    node.finish();
}

#[test]
#[ignore = "needs a newer containerd, whose folder CATAMARAN_NEWER_CONTAINERD names"]
fn containers_outlive_an_upgrade_of_containerd() {
    let newer =
        std::env::var_os("CATAMARAN_NEWER_CONTAINERD").expect("CATAMARAN_NEWER_CONTAINERD: a folder with containerd");
    let newer = PathBuf::from(newer).join("containerd");
    let node = Node::start();
    let created = node.container("created").image(&wasm("sleep")).create();
    let running = sleeping(&node, "running");
    let ending = node.container("ending").image(&seven()).hold_stdin().spawn();
    let pod = sleeping(&node, "pod");
    let member = node.container("member").image(&wasm("sleep")).in_pod("pod").spawn();
    node.kill_containerd();
    ending.write("x");
    ended(ending.pid());
    node.restart_containerd_as(&newer);
    let states = [&created, &running, &ending, &pod, &member].map(Task::state);
    assert_eq!(states, [State::Created, State::Running, State::Stopped, State::Running, State::Running]);
    created.start();
    assert_eq!(ending.delete().code, 7);
    // Started by the newer one's bootstrap, and then under the older one again.
    let started = sleeping(&node, "started");
    node.restart_containerd();
    assert_eq!([&created, &started, &pod, &member].map(Task::state), [State::Running; 4]);
    node.restart_containerd_as(&newer);
    signal("-KILL", procfs::parent(pod.pid()));
    wait_until(SOON, "containerd to forget the pod", || pod.try_state().is_err().then_some(()));
    let _ = member.try_delete();
    member.remove_container();
    pod.remove_container();
    for task in [created, running, started] {
        assert_eq!(task.discard().code, 137);
    }
    node.finish();
}
