//! Compares the types with oci-spec's own, which a test may link.

use oci_spec::runtime as theirs;
use serde_json::{Value, json};

use super::*;

/// Returns a config.json as containerd's CRI plugin writes it, with shorter lists.
fn config() -> Value {
    json!({
        "ociVersion": "1.2.1",
        "process": {
            "terminal": true,
            "consoleSize": {"height": 24, "width": 80},
            "user": {"uid": 1000, "gid": 1001, "umask": 18, "additionalGids": [1001, 4711]},
            "args": ["/app.wasm", "serve"],
            "env": ["PATH=/usr/bin:/bin", "HOSTNAME=web", "A=b"],
            "cwd": "/srv",
            "capabilities": {
                "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_CHECKPOINT_RESTORE"],
                "effective": ["CAP_CHOWN"],
                "permitted": ["CAP_CHOWN"]
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 2048, "soft": 1024}],
            "noNewPrivileges": true,
            "apparmorProfile": "cri-containerd.apparmor.d",
            "oomScoreAdj": 937,
            "selinuxLabel": "a:b:c:d"
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "web",
        "domainname": "example.test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/etc/hosts", "type": "bind", "source": "/var/lib/kubelet/pods/x/etc-hosts", "options": ["rbind",
                "rprivate", "rw"], "uidMappings": [{"containerID": 0, "hostID": 7, "size": 1}]}
        ],
        "hooks": {"createRuntime": [{"path": "/bin/hook", "args": ["hook", "a"], "env": ["A=b"], "timeout": 5}]},
        "linux": {
            "resources": {
                "devices": [{"allow": false, "access": "rwm"}],
                "memory": {"limit": 268_435_456},
                "cpu": {"shares": 102, "quota": 20000, "period": 100_000},
                "pids": {"limit": 100},
                "unified": {"memory.oom.group": "1"}
            },
            "cgroupsPath": "kubepods-burstable-podx.slice:cri-containerd:y",
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"},
            "namespaces": [{"type": "pid"}, {"type": "ipc", "path": "/proc/1/ns/ipc"}, {"type": "mount"}, {"type": "cgroup"}],
            "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}]},
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/bus"]
        },
        "annotations": {"io.kubernetes.cri.container-type": "container", "catamaran.wasm/engine": "wasmer"}
    })
}

/// Compares both readings field by field.
macro_rules! same {
    ($ours:expr, $theirs:expr, $($field:ident),* $(,)?) => {
        $(assert_eq!($ours.$field(), $theirs.$field(), stringify!($field));)*
    };
}

fn check(text: &[u8]) {
    let ours: Spec = serde_json::from_slice(text).unwrap();
    let theirs: theirs::Spec = serde_json::from_slice(text).unwrap();
    same!(ours, theirs, version, root, mounts, hostname, domainname, hooks, annotations, linux);
    assert_eq!(ours.process().is_some(), theirs.process().is_some());
    let (Some(ours), Some(theirs)) = (ours.process(), theirs.process()) else { return };
    same!(ours, theirs, user, args, env, cwd, capabilities, rlimits, apparmor_profile, selinux_label);
    assert_eq!(*ours.terminal(), theirs.terminal());
    assert_eq!(*ours.console_size(), theirs.console_size());
    assert_eq!(*ours.oom_score_adj(), theirs.oom_score_adj());
    assert_eq!(*ours.no_new_privileges(), theirs.no_new_privileges());
    assert_eq!(ours.io_priority().is_some(), theirs.io_priority().is_some());
    assert_eq!(ours.scheduler().is_some(), theirs.scheduler().is_some());
    assert_eq!(ours.exec_cpu_affinity().is_some(), theirs.exec_cpu_affinity().is_some());
}

fn edited(pointer: &str, key: &str, value: Value) -> Vec<u8> {
    let mut config = config();
    config.pointer_mut(pointer).unwrap()[key] = value;
    serde_json::to_vec(&config).unwrap()
}

#[test]
fn a_spec_is_read_as_oci_spec_reads_it() {
    check(&serde_json::to_vec(&config()).unwrap());
    check(br#"{"process": {"user": {"uid": 0, "gid": 0}, "cwd": "/"}}"#);
    for key in ["root", "mounts", "process", "hostname", "domainname", "hooks", "annotations", "linux"] {
        check(&edited("", key, Value::Null));
    }
    for key in
        ["terminal", "consoleSize", "args", "env", "capabilities", "rlimits", "noNewPrivileges", "apparmorProfile"]
    {
        check(&edited("/process", key, Value::Null));
    }
    for key in ["oomScoreAdj", "selinuxLabel", "ioPriority", "scheduler", "execCPUAffinity"] {
        check(&edited("/process", key, Value::Null));
    }
    // Unknown keys are ignored by both.
    for pointer in ["", "/process", "/process/user", "/root", "/linux"] {
        check(&edited(pointer, "novel", json!({"a": [1]})));
    }
    check(&edited("/process", "ioPriority", json!({"class": "IOPRIO_CLASS_IDLE", "priority": 1})));
    check(&edited("/process", "scheduler", json!({"policy": "SCHED_BATCH", "nice": 1})));
    check(&edited("/process", "execCPUAffinity", json!({"initial": "0-3,7", "final": "4"})));
    check(&edited("/process", "execCPUAffinity", json!({})));
}

#[test]
fn a_spec_that_oci_spec_cannot_read_is_refused_with_the_same_message() {
    for (pointer, key, value) in [
        ("", "ociVersion", json!(1)),
        ("", "process", json!({"user": {"uid": 0, "gid": 0}})),
        ("", "process", json!({"cwd": "/"})),
        ("", "process", json!(7)),
        ("", "root", json!({"path": 1})),
        ("", "mounts", json!([{"type": "bind"}])),
        ("", "hooks", json!([1])),
        ("", "annotations", json!({"a": 1})),
        ("", "linux", json!({"namespaces": [{"type": "novel"}]})),
        ("/process", "user", json!({"uid": -1, "gid": 0})),
        ("/process", "args", json!("sh")),
        ("/process", "terminal", json!("yes")),
        ("/process", "consoleSize", json!({"width": -1})),
        ("/process", "capabilities", json!({"bounding": ["CAP_NOVEL"]})),
        ("/process", "noNewPrivileges", json!(1)),
        ("/process", "rlimits", json!([{"type": "RLIMIT_NOVEL", "hard": 1, "soft": 1}])),
        ("/process", "oomScoreAdj", json!("1")),
    ] {
        let text = edited(pointer, key, value);
        let ours = serde_json::from_slice::<Spec>(&text).unwrap_err().to_string();
        let theirs = serde_json::from_slice::<theirs::Spec>(&text).unwrap_err().to_string();
        assert_eq!(ours, theirs, "{pointer}/{key}");
    }
}

#[test]
fn keys_that_are_refused_later_are_read_with_any_value() {
    for value in [json!({"initial": "0-3,,7"}), json!(5), json!([]), json!("x")] {
        for key in ["ioPriority", "scheduler", "execCPUAffinity"] {
            let spec: Spec = serde_json::from_slice(&edited("/process", key, value.clone())).unwrap();
            let process = spec.process().as_ref().unwrap();
            let there = [process.io_priority(), process.scheduler(), process.exec_cpu_affinity()];
            assert_eq!(there.iter().filter(|found| found.is_some()).count(), 1, "{key}: {value}");
        }
    }
}
