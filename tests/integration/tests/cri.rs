//! Specs as containerd's CRI plugin writes them for Kubernetes' pods: a task of ours runs from exactly that spec, in the namespaces of a
//! sandbox that runc keeps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use catamaran_harness::cri::{self, Created, Pod, Propagation, Seccomp, Shape};
use catamaran_harness::guests::wasm;
use catamaran_harness::{Code, Mounted, Node, Output, Task, procfs};

const SOON: Duration = Duration::from_secs(10);

fn start<'n>(created: &Created<'n>) -> Task<'n> {
    let task = created.try_task().unwrap_or_else(|status| panic!("{status}"));
    task.start();
    task
}

fn to_its_end(created: &Created<'_>) -> Output {
    let task = start(created);
    task.wait(SOON);
    task.delete()
}

#[test]
fn a_container_runs_from_its_spec_byte_for_byte() {
    let node = Node::start_with(cri::options());
    let pod = Pod::run(&node, "plain", Shape::default());
    for (name, profile) in [("unconfined", Seccomp::Unconfined), ("default", Seccomp::RuntimeDefault)] {
        let order = pod.order(name, &wasm("hello")).seccomp(profile).default_paths();
        let hello = to_its_end(&order.limits(64 << 20, 100, 50_000).hugepages("2MB", 0).create());
        assert_eq!((hello.code, hello.stdout.as_str(), hello.stderr.as_str()), (0, "hello from wasm\n", ""), "{name}");
    }
    let exit = to_its_end(&pod.order("exit", &wasm("exit")).args(["42"]).seccomp(Seccomp::Unconfined).create());
    assert_eq!(exit.code, 42, "{exit:?}");
    pod.remove();
    node.finish();
}

#[test]
fn a_container_lives_in_its_pods_namespaces() {
    let node = Node::start_with(cri::options());
    for (name, shape) in [
        ("own", Shape::default()),
        ("host", Shape { host_pid: true, host_ipc: true, ..Shape::default() }),
        ("set", Shape { sysctls: vec![("kernel.shm_rmid_forced".into(), "1".into())], ..Shape::default() }),
    ] {
        let pod = Pod::run(&node, name, shape);
        let created = pod.order("sleep", &wasm("sleep")).seccomp(Seccomp::Unconfined).create();
        let spec = created.spec();
        let task = start(&created);
        task.expect_stdout("ready\n");
        let mut named = 0;
        for namespace in spec["linux"]["namespaces"].as_array().unwrap() {
            let kind = namespace["type"].as_str().unwrap();
            let file = Path::new("/proc").join(task.pid().to_string()).join("ns");
            let worker = |kind: &str| fs::read_link(file.join(kind)).unwrap();
            match (namespace["path"].as_str(), kind) {
                (Some(path), _) => {
                    let own = worker(Path::new(path).file_name().unwrap().to_str().unwrap());
                    assert_eq!(own, fs::read_link(path).unwrap(), "{name}: {kind}");
                    named += 1;
                }
                (None, "pid") => assert_ne!(worker("pid"), fs::read_link("/proc/self/ns/pid").unwrap(), "{name}"),
                (None, _) => {}
            }
        }
        assert!(named >= 2, "{name} joins nothing: {spec:#}");
        if name == "host" {
            let pid = fs::read_link(format!("/proc/{}/ns/pid", task.pid())).unwrap();
            assert_eq!(pid, fs::read_link("/proc/self/ns/pid").unwrap());
        }
        task.discard();
        pod.remove();
    }
    node.finish();
}

#[test]
fn every_field_of_a_security_context_is_applied() {
    let node = Node::start_with(cri::options());
    let pod = Pod::run(&node, "secure", Shape::default());
    let order = pod.order("sleep", &wasm("sleep")).user(1000, 1001).group(2000).group(3000).read_only().no_escalation();
    let task = start(&order.capabilities(&["NET_ADMIN"], &["ALL"]).seccomp(Seccomp::Unconfined).create());
    task.expect_stdout("ready\n");
    let status = procfs::status(task.pid());
    assert_eq!((status["Uid"].as_str(), status["Gid"].as_str()), ("1000\t1000\t1000\t1000", "1001\t1001\t1001\t1001"));
    // The user's own group is among them, as containerd writes it.
    assert_eq!(status["Groups"].split_whitespace().collect::<Vec<_>>(), ["1001", "2000", "3000"]);
    assert_eq!((status["NoNewPrivs"].as_str(), status["CapBnd"].as_str()), ("1", "0000000000000000"));
    assert!(task.mount_at("/").unwrap().has(&["ro"]));
    task.discard();
    pod.remove();
    node.finish();
}

#[test]
fn the_kubelets_mounts_are_mounted() {
    let node = Node::start_with(cri::options());
    let pod = Pod::run(&node, "mounts", Shape::default());
    let kubelet = Mounted::shared(&node.dir().join("kubelet"));
    let volume = |name: &str| {
        let path = kubelet.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let (token, cache, driver, both) = (volume("token"), volume("cache"), volume("driver"), volume("both"));
    fs::create_dir(token.join("..data")).unwrap();
    fs::write(token.join("..data/token"), "secret").unwrap();
    std::os::unix::fs::symlink("..data/token", token.join("token")).unwrap();
    for file in ["hosts", "log"] {
        fs::write(kubelet.path().join(file), "127.0.0.1 localhost\n").unwrap();
    }
    // /var/run of the image is a link to a folder that it does not have.
    let image = wasm("sleep").dir("/var", 0o755, 0, 0).link("/var/run", "/run");
    let none = Propagation::None;
    let created = pod
        .order("mounts", &image)
        .seccomp(Seccomp::Unconfined)
        .read_only()
        .mount(&kubelet.path().join("hosts"), "/etc/hosts", false, none)
        .mount(&kubelet.path().join("log"), "/dev/termination-log", false, none)
        .mount(&token, "/var/run/secrets/kubernetes.io/serviceaccount", true, none)
        .mount(&cache, "/cache", false, none)
        .mount(&driver, "/driver", true, Propagation::HostToContainer)
        .mount(&both, "/both", false, Propagation::Bidirectional)
        .recursively_readonly(&cache, "/frozen")
        .create();
    let spec = created.spec().to_string();
    assert!(["rslave", "rshared", "rro"].iter().all(|option| spec.contains(option)), "{spec}");
    let task = start(&created);
    task.expect_stdout("ready\n");
    let token = task.inside("/run/secrets/kubernetes.io/serviceaccount/token");
    assert_eq!(fs::read_to_string(&token).unwrap(), "secret");
    assert_eq!(fs::read_to_string(task.inside("/etc/hosts")).unwrap(), "127.0.0.1 localhost\n");
    for (path, writable) in [
        ("etc/hosts", true),
        ("dev/termination-log", true),
        ("cache/new", true),
        ("both/new", true),
        ("dev/shm/new", true),
        ("driver/new", false),
        ("frozen/new", false),
        ("run/secrets/kubernetes.io/serviceaccount/new", false),
        ("new", false),
        ("sys/kernel/new", false),
    ] {
        assert_eq!(fs::write(task.inside(path), "x").is_ok(), writable, "{path}");
    }
    let later = Mounted::tmpfs(&driver.join("later"));
    fs::write(later.path().join("file"), "later").unwrap();
    assert_eq!(fs::read_to_string(task.inside("/driver/later/file")).unwrap(), "later");
    drop(later);
    task.discard();
    pod.remove();
    drop(kubelet);
    node.finish();
}

#[test]
fn a_privileged_container_is_refused_for_its_devices() {
    let node = Node::start_with(cri::options());
    let pod = Pod::run(&node, "mighty", Shape { privileged: true, ..Shape::default() });
    let mut created = pod.order("hello", &wasm("hello")).privileged().create();
    let refused = created.try_task().err().expect("it was created");
    assert_eq!(refused.code, Code::InvalidArgument, "{refused}");
    assert!(refused.message.contains("linux.devices"), "{refused}");
    // The rest of the spec is met by something stricter: all capabilities, a writable /sys, no masked paths.
    created.change(|spec| drop(spec["linux"].as_object_mut().unwrap().remove("devices")));
    let hello = to_its_end(&created);
    assert_eq!((hello.code, hello.stdout.as_str()), (0, "hello from wasm\n"), "{hello:?}");
    pod.remove();
    node.finish();
}
