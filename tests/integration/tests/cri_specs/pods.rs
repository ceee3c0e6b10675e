//! A pod's life, and the life of containers in it.

use std::fs;

use catamaran_harness::cri::{ContainerState, Pod, Shape, remove_pod, stop_pod};
use catamaran_harness::procfs::{children, parent};
use catamaran_harness::{Engine, procfs, shim_folder};

use crate::{c, node, on_each_engine, ready, says, to_its_end, wasm};

#[test]
fn a_pod_that_is_stopped_stops_its_containers_and_one_that_is_removed_removes_them() {
    let node = node();
    for engine in Engine::ALL {
        let pod = Pod::run(&node, engine.name(), Shape::on(engine));
        assert!(pod.status().ready && !pod.status().ip.is_empty());
        let created = pod.order("created", &wasm("sleep")).ready();
        let running = ["sleep", "spin"].map(|name| ready(pod.order(name, &wasm(name))));
        let (ended, _) = to_its_end(pod.order("hello", &wasm("hello")));
        let pids = running.each_ref().map(|container| container.status().pid);
        pod.stop();
        pod.stop();
        assert!(!pod.status().ready);
        for (container, pid) in running.iter().zip(pids) {
            let status = container.status();
            assert_eq!(status.state, ContainerState::Exited, "{engine:?}: {status:?}");
            // Stopping a pod gives no grace.
            assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"), "{engine:?}: {status:?}");
            assert!(!procfs::file(pid, "stat").exists(), "{engine:?}: {pid} runs on");
        }
        assert_eq!((ended.status().exit_code, created.status().state), (0, ContainerState::Created));
        assert!(created.try_start().is_err(), "{engine:?}: a container was started in a pod that is over");
        assert_eq!(pod.containers().len(), 4);
        let id = pod.id().to_owned();
        pod.remove();
        remove_pod(&node, &id).unwrap();
        stop_pod(&node, &id).unwrap();
    }
    let never = "0".repeat(64);
    stop_pod(&node, &never).unwrap();
    remove_pod(&node, &never).unwrap();
    node.finish();
}

#[test]
fn a_pod_that_runs_is_removed_without_a_stop() {
    let node = node();
    for engine in Engine::ALL {
        let pod = Pod::run(&node, engine.name(), Shape::on(engine));
        let pid = ready(pod.order("sleep", &wasm("sleep"))).status().pid;
        remove_pod(&node, pod.id()).unwrap();
        assert!(!procfs::file(pid, "stat").exists(), "{engine:?}: {pid} runs on");
        node.expect_nothing_left(crate::SOON);
    }
    node.finish();
}

#[test]
fn a_pod_of_one_container_is_three_processes_on_either_engine() {
    let node = node();
    on_each_engine(&node, |pod, engine| {
        let worker = ready(pod.order("sleep", &wasm("sleep"))).status().pid;
        let holder = pod.status().pid;
        let shim = parent(holder);
        let mut all = children(shim);
        all.sort_unstable();
        assert_eq!(all, [holder.min(worker), holder.max(worker)], "{engine:?}: shim, holder, worker");
        assert!(children(holder).is_empty() && children(worker).is_empty(), "{engine:?}");
        let file = |pid| fs::read_link(procfs::file(pid, "exe")).unwrap();
        assert_eq!(file(shim), shim_folder().join("containerd-shim-catamaran-v1"), "{engine:?}");
        assert_eq!(file(holder), shim_folder().join("catamaran-holder"), "{engine:?}");
        assert_eq!(file(worker), engine.worker());
    });
    node.finish();
}

#[test]
fn containers_of_one_pod_share_its_network_and_have_logs_of_their_own() {
    let node = node();
    // One container on each engine, in one pod.
    let shape = Shape::wasm().annotation("catamaran.wasm/engine.wasmtime", "wasmtime");
    let pod = Pod::run(&node, "both", shape.annotation("catamaran.wasm/engine.wasmer", "wasmer"));
    let own = |pid: u32, kind: &str| fs::read_link(procfs::file(pid, "ns").join(kind)).unwrap();
    let sleeping = Engine::ALL.map(|engine| ready(pod.order(engine.name(), &wasm("sleep"))));
    let [one, two] = sleeping.each_ref().map(|container| container.status().pid);
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(own(one, kind), own(two, kind), "{kind}");
        assert_ne!(own(one, kind), fs::read_link(format!("/proc/self/ns/{kind}")).unwrap(), "{kind}");
    }
    for kind in ["pid", "mnt"] {
        assert_ne!(own(one, kind), own(two, kind), "{kind}");
    }
    for container in sleeping {
        container.remove();
    }
    for (attempt, engine) in (1..).zip(Engine::ALL) {
        let order = pod.order(engine.name(), &c("talk")).attempt(attempt).args(["open", engine.name()]);
        assert_eq!(says(order), [engine.name()]);
    }
    pod.remove();
    node.finish();
}
