//! Probes and hooks of the kubelet, as the CRI runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::time::{Duration, Instant};

use catamaran_harness::cri::{self, ContainerState, Pod, Running, Seccomp, Shape};
use catamaran_harness::{Code, Engine, Node, guests, procfs, wait_until};

const SOON: Duration = Duration::from_secs(10);

fn serving<'n>(pod: &Pod<'n>) -> Running<'n> {
    let order = pod.order("server", &guests::kitchen()).args(["sleep", "1h"]);
    let server = order.seccomp(Seccomp::RuntimeDefault).default_paths().env("GREETING", "hello").start();
    server.expect_line("ready");
    server
}

/// The number of a shim's children that are confined workers.
fn workers(shim: u32) -> usize {
    let is_worker = |child: &u32| {
        let exe = std::fs::read_link(procfs::file(*child, "exe")).unwrap_or_default();
        let status = std::fs::read_to_string(procfs::file(*child, "status")).unwrap_or_default();
        exe == Engine::Wasmtime.worker() && status.contains("Seccomp:\t2")
    };
    procfs::children(shim).iter().filter(|child| is_worker(child)).count()
}

#[test]
fn a_probe_hears_what_the_program_says() {
    let node = Node::start_with(cri::options().network());
    for engine in Engine::ALL {
        let shape = Shape::wasm().annotation("catamaran.wasm/engine", engine.name());
        let pod = Pod::run(&node, engine.name(), shape);
        let server = serving(&pod);
        let probe = |words: &[&str]| server.exec_sync(words, SOON).unwrap();
        let healthy = ["/kitchen.wasm", "read", "/tmp-healthy"];
        let sick = probe(&healthy);
        assert_eq!((sick.code, sick.stdout.as_str()), (1, ""), "{sick:?}");
        assert!(sick.stderr.contains("tmp-healthy"), "{sick:?}");
        assert_eq!(probe(&["/kitchen.wasm", "write", "/tmp-healthy", "yes"]).code, 0);
        let well = probe(&healthy);
        assert_eq!((well.code, well.stdout.trim_end(), well.stderr.as_str()), (0, "yes", ""), "{well:?}");
        assert_eq!(probe(&["/kitchen.wasm", "exit", "77"]).code, 77);
        assert_eq!(probe(&["/kitchen.wasm", "env", "GREETING"]).stdout, "hello\n", "the container's environment");
        // The probe fails, not the request.
        let shell = probe(&["sh", "-c", "exit 0"]);
        assert_eq!((shell.code, shell.stderr.contains("no shell")), (127, true), "{shell:?}");
        let folder = probe(&["/dev"]);
        assert_eq!((folder.code, folder.stderr.contains("a directory")), (126, true), "{folder:?}");
        assert_eq!(server.status().state, ContainerState::Running);
        pod.remove();
    }
    node.finish();
}

#[test]
fn a_probe_that_takes_too_long_is_killed() {
    let node = Node::start_with(cri::options().network());
    let pod = Pod::run(&node, "slow", Shape::wasm());
    let server = serving(&pod);
    let (pid, begin) = (server.status().pid, Instant::now());
    let status = server.exec_sync(&["/kitchen.wasm", "sleep", "1h"], Duration::from_secs(1)).unwrap_err();
    assert_eq!(status.code, Code::DeadlineExceeded, "{status}");
    assert!(begin.elapsed() < SOON);
    let shim = procfs::parent(pid);
    wait_until(SOON, "the probe to be gone", || (workers(shim) == 1).then_some(()));
    assert_eq!(server.status().state, ContainerState::Running);
    assert_eq!(server.exec_sync(&["/kitchen.wasm", "exit", "3"], SOON).unwrap().code, 3);
    pod.remove();
    node.finish();
}

#[test]
fn a_container_that_stops_ends_its_probes_in_a_shared_pid_namespace_too() {
    let node = Node::start_with(cri::options().network());
    for shared_pid in [false, true] {
        let pod = Pod::run(&node, "pod", Shape { shared_pid, ..Shape::wasm() });
        let server = serving(&pod);
        std::thread::scope(|scope| {
            let probe = scope.spawn(|| server.exec_sync(&["/kitchen.wasm", "sleep", "1h"], Duration::ZERO).unwrap());
            let shim = procfs::parent(server.status().pid);
            wait_until(SOON, "the probe to run", || (workers(shim) == 2).then_some(()));
            // The probe's worker may still be waiting for its start.
            std::thread::sleep(Duration::from_millis(300));
            server.stop(Duration::from_secs(1));
            assert_eq!(probe.join().unwrap().code, 137, "shared: {shared_pid}");
        });
        pod.remove();
        node.expect_nothing_left(SOON);
    }
    node.finish();
}
