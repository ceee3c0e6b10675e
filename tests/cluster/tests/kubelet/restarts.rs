//! Pods outlive the kubelet and containerd.

use std::time::Duration;

use catamaran_cluster::Space;
use catamaran_harness::Engine;
use serde_json::Value;

use crate::guest::once;
use crate::pods::sleeper;
use crate::run::tests;

tests! {
    Alone: pods_outlive_a_kubelet_that_is_stopped, pods_outlive_a_kubelet_that_is_killed,
        pods_outlive_a_containerd_that_is_stopped, pods_outlive_a_containerd_that_is_killed;
}

fn containers(space: &Space<'_>) -> Vec<Value> {
    let pods = Engine::ALL.map(|engine| space.get(&format!("pod/stays-{}", engine.name())));
    pods.into_iter().map(|pod| pod["status"]["containerStatuses"][0].clone()).collect()
}

/// Checks that pods on both engines survive an interruption without a restart, and that execs and new pods work afterwards.
fn outlive(space: &Space<'_>, interrupt: impl FnOnce()) {
    for engine in Engine::ALL {
        space.apply(&sleeper(&format!("stays-{}", engine.name()), engine, ""));
    }
    for engine in Engine::ALL {
        space.wait(&format!("pod/stays-{}", engine.name()), "condition=Ready");
    }
    let before = containers(space);
    interrupt();
    space.cluster().expect_ready();
    // Execs in the earlier pods work, and new pods run.
    for engine in Engine::ALL {
        let name = format!("stays-{}", engine.name());
        catamaran_harness::wait_until(Duration::from_secs(60), "an exec", || {
            (space.exec(&name, &["/exit.wasm", "5"]).code == 5).then_some(())
        });
        space.apply(&once(&format!("new-{}", engine.name()), engine, r#"["/exit.wasm", "0"]"#, ""));
        assert_eq!(space.end_of(&format!("new-{}", engine.name())), "Succeeded");
    }
    for (before, after) in before.iter().zip(containers(space)) {
        assert_eq!((&before["containerID"], &after["restartCount"]), (&after["containerID"], &0.into()), "{after}");
    }
    space.ok(["delete", "pod", "--all", "--timeout=60s"]);
}

fn pods_outlive_a_kubelet_that_is_stopped(space: &Space<'_>) {
    outlive(space, || space.cluster().restart_kubelet());
}

/// An end while the kubelet was dead is reported afterwards.
fn pods_outlive_a_kubelet_that_is_killed(space: &Space<'_>) {
    space.apply(&once("ends", Engine::Wasmtime, r#"["/sleep.wasm"]"#, ""));
    space.wait("pod/ends", "condition=Ready");
    outlive(space, || {
        space.cluster().without_kubelet(|| {
            let node = space.cluster().node();
            let ids = node.ctr_ok(["--namespace", "k8s.io", "tasks", "ls", "-q"]);
            let id = space.get("pod/ends")["status"]["containerStatuses"][0]["containerID"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let id = id.trim_start_matches("containerd://");
            assert!(ids.contains(id));
            node.ctr_ok(["--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGTERM", id]);
        });
        assert_eq!(space.end_of("ends"), "Failed");
        let ended = space.get("pod/ends");
        assert_eq!(ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 143, "{ended}");
    });
}

fn pods_outlive_a_containerd_that_is_stopped(space: &Space<'_>) {
    outlive(space, || space.cluster().node().restart_containerd());
}

fn pods_outlive_a_containerd_that_is_killed(space: &Space<'_>) {
    outlive(space, || {
        space.cluster().node().kill_containerd();
        space.cluster().node().restart_containerd();
    });
}
