//! Files of its tree that a guest may read and write.

use std::fs;

use catamaran_harness::{Mounted, Node};

use crate::{NONE, denied, done, kitchen, on_each_engine, options, volume};

#[test]
fn a_read_only_root_is_read_only_in_the_kernel_and_volumes_stay_writable() {
    let node = Node::start_with(options());
    let memory = Mounted::tmpfs(&node.folder("volumes").join("memory"));
    on_each_engine(&node, |pod, engine| {
        let disk = volume(&node, &format!("disk-{}", engine.name()), (0, 0), 0o777);
        let order = |file: &str| {
            let name = format!("write-{}", file.replace('/', "-"));
            let order = pod.order(&name, &kitchen()).args(["write", file, "x"]).read_only();
            order.mount(&disk, "/disk", false, NONE).mount(memory.path(), "/memory", false, NONE)
        };
        for file in ["/new", "/kitchen.wasm", "/etc/hostname", "/sys/new", "/proc/new"] {
            denied(order(file), "Read-only file system");
        }
        for file in ["/disk/new", "/memory/new", "/dev/shm/new"] {
            done(order(file));
        }
        assert_eq!(fs::read(disk.join("new")).unwrap(), b"x");
        // The same writes with a writable root.
        done(pod.order("writable", &kitchen()).args(["write", "/new", "x"]));
    });
    drop(memory);
    node.finish();
}

#[test]
fn a_read_only_mount_is_read_only_in_the_kernel() {
    let node = Node::start_with(options());
    let folder = node.folder("volumes").join("host");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config"), "old").unwrap();
    let below = Mounted::tmpfs(&folder.join("below"));
    on_each_engine(&node, |pod, _| {
        let order = |name: &str, file: &str| pod.order(name, &kitchen()).args(["write", file, "new"]);
        denied(order("ro", "/host/config").mount(&folder, "/host", true, NONE), "Read-only file system");
        // As everywhere in Kubernetes: a read-only volume excludes the mounts below it. (`recursiveReadOnly` is not available: containerd's
        // CRI has it for runc's handlers alone, and the kubelet knows.)
        done(order("below", "/host/below/x").mount(&folder, "/host", true, NONE));
        let file = pod.order("file", &kitchen()).args(["write", "/etc/config", "new"]);
        denied(file.mount(&folder.join("config"), "/etc/config", true, NONE), "Read-only file system");
    });
    assert_eq!(fs::read_to_string(folder.join("config")).unwrap(), "old");
    drop(below);
    node.finish();
}

#[test]
fn masked_and_read_only_paths_apply_to_the_guest() {
    let node = Node::start_with(options());
    on_each_engine(&node, |pod, engine| {
        let data = volume(&node, &format!("data-{}", engine.name()), (0, 0), 0o777);
        for folder in ["folder", "fixed"] {
            fs::create_dir(data.join(folder)).unwrap();
            fs::write(data.join(folder).join("file"), "there").unwrap();
        }
        fs::write(data.join("secret"), "secret").unwrap();
        let order = |name: &str, words: [&str; 2]| {
            let order = pod.order(name, &kitchen()).args(words).default_paths();
            let order = order.masked(["/data/secret", "/data/folder", "/data/nowhere"]).readonly_paths(["/data/fixed"]);
            order.mount(&data, "/data", false, NONE)
        };
        assert!(done(order("secret", ["read", "/data/secret"])).is_empty());
        assert!(done(order("folder", ["ls", "/data/folder"])).is_empty());
        assert_eq!(done(order("fixed", ["read", "/data/fixed/file"])), ["there"]);
        denied(order("change", ["write", "/data/fixed/file"]), "Read-only file system");
        denied(order("unmask", ["rm", "/data/secret"]), "");
        done(order("free", ["write", "/data/new"]));
        // Whatever the pod asks for: a worker has no procfs.
        assert!(done(order("proc", ["ls", "/proc"])).is_empty());
        assert_eq!(fs::read_to_string(data.join("secret")).unwrap(), "secret");
    });
    node.finish();
}
