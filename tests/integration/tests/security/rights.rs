//! Capabilities, privileges, profiles and namespaces.

use std::fs;

use catamaran_harness::cri::{AppArmor, Pod, Shape};
use catamaran_harness::procfs::status;
use catamaran_harness::{Engine, Node, procfs};

use crate::{denied, done, has_words, kitchen, on_each_engine, options, refused, sleeping, wasm};

#[test]
fn whatever_capabilities_are_asked_for_a_worker_has_none() {
    let node = Node::start_with(options());
    on_each_engine(&node, |pod, engine| {
        let cases: [(&str, &[&str], &[&str]); 5] = [
            ("nothing", &[], &[]),
            ("one", &["NET_ADMIN"], &[]),
            ("all", &["ALL"], &[]),
            ("none", &[], &["ALL"]),
            ("some", &["SYS_ADMIN", "SYS_PTRACE"], &["ALL"]),
        ];
        for (name, add, drop) in cases {
            for escalation in [true, false] {
                let order = pod.order(&format!("{name}-{escalation}"), &wasm("sleep")).capabilities(add, drop);
                let (container, pid) = sleeping(if escalation { order } else { order.no_escalation() });
                let status = status(pid);
                for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                    assert_eq!(status[set], "0000000000000000", "{engine:?}: {name}: {set}");
                }
                assert_eq!((&*status["NoNewPrivs"], &*status["Seccomp"]), ("1", "2"), "{engine:?}: {name}");
                container.remove();
            }
        }
    });
    node.finish();
}

#[test]
fn a_privileged_container_and_devices_are_refused_with_a_way_out() {
    let options = options().config(
        "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.modest]\n\
         runtime_type = 'io.containerd.catamaran.v1'\n\
         pod_annotations = ['catamaran.wasm/*']\n\
         privileged_without_host_devices = true\n",
    );
    let node = Node::start_with(options);
    for engine in Engine::ALL {
        let pod = Pod::run(&node, engine.name(), Shape { privileged: true, ..Shape::on(engine) });
        let told = refused(pod.order("mighty", &wasm("hello")).privileged());
        has_words(&told, &["config.json: linux.devices", "\"privileged: false\"", "privileged_without_host_devices"]);
        let told = refused(pod.order("device", &wasm("hello")).device("/dev/null"));
        has_words(&told, &["config.json: linux.devices", "/dev/null"]);
        assert_eq!(done(pod.order("hello", &wasm("hello"))), ["hello from wasm"], "{engine:?}");
        pod.remove();
        // If the handler keeps devices out of it, the rest of "privileged" is met by something stricter.
        let shape = Shape { privileged: true, handler: "modest".to_owned(), ..Shape::on(engine) };
        let pod = Pod::run(&node, &format!("modest-{}", engine.name()), shape);
        let (_, pid) = sleeping(pod.order("sleep", &wasm("sleep")).privileged());
        let status = status(pid);
        assert_eq!((&*status["CapBnd"], &*status["NoNewPrivs"], &*status["Seccomp"]), ("0000000000000000", "1", "2"));
        denied(pod.order("sys", &kitchen()).privileged().args(["write", "/sys/new", "x"]), "Read-only file system");
        assert!(done(pod.order("proc", &kitchen()).privileged().args(["ls", "/proc"])).is_empty());
        pod.remove();
    }
    node.finish();
}

#[test]
fn an_apparmor_profile_that_the_node_cannot_apply_is_refused() {
    let node = Node::start_with(options());
    let runs = fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|word| word.starts_with(b"Y"));
    on_each_engine(&node, |pod, _| {
        let order = |name: &str, profile| pod.order(name, &wasm("hello")).apparmor(&profile);
        assert_eq!(done(order("unconfined", AppArmor::Unconfined)), ["hello from wasm"]);
        let localhost = AppArmor::Localhost("catamaran-nowhere".to_owned());
        for (name, profile) in [("default", AppArmor::RuntimeDefault), ("localhost", localhost)] {
            match (runs, name) {
                (true, "default") => assert_eq!(done(order(name, profile)), ["hello from wasm"]),
                _ => {
                    // containerd itself refuses it, after asking the kernel, before it writes a spec.
                    let told = order(name, profile).try_ready().err().expect("it was created");
                    has_words(&told, &["apparmor", if runs { "catamaran-nowhere" } else { "not supported" }]);
                }
            }
        }
    });
    node.finish();
}

#[test]
fn the_hosts_namespaces_are_joined_only_where_asked_for() {
    let node = Node::start_with(options());
    let own = |pid: u32, kind: &str| fs::read_link(procfs::file(pid, "ns").join(kind)).unwrap();
    for engine in Engine::ALL {
        for (name, shape, of_the_host) in [
            ("own", Shape::on(engine), &[][..]),
            ("net", Shape { network: false, ..Shape::on(engine) }, &["net", "uts"]),
            ("pid", Shape { host_pid: true, ..Shape::on(engine) }, &["pid"]),
            ("ipc", Shape { host_ipc: true, ..Shape::on(engine) }, &["ipc"]),
        ] {
            let pod = Pod::run(&node, &format!("{name}-{}", engine.name()), shape);
            let (_, pid) = sleeping(pod.order("sleep", &wasm("sleep")));
            for kind in ["net", "uts", "ipc", "pid", "mnt"] {
                let host = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
                assert_eq!(own(pid, kind) == host, of_the_host.contains(&kind), "{engine:?}: {name}: {kind}");
            }
            // The host sees the process, but the guest cannot look for it.
            assert!(done(pod.order("proc", &kitchen()).args(["ls", "/proc"])).is_empty(), "{engine:?}: {name}");
            pod.remove();
        }
    }
    // Not supported yet, and refused with that reason.
    let shape = Shape { users: Some((100_000, 65_536)), ..Shape::wasm() };
    let told = Pod::try_run(&node, "users", shape).err().expect("a user namespace");
    has_words(&told, &["user"]);
    node.finish();
}
