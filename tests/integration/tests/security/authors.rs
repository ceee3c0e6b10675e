//! Annotations that a pod's author can use.

use std::fs;

use catamaran_harness::cri::{Pod, Shape};
use catamaran_harness::procfs::parent;
use catamaran_harness::{Engine, Node, procfs};

use crate::{has_words, options, refused, sleeping, wasm};

/// containerd's own annotations about a pod, as a hostile author would forge them.
fn hostile(victim: &Pod<'_>, shape: Shape) -> Shape {
    shape
        .annotation("io.kubernetes.cri.container-type", "container")
        .annotation("io.kubernetes.cri.sandbox-id", victim.id())
        .annotation("io.kubernetes.cri.sandbox-namespace", "kube-system")
        .annotation("io.kubernetes.cri.container-name", "victim")
        .annotation("io.kubernetes.cri.mine", "mine")
        .annotation("catamaran.wasm/engine.victim", "nonsense")
}

#[test]
fn a_pods_author_cannot_set_containerds_annotations() {
    // Beside the shipped handler, one whose administrator passes all annotations on.
    let options = options().config(
        "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.lax]\n\
         runtime_type = 'io.containerd.catamaran.v1'\n\
         pod_annotations = ['*', '*/*']\n\
         container_annotations = ['*', '*/*']\n",
    );
    let node = Node::start_with(options);
    let victim = Pod::run(&node, "victim", Shape::wasm());
    let (_, there) = sleeping(victim.order("victim", &wasm("sleep")));
    for engine in Engine::ALL {
        for handler in ["catamaran", "lax"] {
            let shape = hostile(&victim, Shape { handler: handler.to_owned(), ..Shape::on(engine) });
            let pod = Pod::run(&node, &format!("{handler}-{}", engine.name()), shape);
            let holder = pod.status().pid;
            let exe = fs::read_link(procfs::file(holder, "exe")).unwrap();
            assert_eq!(exe.file_name().unwrap(), "catamaran-holder", "{engine:?}: {handler}");
            assert_ne!(parent(holder), parent(there), "{engine:?}: {handler}: it is in another pod's shim");
            let order = pod.order("guest", &wasm("sleep")).annotation("io.kubernetes.cri.container-type", "sandbox");
            let (container, pid) = sleeping(order.annotation("io.kubernetes.cri.sandbox-id", victim.id()));
            assert_eq!(fs::read_link(procfs::file(pid, "exe")).unwrap(), engine.worker(), "{engine:?}: {handler}");
            assert_eq!(parent(pid), parent(holder), "{engine:?}: {handler}");
            let spec = container.status().spec;
            for (key, value) in [
                ("container-type", "container"),
                ("sandbox-id", pod.id()),
                ("sandbox-namespace", "default"),
                ("container-name", "guest"),
            ] {
                assert_eq!(spec["annotations"][format!("io.kubernetes.cri.{key}")], value, "{engine:?}: {handler}");
            }
            // The lists of annotations of the handlers are in effect.
            let passed = |key: &str| spec["annotations"][key].as_str();
            assert_eq!(passed("catamaran.wasm/engine.victim"), Some("nonsense"), "{engine:?}: {handler}");
            let mine = (handler == "lax").then_some("mine");
            assert_eq!(passed("io.kubernetes.cri.mine"), mine, "{engine:?}: {handler}");
            pod.remove();
        }
    }
    assert!(procfs::file(there, "stat").exists(), "the other pod is none the worse");
    assert!(victim.status().ready);
    victim.remove();
    node.finish();
}

#[test]
fn an_unknown_engine_in_an_annotation_is_refused() {
    let node = Node::start_with(options());
    let shape = Shape::on(Engine::Wasmer).annotation("catamaran.wasm/engine.left", "wasmtime");
    let pod = Pod::run(&node, "both", shape.annotation("catamaran.wasm/engine.wrong", "../../bin/sh\u{1b}[31m"));
    for (name, engine) in [("left", Engine::Wasmtime), ("right", Engine::Wasmer)] {
        let (_, pid) = sleeping(pod.order(name, &wasm("sleep")));
        assert_eq!(fs::read_link(procfs::file(pid, "exe")).unwrap(), engine.worker(), "{name}");
    }
    let told = refused(pod.order("wrong", &wasm("sleep")));
    has_words(&told, &["annotation catamaran.wasm/engine.wrong", "\"wasmtime\" or \"wasmer\""]);
    assert!(!told.message.contains('\u{1b}'), "{told:?}");
    pod.remove();
    node.finish();
}
