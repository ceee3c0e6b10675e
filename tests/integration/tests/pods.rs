//! Pods of our handler through the CRI, as a kubelet runs them: sandbox, containers, network, logs, ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use catamaran_harness::cri::{self, ContainerState, Pod, Shape};
use catamaran_harness::{Engine, Image, Node, Runtime, guests, shim_folder, wait_until};

const SOON: Duration = Duration::from_secs(10);

fn wasm(name: &str) -> Image {
    guests::image(Runtime::Catamaran, name)
}

fn node() -> Node {
    Node::start_with(cri::options().network())
}

fn proc(pid: u32, what: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(what)
}

/// `/proc/PID/status` by its keys.
fn status(pid: u32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(proc(pid, "status")).unwrap();
    text.lines().filter_map(|l| l.split_once(":\t")).map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect()
}

fn parent(pid: u32) -> u32 {
    status(pid)["PPid"].parse().unwrap()
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

fn runs(pid: u32) -> bool {
    proc(pid, "stat").exists()
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
        let exe = fs::read_link(proc(sleep.status().pid, "exe")).unwrap();
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
    assert_eq!(fs::read_link(proc(shim, "exe")).unwrap(), shim_folder().join("containerd-shim-catamaran-v1"));
    assert_eq!(fs::read_link(proc(holder, "exe")).unwrap(), shim_folder().join("catamaran-holder"));
    let mut all = children(shim);
    all.sort_unstable();
    let mut expected = vec![holder, worker];
    expected.sort_unstable();
    assert_eq!(all, expected, "shim, holder, worker");
    assert!(children(holder).is_empty() && children(worker).is_empty());
    pod.remove();
    wait_until(SOON, "all of them to end", || (![shim, holder, worker].into_iter().any(runs)).then_some(()));
    node.finish();
}

#[test]
fn a_holder_has_nothing_and_no_rights() {
    let node = node();
    let pod = Pod::run(&node, "holder", Shape::wasm());
    let holder = pod.status().pid;
    let status = status(holder);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"));
    assert_eq!(status["Threads"], "1");
    assert_eq!(fs::read_dir(proc(holder, "fd")).unwrap().count(), 0, "it holds no descriptor");
    assert_eq!(fs::read_dir(proc(holder, "root")).unwrap().count(), 0, "its root is empty");
    assert!(fs::write(proc(holder, "root/new"), "x").is_err(), "and read-only");
    let mounts = fs::read_to_string(proc(holder, "mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 1, "it pins no mount of the host's: {mounts}");
    pod.remove();
    node.finish();
}
