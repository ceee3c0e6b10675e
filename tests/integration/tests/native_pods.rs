//! Pods in which native containers run, alone or beside Wasm ones, as a kubelet has them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use catamaran_harness::cri::{self, ContainerState, Pod, Propagation, Running, Shape};
use catamaran_harness::guests::wasm;
use catamaran_harness::procfs::{children, parent, status};
use catamaran_harness::{Image, Node, guests, procfs, shim_folder, wait_until};

const SOON: Duration = Duration::from_secs(10);

fn side() -> Image {
    Image::new("side").file("/bin/side", guests::native("side")).env(["PATH=/bin"]).entrypoint(["side"])
}

fn node() -> Node {
    Node::start_with(cri::options().network())
}

fn started<'n>(pod: &Pod<'n>, name: &str, words: &[&str]) -> Running<'n> {
    pod.order(name, &side()).args(words.iter().copied()).start()
}

fn exe(pid: u32) -> std::path::PathBuf {
    fs::read_link(procfs::file(pid, "exe")).unwrap()
}

#[test]
fn wasm_and_native_containers_share_a_pod() {
    let node = node();
    let pod = Pod::run(&node, "mixed", Shape::wasm());
    let volume = node.folder("empty-dir");
    let none = Propagation::None;
    // An init container that prepares the module's input.
    let init = pod.order("init", &side()).args(["put", "/data/config", "from init\n"]);
    let init = init.mount(&volume, "/data", false, none).start();
    let ended = init.wait(SOON);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (0, "Completed"), "{ended:?}");
    let read = pod.order("read", &wasm("read")).args(["/data/config"]).mount(&volume, "/data", false, none).start();
    let ended = read.wait(SOON);
    assert_eq!((ended.exit_code, read.lines("stdout")), (0, vec!["from init".to_owned()]), "{ended:?}");
    let sleep = pod.order("sleep", &wasm("sleep")).start();
    sleep.expect_line("ready");
    // One network for all of them.
    let server = started(&pod, "server", &["serve", "8080"]);
    server.expect_line("listening");
    let client = started(&pod, "client", &["connect", "8080"]);
    let ended = client.wait(SOON);
    assert_eq!((ended.exit_code, client.lines("stdout")), (0, vec!["from the sidecar".to_owned()]), "{ended:?}");
    let (worker, native) = (sleep.status().pid, server.status().pid);
    assert_eq!(exe(worker), shim_folder().join("catamaran-wasmtime"));
    assert_eq!(parent(worker), parent(native), "one shim for both");
    let network = |pid: u32| fs::read_link(procfs::file(pid, "ns/net")).unwrap();
    assert_eq!(network(worker), network(native));
    let mut known = vec![pod.status().pid, worker, native];
    known.sort_unstable();
    node.await_compiles();
    let mut found = children(parent(worker));
    found.sort_unstable();
    assert_eq!(found, known, "those that have ended are reaped");
    server.stop(SOON);
    assert_eq!(server.status().exit_code, 143);
    assert_eq!(sleep.status().state, ContainerState::Running);
    pod.remove();
    node.finish();
}

#[test]
fn a_pod_of_native_containers_alone_has_statistics_and_limits() {
    let node = node();
    let pod = Pod::run(&node, "native", Shape::wasm());
    let sleep = started(&pod, "sleep", &["sleep"]);
    sleep.expect_line("ready 1");
    assert!(sleep.stats().unwrap().memory.unwrap().working_set > 0);
    let hog = pod.order("hog", &side()).args(["hog", "64"]).limits(32 << 20, 512, 50_000).start();
    let ended = hog.wait(SOON);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "OOMKilled"), "{ended:?}");
    let exit = started(&pod, "exit", &["exit", "7"]).wait(SOON);
    assert_eq!((exit.exit_code, exit.reason.as_str()), (7, "Error"), "{exit:?}");
    pod.stop();
    assert_eq!(sleep.status().state, ContainerState::Exited);
    pod.remove();
    node.finish();
}

#[test]
fn a_privileged_native_container_has_all_capabilities_and_devices() {
    let node = node();
    let pod = Pod::run(&node, "mighty", Shape { privileged: true, ..Shape::wasm() });
    let mighty = pod.order("mighty", &side()).args(["sleep"]).privileged().start();
    mighty.expect_line("ready 1");
    let pid = mighty.status().pid;
    let own = status(std::process::id());
    // All that root has here, except what a test's root itself may lack.
    assert_eq!(status(pid)["CapEff"], own["CapBnd"]);
    assert!(procfs::file(pid, "root/dev/kmsg").exists() || !Path::new("/dev/kmsg").exists());
    pod.remove();
    node.finish();
}

/// With a shared pid namespace orphans go to the holder, with the host's pid namespace to the shim.
#[test]
fn orphans_are_reaped_and_known_children_are_not() {
    let node = node();
    for (name, shape) in
        [("shared", Shape { shared_pid: true, ..Shape::wasm() }), ("host", Shape { host_pid: true, ..Shape::wasm() })]
    {
        let pod = Pod::run(&node, name, shape);
        let shim = parent(pod.status().pid);
        let wasm = pod.order("wasm", &wasm("sleep")).start();
        wasm.expect_line("ready");
        for n in 0..4 {
            let orphans = started(&pod, &format!("orphans-{n}"), &["orphans", "20"]);
            let ended = orphans.wait(SOON);
            assert_eq!(
                (ended.exit_code, orphans.lines("stdout")),
                (0, vec!["orphans".to_owned()]),
                "{name}: {ended:?}"
            );
            let code = format!("{}", 30 + n);
            let exit = started(&pod, &format!("exit-{n}"), &["exit", &code]).wait(SOON);
            assert_eq!(exit.exit_code, 30 + n, "{name}: {exit:?}");
        }
        let known = [pod.status().pid, wasm.status().pid];
        wait_until(SOON, "the orphans to be gone", || {
            let all = || children(shim).into_iter().chain(children(known[0]));
            all().all(|pid| known.contains(&pid)).then_some(())
        });
        assert_eq!(wasm.status().state, ContainerState::Running, "{name}");
        pod.remove();
    }
    node.finish();
}

#[test]
fn processes_that_a_container_leaves_in_a_shared_namespace_end_with_it() {
    let node = node();
    for shape in [Shape { shared_pid: true, ..Shape::wasm() }, Shape { host_pid: true, ..Shape::wasm() }] {
        let pod = Pod::run(&node, "shared", shape);
        let other = started(&pod, "other", &["sleep"]);
        wait_until(SOON, "the other to be ready", || (!other.lines("stdout").is_empty()).then_some(()));
        let leave = started(&pod, "leave", &["leave", "and stay"]);
        wait_until(SOON, "the child", || (!leave.lines("stdout").is_empty()).then_some(()));
        let left = children(leave.status().pid);
        assert_eq!(left.len(), 1);
        // The child does not get SIGTERM: only its parent does.
        leave.stop(SOON);
        assert_eq!(leave.status().exit_code, 143);
        wait_until(SOON, "the child to end with the container", || (!procfs::is_there(left[0])).then_some(()));
        assert_eq!(other.status().state, ContainerState::Running);
        pod.remove();
    }
    node.finish();
}

#[test]
fn a_native_container_in_a_pod_whose_holder_died_ends_with_the_pod() {
    let node = node();
    let pod = Pod::run(&node, "pod", Shape::wasm());
    let sleep = started(&pod, "sleep", &["sleep"]);
    sleep.expect_line("ready 1");
    let pid = sleep.status().pid;
    assert!(std::process::Command::new("kill").args(["-9", &pod.status().pid.to_string()]).status().unwrap().success());
    wait_until(SOON, "the pod not to be ready", || (!pod.status().ready).then_some(()));
    assert!(procfs::is_there(pid));
    pod.remove();
    assert!(!procfs::is_there(pid));
    node.finish();
}

/// As `kubectl debug --target` does.
#[test]
fn a_native_container_sees_the_process_of_a_wasm_container() {
    let node = Node::start();
    let wasm = node.container("wasm").image(&wasm("sleep")).spawn();
    wasm.expect_stdout("ready\n");
    let namespace = format!("/proc/{}/ns/pid", wasm.pid());
    let debug = node.container("debug").image(&side()).args(["side", "cat", "/proc/1/comm"]).in_pod("wasm");
    let debug = debug.spec(move |spec| {
        let all = spec["linux"]["namespaces"].as_array_mut().unwrap();
        let own = all.iter_mut().find(|namespace| namespace["type"] == "pid").unwrap();
        own["path"] = serde_json::json!(namespace);
    });
    let output = debug.to_its_end();
    assert_eq!((output.code, output.stdout.as_str()), (0, "catamaran-wasmt\n"), "{output:?}");
    assert!(procfs::is_there(wasm.pid()));
    let stays = debug.args(["side", "sleep"]).spawn();
    stays.expect_stdout("ready");
    wasm.kill("KILL");
    wasm.wait(SOON);
    assert_eq!(stays.wait(SOON).code, 137, "the namespace has ended");
    stays.delete();
    wasm.delete();
    node.finish();
}
