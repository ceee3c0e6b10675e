//! A guest's world: its arguments, environment, names and volumes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use catamaran_harness::cri::{Dns, Order, Pod, Propagation, Shape};
use catamaran_harness::{Engine, Image, Mounted, Node, Runtime, guests, procfs};

use crate::{c, node, on_each_engine, ready, says, wasm};

const NONE: Propagation = Propagation::None;

fn reads(order: Order<'_, '_>, path: &str) -> Vec<String> {
    says(order.args(["read", path]))
}

/// Runs `work` on ours with each engine, and on runc with the native peer: all runtimes must agree on these expectations.
fn on_each_runtime(node: &Node, work: impl Fn(&Pod<'_>, Runtime)) {
    let pod = |name: &str, shape: Shape, runtime| {
        let pod = Pod::run(node, name, Shape { hostname: "the-pod".to_owned(), ..shape });
        work(&pod, runtime);
        pod.remove();
    };
    for engine in Engine::ALL {
        pod(engine.name(), Shape::on(engine), Runtime::Catamaran);
    }
    pod("runc", Shape { network: true, ..Shape::default() }, Runtime::Runc);
}

#[test]
fn command_and_args_replace_those_of_the_image() {
    let node = node();
    on_each_runtime(&node, |pod, runtime| {
        let image = guests::image(runtime, "args").entrypoint(["/args", "of the image"]).cmd(["its cmd"]);
        let order = |name: &str| pod.order(name, &image);
        for (order, expected) in [
            (order("neither"), &["/args", "of the image", "its cmd"][..]),
            (order("args").args(["mine", "öther", ""]), &["/args", "of the image", "mine", "öther", ""]),
            (order("command").command(["/args", "mine"]), &["/args", "mine"]),
            (order("both").command(["/args", "one"]).args(["two", "3 words"]), &["/args", "one", "two", "3 words"]),
        ] {
            assert_eq!(says(order), expected, "{runtime:?}");
        }
    });
    node.finish();
}

/// A pod could not override the image's variables: CRI's spec has both, and a guest found the first.
#[test]
fn the_pods_environment_overrides_the_images() {
    let node = node();
    on_each_runtime(&node, |pod, runtime| {
        let image = guests::image(runtime, "env").env(["KEPT=image", "OVER=image"]).dir("/work", 0o755, 0, 0);
        let order =
            pod.order("env", &image.workdir("/work")).env("OVER", "pod").env("EMPTY", "").env("EQUALS", "a=b=c");
        let said = says(order.env("WORDS", "two words, ünd one"));
        for expected in
            ["KEPT=image", "OVER=pod", "EMPTY=", "EQUALS=a=b=c", "WORDS=two words, ünd one", "HOSTNAME=the-pod"]
        {
            assert!(said.iter().any(|line| line == expected), "{runtime:?}: {expected} is missing in {said:?}");
        }
        assert!(said.iter().any(|line| line.starts_with("PATH=/usr/local/sbin:")), "{runtime:?}: {said:?}");
        assert!(!said.contains(&"OVER=image".to_owned()), "{runtime:?}: {said:?}");
    });
    node.finish();
}

/// A guest of preview 1 learns its working directory only from its environment.
#[test]
fn the_working_directory_is_the_images_or_the_pods() {
    let node = node();
    let image = wasm("env").dir("/work", 0o755, 0, 0).dir("/else", 0o755, 0, 0).workdir("/work");
    on_each_engine(&node, |pod, engine| {
        assert!(says(pod.order("image", &image)).contains(&"PWD=/work".to_owned()), "{engine:?}");
        assert!(says(pod.order("pod", &image).workdir("/else")).contains(&"PWD=/else".to_owned()), "{engine:?}");
    });
    node.finish();
}

#[test]
fn names_are_resolved_as_the_pod_says() {
    let node = node();
    let hosts = node.dir().join("etc-hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n10.1.2.3 the-pod\n").unwrap();
    let words = |all: &[&str]| all.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    for engine in Engine::ALL {
        let dns = Dns {
            servers: words(&["10.96.0.10", "fd00::a"]),
            searches: words(&["default.svc.cluster.local", "svc.cluster.local"]),
            options: words(&["ndots:5"]),
        };
        let shape = Shape { hostname: "the-pod".to_owned(), dns: Some(dns), ..Shape::on(engine) };
        let pod = Pod::run(&node, engine.name(), shape);
        let order = |name: &str| pod.order(name, &c("kitchen"));
        let expected = [
            "search default.svc.cluster.local svc.cluster.local",
            "nameserver 10.96.0.10",
            "nameserver fd00::a",
            "options ndots:5",
        ];
        assert_eq!(reads(order("resolv"), "/etc/resolv.conf"), expected, "{engine:?}");
        assert_eq!(reads(order("hostname"), "/etc/hostname"), ["the-pod"], "{engine:?}");
        let order = order("hosts").mount(&hosts, "/etc/hosts", false, NONE);
        assert_eq!(reads(order, "/etc/hosts"), ["127.0.0.1 localhost", "10.1.2.3 the-pod"], "{engine:?}");
        // The kernel's own name, for programs that ask the kernel.
        let sleep = ready(pod.order("sleep", &wasm("sleep")));
        let uts = format!("/proc/{}/ns/uts", sleep.status().pid);
        let name = std::process::Command::new("nsenter").args([&format!("--uts={uts}"), "hostname"]).output().unwrap();
        assert_eq!(String::from_utf8(name.stdout).unwrap().trim(), "the-pod", "{engine:?}");
        pod.remove();
        // A pod without its own has the node's.
        let pod = Pod::run(&node, &format!("{}-plain", engine.name()), Shape::on(engine));
        let node_says = fs::read_to_string("/etc/resolv.conf").unwrap();
        assert_eq!(reads(pod.order("resolv", &c("kitchen")), "/etc/resolv.conf").join("\n"), node_says.trim_end());
        pod.remove();
    }
    node.finish();
}

#[test]
fn volumes_are_folders_files_and_targets_of_links() {
    let node = node();
    let volume = node.folder("volume");
    fs::write(volume.join("file"), "of the node\n").unwrap();
    let link = node.dir().join("link");
    symlink(&volume, &link).unwrap();
    on_each_engine(&node, |pod, engine| {
        let order = |name: &str| pod.order(name, &c("kitchen"));
        let folder = order("folder").mount(&volume, "/volume", false, NONE);
        assert_eq!(reads(folder, "/volume/file"), ["of the node"], "{engine:?}");
        let linked = order("linked").mount(&link, "/not/there/yet", false, NONE);
        assert_eq!(reads(linked, "/not/there/yet/file"), ["of the node"], "{engine:?}");
        let file = order("file").mount(&volume.join("file"), "/etc/app/config", true, NONE);
        assert_eq!(reads(file, "/etc/app/config"), ["of the node"], "{engine:?}");
        let written = order("write").mount(&volume, "/volume", false, NONE);
        says(written.args(["write", "/volume/new", engine.name()]));
        assert_eq!(fs::read_to_string(volume.join("new")).unwrap(), engine.name());
        // Nested mounts are made in the order of the list.
        let nested =
            order("nested").mount(&volume, "/a", false, NONE).mount(Path::new("/etc/hostname"), "/a/file", true, NONE);
        assert_ne!(reads(nested, "/a/file"), ["of the node"], "{engine:?}");
    });
    assert_eq!(fs::read_to_string(volume.join("file")).unwrap(), "of the node\n");
    node.finish();
}

#[test]
fn later_mounts_of_the_node_appear_with_propagation() {
    let node = node();
    let shared = Mounted::shared(&node.dir().join("shared"));
    on_each_engine(&node, |pod, engine| {
        let propagations = [
            ("private", Propagation::None, false),
            ("slave", Propagation::HostToContainer, true),
            ("shared", Propagation::Bidirectional, true),
        ];
        let started = propagations.map(|(name, propagation, _)| {
            let order = pod.order(name, &wasm("sleep")).mount(shared.path(), "/volume", false, propagation);
            ready(order).status().pid
        });
        let later = Mounted::tmpfs(&shared.path().join("later"));
        fs::write(later.path().join("file"), engine.name()).unwrap();
        for (pid, (name, _, comes)) in started.into_iter().zip(propagations) {
            let file = procfs::file(pid, "root/volume/later/file");
            assert_eq!(fs::read_to_string(file).is_ok_and(|text| text == engine.name()), comes, "{engine:?}: {name}");
        }
        drop(later);
    });
    drop(shared);
    node.finish();
}

/// `terminationMessagePath`: a file of the kubelet's, which it shows as the reason for the end.
#[test]
fn a_guest_leaves_a_message_for_the_kubelet() {
    let node = node();
    let message = node.dir().join("message");
    on_each_engine(&node, |pod, engine| {
        fs::write(&message, "").unwrap();
        fs::set_permissions(&message, fs::Permissions::from_mode(0o666)).unwrap();
        let order = pod.order("last-words", &c("kitchen")).mount(&message, "/dev/termination-log", false, NONE);
        let words = format!("gave up on {}", engine.name());
        says(order.user(1000, 1000).read_only().args(["write", "/dev/termination-log", words.as_str()]));
        assert_eq!(fs::read_to_string(&message).unwrap(), words);
    });
    node.finish();
}

#[test]
fn an_image_is_a_volume_and_has_volumes() {
    let node = node();
    let library =
        Image::new("library").file("/data/file", "of the other image\n").file("/hello.wasm", guests::wat("hello"));
    let own = c("kitchen").dir("/data", 0o777, 0, 0).file("/data/file", "of the image\n").volumes(["/data"]);
    on_each_engine(&node, |pod, engine| {
        let order = pod.order("reads", &c("kitchen")).image_volume(&library, "/library");
        assert_eq!(reads(order, "/library/data/file"), ["of the other image"], "{engine:?}");
        // The module may be in the image volume.
        let order = pod.order("runs", &Image::new("empty").entrypoint(["/nothing"])).image_volume(&library, "/library");
        assert_eq!(says(order.command(["/library/hello.wasm"])), ["hello from wasm"], "{engine:?}");
        // The volume is read-only for every container.
        let order = pod.order("writes", &c("kitchen")).image_volume(&library, "/library");
        let (container, ended) = crate::to_its_end(order.args(["write", "/library/data/file", "x"]));
        assert_eq!(ended.exit_code, 1, "{engine:?}");
        assert!(container.lines("stderr")[0].ends_with("Read-only file system"), "{:?}", container.log());

        let order = |name: &str| pod.order(name, &own).read_only();
        assert_eq!(reads(order("copied"), "/data/file"), ["of the image"], "{engine:?}");
        says(order("writable").args(["write", "/data/file", "x"]));
        assert_eq!(reads(order("fresh"), "/data/file"), ["of the image"], "each container has its own: {engine:?}");
    });
    node.finish();
}

/// hostPort is a CNI plugin's task, not the shim's; the pod's declaration of ports must not disturb.
#[test]
fn a_port_is_reached_at_the_pods_address() {
    let node = node();
    let pod = Pod::run(&node, "server", Shape { ports: vec![7000], ..Shape::on(Engine::Wasmer) });
    let server = pod.order("server", &guests::of("server", guests::wasix("server"))).args(["7000"]).start();
    server.expect_line("listening");
    assert_eq!(ask(&pod.status().ip, "hello\n"), "hello\n");
    ask(&pod.status().ip, "stop\n");
    assert_eq!(server.wait(crate::SOON).exit_code, 0, "{:?}", server.log());
    pod.remove();
    node.finish();
}

fn ask(ip: &str, line: &str) -> String {
    use std::io::{Read, Write};
    let mut connection = std::net::TcpStream::connect((ip, 7000)).unwrap();
    connection.set_read_timeout(Some(crate::SOON)).unwrap();
    connection.write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    // The peer may be gone before it has answered.
    let _ = connection.read_to_string(&mut answer);
    answer
}
