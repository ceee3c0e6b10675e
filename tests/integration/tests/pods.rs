//! Pods of our handler through the CRI, as a kubelet runs them: sandbox, containers, network, logs, ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use catamaran_harness::cri::{self, ContainerState, Pod, Propagation, Shape};
use catamaran_harness::guests::wasm;
use catamaran_harness::procfs::{children, parent, status};
use catamaran_harness::{Engine, Example, Image, Node, State, guests, procfs, shim_folder, wait_until};
use catamaran_integration::storm::kills_at_any_moment;

const SOON: Duration = Duration::from_secs(10);
/// The first start of a module of some size.
const COMPILED: Duration = Duration::from_secs(60);

fn node() -> Node {
    Node::start_with(cri::options().network())
}

fn kill(pid: u32, signal: &str) {
    assert!(Command::new("kill").args(["-s", signal, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_pod_of_one_container_on_each_engine() {
    let node = node();
    for engine in Engine::ALL {
        let shape = Shape::wasm().annotation("catamaran.wasm/engine", engine.name());
        let pod = Pod::run(&node, engine.name(), shape);
        assert!(pod.status().ready, "{:?}", pod.status());
        let hello = pod.order("hello", &wasm("hello")).start();
        let ended = hello.wait(SOON);
        assert_eq!((ended.exit_code, ended.reason.as_str()), (0, "Completed"), "{engine:?}: {ended:?}");
        assert_eq!(hello.lines("stdout"), ["hello from wasm"], "{engine:?}");
        let exit = pod.order("exit", &wasm("exit")).args(["42"]).start();
        let ended = exit.wait(SOON);
        assert_eq!((ended.exit_code, ended.reason.as_str()), (42, "Error"), "{engine:?}: {ended:?}");
        let sleep = pod.order("sleep", &wasm("sleep")).start();
        sleep.expect_line("ready");
        assert_eq!(sleep.status().state, ContainerState::Running);
        let exe = fs::read_link(procfs::file(sleep.status().pid, "exe")).unwrap();
        assert_eq!(exe, engine.worker());
        assert_eq!(pod.containers().len(), 3);
        pod.remove();
    }
    node.finish();
}

#[test]
fn a_pod_of_one_container_is_three_processes() {
    let node = node();
    let pod = Pod::run(&node, "three", Shape::wasm());
    let sleep = pod.order("sleep", &wasm("sleep")).start();
    sleep.expect_line("ready");
    let (holder, worker) = (pod.status().pid, sleep.status().pid);
    let shim = parent(holder);
    assert_eq!(fs::read_link(procfs::file(shim, "exe")).unwrap(), shim_folder().join("containerd-shim-catamaran-v1"));
    assert_eq!(fs::read_link(procfs::file(holder, "exe")).unwrap(), shim_folder().join("catamaran-holder"));
    node.await_compiles();
    let mut all = children(shim);
    all.sort_unstable();
    let mut expected = vec![holder, worker];
    expected.sort_unstable();
    assert_eq!(all, expected, "shim, holder, worker");
    assert!(children(holder).is_empty() && children(worker).is_empty());
    // The leftovers that `finish` looks for exist while the pod runs.
    let left = node.leftovers();
    for kind in ["interface ", "address ", "/var/lib/cni/results/"] {
        assert!(left.iter().any(|line| line.starts_with(kind)), "no {kind} in {left:#?}");
    }
    pod.remove();
    wait_until(SOON, "all of them to end", || {
        (![shim, holder, worker].into_iter().any(procfs::is_there)).then_some(())
    });
    node.finish();
}

#[test]
fn a_holder_has_no_files_and_no_rights() {
    let node = node();
    let pod = Pod::run(&node, "holder", Shape::wasm());
    let holder = pod.status().pid;
    let status = status(holder);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"));
    assert_eq!(status["Threads"], "1");
    // The holder closes its last descriptors at Start.
    let descriptors = || fs::read_dir(procfs::file(holder, "fd")).unwrap().count();
    wait_until(SOON, "the holder to hold no descriptor", || (descriptors() == 0).then_some(()));
    assert_eq!(fs::read_dir(procfs::file(holder, "root")).unwrap().count(), 0, "its root is empty");
    assert!(fs::write(procfs::file(holder, "root/new"), "x").is_err(), "and read-only");
    let mounts = fs::read_to_string(procfs::file(holder, "mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 1, "it pins no mount of the host's: {mounts}");
    pod.remove();
    node.finish();
}

#[test]
fn containers_of_one_pod_have_engines_of_their_own() {
    let node = node();
    let shape = Shape::wasm().annotation("catamaran.wasm/engine.left", "wasmtime");
    let pod = Pod::run(&node, "both", shape.annotation("catamaran.wasm/engine.right", "wasmer"));
    let started = ["left", "right"].map(|name| pod.order(name, &wasm("sleep")).start());
    let mut shims = Vec::new();
    for (container, engine) in started.iter().zip([Engine::Wasmtime, Engine::Wasmer]) {
        container.expect_line("ready");
        let pid = container.status().pid;
        assert_eq!(fs::read_link(procfs::file(pid, "exe")).unwrap(), engine.worker());
        shims.push(parent(pid));
    }
    assert_eq!(shims[0], shims[1], "one shim a pod");
    pod.remove();
    node.finish();
}

#[test]
fn an_init_container_fills_a_volume_from_which_the_next_is_loaded() {
    let node = node();
    let volume = node.folder("volume");
    let image = guests::of("carry", guests::go("carry")).file("/hello.wasm", guests::wat("hello"));
    let pod = Pod::run(&node, "init", Shape::wasm());
    let order = pod.order("carry", &image).args(["/hello.wasm", "/work/module.wasm"]);
    let carry = order.mount(&volume, "/work", false, Propagation::None).start();
    let ended = carry.wait(COMPILED);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (0, "Completed"), "{ended:?}: {:?}", carry.log());
    // Its own image has no module.
    let order = pod.order("hello", &Image::new("empty").entrypoint(["/nothing"])).command(["/app/module.wasm"]);
    let hello = order.mount(&volume, "/app", true, Propagation::None).start();
    assert_eq!(hello.wait(SOON).exit_code, 0, "{:?}", hello.log());
    assert_eq!(hello.lines("stdout"), ["hello from wasm"]);
    pod.remove();
    node.finish();
}

#[test]
fn a_container_that_ended_is_started_anew_in_its_pod() {
    let node = node();
    let pod = Pod::run(&node, "restarts", Shape::wasm());
    let before = parent(pod.status().pid);
    for attempt in 0..3 {
        let trap = pod.order("trap", &wasm("trap")).attempt(attempt).start();
        let ended = trap.wait(SOON);
        assert_eq!((ended.exit_code, ended.reason.as_str()), (134, "Error"), "{ended:?}");
        assert!(trap.lines("stderr").iter().any(|line| line.contains("unreachable")), "{:?}", trap.log());
        trap.remove();
    }
    let sleep = pod.order("trap", &wasm("sleep")).attempt(3).start();
    sleep.expect_line("ready");
    assert_eq!(parent(sleep.status().pid), before, "the pod has the shim that it had");
    assert!(pod.status().ready);
    pod.remove();
    node.finish();
}

#[test]
fn a_container_that_is_stopped_ends_by_sigterm_long_before_its_grace_period() {
    let node = node();
    let pod = Pod::run(&node, "stop", Shape::wasm());
    let containers = ["sleep", "spin"].map(|name| pod.order(name, &wasm(name)).start());
    for container in &containers {
        let begin = Instant::now();
        container.stop(Duration::from_secs(30));
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
        let status = container.status();
        assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 143), "{status:?}");
    }
    // A container that still runs ends with the pod's stop.
    let last = pod.order("last", &wasm("sleep")).start();
    pod.stop();
    assert_eq!(last.status().state, ContainerState::Exited);
    assert!(!pod.status().ready);
    pod.remove();
    node.finish();
}

#[test]
fn a_server_answers_on_its_pods_address() {
    let node = node();
    let example = Example::open("wasix-server");
    let pod = Pod::run(&node, "server", Shape::wasm().annotation("catamaran.wasm/engine", "wasmer"));
    let args = example.args();
    let server = pod.order("server", &example.image()).args(args.iter().map(String::as_str)).start();
    server.expect_line("listening on port 8080");
    let ip: IpAddr = pod.status().ip.parse().unwrap();
    for number in 1..=3 {
        let mut connection = TcpStream::connect((ip, 8080)).unwrap();
        connection.set_read_timeout(Some(SOON)).unwrap();
        connection.write_all(b"GET / HTTP/1.1\r\nHost: pod\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with(&format!("\r\n\r\nAhoy, you are number {number}.\n")), "{answer:?}");
    }
    pod.remove();
    node.finish();
}

#[test]
fn a_pod_whose_shim_died_is_gone_and_can_be_removed() {
    let node = node();
    let pod = Pod::run(&node, "orphan", Shape::wasm());
    let containers = ["one", "two"].map(|name| pod.order(name, &wasm("sleep")).start());
    for container in &containers {
        container.expect_line("ready");
    }
    let holder = pod.status().pid;
    let workers = containers.each_ref().map(|container| container.status().pid);
    kill(parent(holder), "KILL");
    wait_until(SOON, "holder and workers to end", || {
        (![holder, workers[0], workers[1]].into_iter().any(procfs::is_there)).then_some(())
    });
    wait_until(SOON, "the pod to be known as gone", || (!pod.status().ready).then_some(()));
    for container in &containers {
        let ended = container.wait(SOON);
        assert_ne!(ended.exit_code, 0, "{ended:?}");
    }
    pod.remove();
    // The name is free for the next one.
    let pod = Pod::run(&node, "orphan", Shape::wasm());
    assert_eq!(pod.order("hello", &wasm("hello")).start().wait(SOON).exit_code, 0);
    pod.remove();
    node.finish();
}

#[test]
fn a_pod_outlives_its_containerd() {
    let node = node();
    let pod = Pod::run(&node, "survivor", Shape::wasm());
    let sleep = pod.order("sleep", &wasm("sleep")).start();
    sleep.expect_line("ready");
    let before = (pod.status(), sleep.status());
    node.kill_containerd();
    node.restart_containerd();
    assert_eq!((pod.status(), sleep.status()), before);
    let hello = pod.order("hello", &wasm("hello")).start();
    assert_eq!(hello.wait(SOON).exit_code, 0);
    sleep.stop(Duration::from_secs(30));
    assert_eq!(sleep.status().exit_code, 143);
    pod.remove();
    node.finish();
}

#[test]
fn a_pod_whose_holder_ended_is_removed_with_its_shim() {
    let node = node();
    let pod = Pod::run(&node, "fallen", Shape::wasm());
    let sleep = pod.order("sleep", &wasm("sleep")).start();
    sleep.expect_line("ready");
    let (holder, worker) = (pod.status().pid, sleep.status().pid);
    let shim = parent(holder);
    kill(holder, "KILL");
    wait_until(SOON, "the pod not to be ready", || (!pod.status().ready).then_some(()));
    // containerd has asked the shim to end by now, and will not ask again.
    assert!(
        procfs::is_there(shim) && procfs::is_there(worker),
        "a container goes on until the kubelet has seen to it, as with other runtimes"
    );
    pod.remove();
    wait_until(SOON, "the shim to end", || (!procfs::is_there(shim)).then_some(()));
    node.finish();
}

#[test]
fn a_pod_has_the_namespaces_that_it_asks_for() {
    let node = node();
    let own = |pid: u32, kind: &str| fs::read_link(procfs::file(pid, "ns").join(kind)).unwrap();
    let host = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    let sysctl = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    for (name, shape, of_the_host) in [
        ("own", Shape { hostname: "alone".to_owned(), ..Shape::wasm() }, &[][..]),
        ("net", Shape { network: false, ..Shape::wasm() }, &["net", "uts"]),
        ("pid", Shape { host_pid: true, ..Shape::wasm() }, &["pid"]),
        ("ipc", Shape { host_ipc: true, ..Shape::wasm() }, &["ipc"]),
        (
            "set",
            Shape {
                sysctls: vec![
                    sysctl("kernel.shm_rmid_forced", "1"),
                    sysctl("net.ipv4.ip_local_port_range", "2000 3000"),
                ],
                ..Shape::wasm()
            },
            &[],
        ),
    ] {
        let pod = Pod::run(&node, name, shape);
        let sleep = pod.order("sleep", &wasm("sleep")).start();
        sleep.expect_line("ready");
        let (holder, worker) = (pod.status().pid, sleep.status().pid);
        for kind in ["net", "uts", "ipc", "pid"] {
            assert_eq!(own(holder, kind) == host(kind), of_the_host.contains(&kind), "{name}: {kind}");
        }
        for kind in ["net", "uts", "ipc"] {
            assert_eq!(own(holder, kind), own(worker, kind), "{name}: {kind} is the pod's");
        }
        assert_ne!(own(holder, "mnt"), host("mnt"), "{name}");
        let read = |file: &str| {
            let output =
                Command::new("nsenter").args(["-t", &holder.to_string(), "-n", "-u", "-i", "cat", file]).output();
            String::from_utf8(output.unwrap().stdout).unwrap().trim().replace('\t', " ")
        };
        match name {
            "own" => assert_eq!(read("/proc/sys/kernel/hostname"), "alone"),
            "set" => {
                assert_eq!(read("/proc/sys/kernel/shm_rmid_forced"), "1");
                assert_eq!(read("/proc/sys/net/ipv4/ip_local_port_range"), "2000 3000");
            }
            _ => {}
        }
        pod.remove();
    }
    node.finish();
}

#[test]
fn in_a_shared_process_namespace_the_holder_reaps_orphans() {
    let node = node();
    let pod = Pod::run(&node, "shared", Shape { shared_pid: true, ..Shape::wasm() });
    let sleep = pod.order("sleep", &wasm("sleep")).start();
    sleep.expect_line("ready");
    let (holder, worker) = (pod.status().pid, sleep.status().pid);
    let number = |pid: u32| status(pid)["NSpid"].split_whitespace().last().unwrap().to_owned();
    assert_eq!((number(holder).as_str(), number(worker).as_str()), ("1", "2"));
    // An orphan in that namespace: the holder becomes its parent.
    let orphan = ["-t", &holder.to_string(), "-p", "sh", "-c", "sleep 100 >/dev/null 2>&1 &"].map(str::to_owned);
    assert!(Command::new("nsenter").args(orphan).status().unwrap().success());
    let found = wait_until(SOON, "the orphan to be the holder's child", || children(holder).first().copied());
    kill(found, "KILL");
    wait_until(SOON, "the orphan to be reaped", || (!procfs::is_there(found)).then_some(()));
    assert!(procfs::is_there(holder));
    // The holder ends with all processes of the namespace.
    kill(holder, "KILL");
    wait_until(SOON, "the worker to end", || (!procfs::is_there(worker)).then_some(()));
    assert_eq!(sleep.wait(SOON).exit_code, 137);
    pod.remove();
    node.finish();
}

/// Output of the sandbox container's own task; in a pod of the CRI it goes nowhere.
#[test]
fn a_holder_ends_as_the_pause_container_does() {
    let node = Node::start();
    let order = node.container("pod").image(&wasm("hello")).annotation("io.kubernetes.cri.container-type", "sandbox");
    for (signal, code) in [("TERM", 0), ("INT", 0), ("KILL", 137)] {
        let task = order.spawn();
        assert_eq!((task.state(), task.try_pids().unwrap()), (State::Running, vec![task.pid()]));
        // The namespace's first process gets no signal that it does not wait for.
        task.kill("HUP");
        task.kill(signal);
        assert_eq!(task.wait(SOON).code, code, "{signal}");
        let output = task.delete();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""), "the image is not run");
    }
    // As the spec's user, who must be allowed to execute the program.
    let task = order.clone().user("65535:65534").spawn();
    let status = status(task.pid());
    assert_eq!(
        (status["Uid"].as_str(), status["Gid"].as_str()),
        ("65535\t65535\t65535\t65535", "65534\t65534\t65534\t65534")
    );
    assert_eq!((status["CapBnd"].as_str(), status["Seccomp"].as_str()), ("0000000000000000", "2"));
    task.discard();
    // Before its start, too.
    let task = order.create();
    assert_eq!(task.state(), State::Created);
    task.kill("TERM");
    assert_eq!(task.wait(SOON).code, 0);
    task.delete();
    order.create().delete();
    node.finish();
}

#[test]
fn a_holder_killed_at_any_moment_of_its_creation_leaves_nothing() {
    let node = Node::start();
    let order =
        node.container("stormy").image(&wasm("hello")).annotation("io.kubernetes.cri.container-type", "sandbox");
    order.create().discard();
    // The intermediate, the process that becomes the holder, and the holder.
    let own = |process: &Path| {
        let words = fs::read(process.join("cmdline")).unwrap_or_default();
        words.ends_with(b"\0hold\0stormy\0") || words == b"catamaran-holder\0stormy\0"
    };
    kills_at_any_moment(&node, &order, Duration::from_micros(500), own);
    node.finish();
}

/// Through `start`, which containerd runs for each container that is not the CRI's.
#[test]
fn containers_with_a_pods_annotation_share_its_shim() {
    let node = Node::start();
    let holder = node.container("pod").image(&wasm("hello")).annotation("io.kubernetes.cri.container-type", "sandbox");
    let holder = holder.spawn();
    let shim = parent(holder.pid());
    let order = |id: &str, pod: &str| {
        let order =
            node.container(id).image(&wasm("sleep")).annotation("io.kubernetes.cri.container-type", "container");
        order.annotation("io.kubernetes.cri.sandbox-id", pod)
    };
    for _ in 0..2 {
        let (one, two) = (order("one", "pod").spawn(), order("two", "pod").spawn());
        assert_eq!((parent(one.pid()), parent(two.pid())), (shim, shim));
        one.expect_stdout("ready\n");
        one.discard();
        two.expect_stdout("ready\n");
        two.discard();
    }
    // No such pod: a shim of its own.
    let alone = order("alone", "nobody").spawn();
    assert_ne!(parent(alone.pid()), shim);
    alone.discard();
    holder.discard();
    node.finish();
}

/// All other nodes here have the drop-in for version 3.
#[test]
fn the_drop_in_for_version_2_of_the_configuration_gives_pods_their_handler() {
    let node = Node::start_with(cri::options().network().version_2());
    let pod = Pod::run(&node, "old", Shape::wasm().annotation("catamaran.wasm/engine", "wasmer"));
    let sleep = pod.order("sleep", &wasm("sleep")).start();
    sleep.expect_line("ready");
    assert_eq!(
        fs::read_link(procfs::file(sleep.status().pid, "exe")).unwrap(),
        Engine::Wasmer.worker(),
        "annotations come through"
    );
    pod.remove();
    node.finish();
}
