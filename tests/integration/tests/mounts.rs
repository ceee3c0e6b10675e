//! The mount list of a spec: its options, propagation, masks, and refusals.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use catamaran_harness::guests::wasm;
use catamaran_harness::{Code, Engine, Image, Mounted, Node, guests, wait_until};
use catamaran_integration::{run, waiting};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn options_of_a_bind_mount_take_effect() {
    let node = Node::start();
    let volume = node.folder("volume");
    let sub = Mounted::tmpfs(&volume.join("sub"));
    // The options; those of the top then; those of the mount below. "!" precedes an option that must be absent.
    let table: &[(&str, &str, &str)] = &[
        ("rbind", "rw relatime !noexec", "rw relatime !noexec"),
        ("rbind ro", "ro", "rw"),
        ("rbind rro", "ro", "ro"),
        ("rbind ro rro rrw", "rw", "rw"),
        ("rbind ro rw", "rw", "rw"),
        ("rbind noexec", "noexec", "!noexec"),
        ("rbind rnoexec", "noexec", "noexec"),
        ("rbind rnoexec rexec", "!noexec", "!noexec"),
        ("rbind noatime", "noatime !relatime", "relatime !noatime"),
        ("rbind rnoatime", "noatime !relatime", "noatime !relatime"),
        ("rbind rnoatime rrelatime", "relatime !noatime", "relatime !noatime"),
        ("rbind strictatime", "!relatime !noatime", "relatime"),
        ("rbind rnodiratime", "nodiratime", "nodiratime"),
        ("rbind nodiratime", "nodiratime", "!nodiratime"),
        ("rbind rnosymfollow", "nosymfollow", "nosymfollow"),
        ("rbind nosymfollow", "nosymfollow", "!nosymfollow"),
        ("rbind dev suid rdev rsuid", "nodev nosuid", "nodev nosuid"),
        ("rbind runbindable", "rw", "rw"),
    ];
    let mut order = node.container("options").image(&wasm("sleep"));
    for (n, (options, ..)) in table.iter().enumerate() {
        order = order.with_volume(&volume, &format!("/v{n}"), &options.split(' ').collect::<Vec<_>>());
    }
    let task = waiting(&order.with_volume(&volume, "/alone", &["bind"]));
    for (n, (options, top, below)) in table.iter().enumerate() {
        for (place, expected) in [(format!("/v{n}"), top), (format!("/v{n}/sub"), below)] {
            let mount = task.mount_at(&place).unwrap();
            for word in expected.split(' ').chain(["nodev", "nosuid"]) {
                let as_expected = word.strip_prefix('!').map_or(mount.has(&[word]), |not| !mount.has(&[not]));
                assert!(as_expected, "{options} made {:?} of {place}; expected {expected}", mount.options);
            }
        }
    }
    assert!(task.mount_at("/alone").is_some() && task.mount_at("/alone/sub").is_none(), "bind is not recursive");
    task.discard();
    drop(sub);
    node.finish();
}

#[test]
fn later_mounts_of_the_host_appear_and_none_propagate_back() {
    let node = Node::start();
    let shared = Mounted::shared(&node.folder("shared"));
    let before = Mounted::tmpfs(&shared.path().join("before"));
    fs::write(before.path().join("file"), "before").unwrap();
    let image = guests::kitchen();
    for (n, propagation) in ["rslave", "slave", "rshared", "shared"].into_iter().enumerate() {
        let order = node.container(&format!("c{n}")).image(&image).args(["/kitchen.wasm", "stdin"]).hold_stdin();
        let order = order.with_volume(shared.path(), "/data", &["rbind", propagation, "ro"]).spec(move |spec| {
            spec["linux"]["rootfsPropagation"] = json!(propagation);
        });
        let task = order.spawn();
        assert_eq!(fs::read_to_string(task.inside("/data/before/file")).unwrap(), "before", "{propagation}");
        let mount = task.mount_at("/data").unwrap();
        let slave = &mount.propagation;
        assert!(slave.starts_with("master:") && !slave.contains("shared"), "{propagation}: {slave}");
        assert!(mount.has(&["ro", "nodev", "nosuid"]), "{mount:?}");
        let later = Mounted::tmpfs(&shared.path().join("later"));
        fs::write(later.path().join("file"), "later").unwrap();
        assert_eq!(fs::read_to_string(task.inside("/data/later/file")).unwrap(), "later", "{propagation}");
        // As on runc: a later mount has the host's options, and is not read-only just because it is below.
        assert!(task.mount_at("/data/later").unwrap().has(&["rw"]));
        // Nothing propagates the other way: not even a mount by root in the container's namespace.
        let pid = task.pid().to_string();
        run("mount", &["-N", &pid, "-t", "tmpfs", "tmpfs", "/data/before"]);
        let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = host.lines().filter(|l| l.split(' ').nth(4) == before.path().to_str()).count();
        assert_eq!(own, 1, "{propagation}: a mount of the container's is on the host");
        drop(later);
        assert!(task.mount_at("/data/later").is_none(), "{propagation}: an unmount shows as well");
        task.discard();
    }
    // Without propagation a later mount never arrives.
    let task =
        waiting(&node.container("private").image(&wasm("sleep")).with_volume(shared.path(), "/data", &["rbind"]));
    let later = Mounted::tmpfs(&shared.path().join("later"));
    assert!(task.mount_at("/data/later").is_none() && task.mount_at("/data/before").is_some());
    drop(later);
    task.discard();
    drop(before);
    drop(shared);
    node.finish();
}

#[test]
fn a_procfs_that_the_host_mounts_later_shows_no_memory_to_a_plain_user() {
    let node = Node::start();
    let shared = Mounted::shared(&node.folder("shared"));
    let order = node.container("later").image(&wasm("read")).args(["/read", "/data/proc/self/mem"]).user("1000:1000");
    let task = order.with_volume(shared.path(), "/data", &["rbind", "rslave", "ro"]).create();
    // After Create nothing covers the procfs any more. Root could read and write it (shim/worker/README.md): a worker is not dumpable, so
    // its files in any procfs are root's.
    let proc = Mounted::at(&["-t", "proc", "proc"], &shared.path().join("proc"));
    assert!(task.inside("/data/proc/self").exists(), "it does not show: the test tests nothing");
    task.start();
    task.wait(SOON);
    let read = task.delete();
    assert_eq!((read.code, read.stderr.as_str()), (2, "path_open failed\n"), "EACCES: {read:?}");
    drop(proc);
    drop(shared);
    node.finish();
}

#[test]
fn a_device_on_a_mount_that_came_later_is_not_opened() {
    let node = Node::start();
    let shared = Mounted::shared(&node.folder("shared"));
    // 63: EPERM in WASI's numbers.
    for (name, minor, code) in [("kmsg", "11", 63), ("null", "3", 0)] {
        let path = format!("/data/later/{name}");
        let order = node.container(name).image(&wasm("read")).args(["/read", &path]).user("0:0");
        let task = order.with_volume(shared.path(), "/data", &["rbind", "rslave"]).create();
        let later = Mounted::tmpfs(&shared.path().join("later"));
        run("mknod", &[later.path().join(name).to_str().unwrap(), "c", "1", minor]);
        assert!(task.inside(&path).exists() && !task.mount_at("/data/later").unwrap().has(&["nodev"]));
        task.start();
        task.wait(SOON);
        // No mount attribute prevents it, and the worker is root: the cgroup refuses all devices but five.
        assert_eq!(task.delete().code, code, "{name}");
        drop(later);
    }
    drop(shared);
    node.finish();
}

/// Whether a compile driver of this node has a compile process.
fn compiles(node: &Node) -> bool {
    let ours = |process: &Path| {
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)).unwrap_or_default();
        let driver = fs::read(Path::new("/proc").join(parent).join("environ")).unwrap_or_default();
        fs::read_link(process.join("exe")).is_ok_and(|exe| exe.ends_with("catamaran-wasmtime-compile"))
            && String::from_utf8_lossy(&driver).contains(node.dir().to_str().unwrap())
    };
    fs::read_dir("/proc").unwrap().flatten().any(|entry| ours(&entry.path()))
}

#[test]
fn mounts_made_during_a_creation_are_not_missed() {
    let node = Node::start();
    let shared = Mounted::shared(&node.folder("shared"));
    let order = node.container("late").image(&guests::kitchen()).args(["/kitchen.wasm", "read", "/data/later/file"]);
    let order = order.with_volume(shared.path(), "/data", &["rbind", "rslave"]);
    let later = std::thread::scope(|scope| {
        let created = scope.spawn(|| order.create());
        // The volume is open by the time the module is compiled.
        wait_until(SOON, "the compile process", || compiles(&node).then_some(()));
        let later = Mounted::tmpfs(&shared.path().join("later"));
        fs::write(later.path().join("file"), "not missed").unwrap();
        let task = created.join().unwrap();
        task.start();
        task.wait(SOON);
        let read = task.delete();
        assert_eq!((read.code, read.stdout.as_str()), (0, "not missed"), "{read:?}");
        later
    });
    drop(later);
    drop(shared);
    node.finish();
}

#[test]
fn tmpfs_and_other_new_file_systems_are_mounted() {
    let node = Node::start();
    let image = wasm("sleep").dir("/sticky", 0o1770, 5, 6);
    let order = node.container("fs").image(&image);
    let order = order
        .with_mount("tmpfs", "tmpfs", "/a", &["size=64k", "nr_inodes=5", "mode=750", "uid=7", "gid=8", "noexec", "ro"])
        .with_mount("tmpfs", "tmpfs", "/sticky", &["noatime"])
        .with_mount("tmpfs", "tmpfs", "/new/one", &[])
        .with_mount("sysfs", "sysfs", "/writable-sys", &["rw", "dev"])
        .with_mount("tmpfs", "tmpfs", "/closed", &["ro", "mode=755"])
        .with_mount("tmpfs", "tmpfs", "/closed/a/b", &[])
        .with_mount("mqueue", "mqueue", "/queues", &[]);
    let task = waiting(&order);
    let of = |path: &str| fs::metadata(task.inside(path)).unwrap();
    assert_eq!((of("/a").mode() & 0o7777, of("/a").uid(), of("/a").gid()), (0o750, 7, 8));
    assert!(task.mount_at("/a").unwrap().has(&["ro", "noexec"]));
    // The mode of the covered folder; in a new place, that of a tmpfs.
    assert_eq!(of("/sticky").mode() & 0o7777, 0o1770);
    assert_eq!(of("/new/one").mode() & 0o7777, 0o1777);
    assert_eq!(of("/new").mode() & 0o7777, 0o755);
    // Read-only, and still with a place for the mount in it.
    let closed = ["/closed", "/closed/a/b"].map(|place| task.mount_at(place).unwrap().has(&["ro"]));
    assert_eq!(closed, [true, false]);
    assert!(task.mount_at("/sticky").unwrap().has(&["noatime"]));
    // Root's files in it act on the host: read-only, whatever the spec asks for.
    assert!(task.mount_at("/writable-sys").unwrap().has(&["ro", "nodev"]));
    for empty in ["/queues", "/proc"] {
        let mount = task.mount_at(empty).unwrap();
        assert!(mount.kind == "tmpfs" && mount.has(&["ro", "nosuid", "nodev", "noexec"]), "{empty}: {mount:?}");
    }
    task.discard();
    node.finish();
}

/// Queues count against their user on the whole node: a guest that ran as root used up the quota of the host's root.
#[test]
fn a_guest_makes_no_message_queue() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let volume = node.folder("volume");
        let brought = Mounted::at(&["-t", "mqueue", "mqueue"], &volume.join("deep/queues"));
        let order = |place: &str| {
            let words = ["/write", &format!("{place}/queue"), "x"];
            let order = node.container("queue").image(&wasm("write")).args(words).user("0:0");
            order.with_mount("mqueue", "mqueue", "/own/queues", &["nosuid", "noexec", "nodev"])
        };
        // The last place exists and is writable, otherwise the others would show nothing.
        for (place, code) in [("/dev/mqueue", 69), ("/own/queues", 69), ("/data/deep/queues", 69), ("/data/deep", 0)] {
            let run = order(place).with_volume(&volume, "/data", &["rbind"]).to_its_end();
            assert_eq!(run.code, code, "{engine:?} {place}: EROFS is 69: {run:?}");
        }
        assert_eq!(fs::read_dir(brought.path()).unwrap().count(), 0, "a queue was made");
        drop(brought);
        node.finish();
    }
}

#[test]
fn refused_mounts_are_named() {
    let node = Node::start();
    let volume = node.folder("volume");
    fs::write(volume.join("file"), "").unwrap();
    let file = volume.join("file");
    let base = || node.container("same").image(&wasm("hello"));
    let wrong = Code::InvalidArgument;
    for kind in ["ext4", "overlay", "nfs", "fuse", "debugfs", "cgroupfs", ""] {
        base()
            .with_mount(kind, "/dev/vda", "/data", &["ro"])
            .expect_refused(wrong, &["at /data", &format!("type {kind:?}")]);
    }
    for option in ["remount", "errors=panic", "loop"] {
        let asked = base().with_volume(&volume, "/data", &["rbind", option]);
        asked.expect_refused(wrong, &["at /data", option]);
    }
    base()
        .with_mount("tmpfs", "tmpfs", "/data", &["tmpcopyup"])
        .expect_refused(wrong, &["at /data", "tmpcopyup", "emptyDir"]);
    base()
        .with_volume(&volume, "/data", &["rbind", "rro", "rslave"])
        .expect_refused(wrong, &["\"rro\"", "mountPropagation"]);
    for destination in ["/", "//", "data", "/a/../../etc", ""] {
        base().with_volume(&volume, destination, &["rbind"]).expect_refused(wrong, &["mounts[", "destination"]);
    }
    for source in ["/nowhere/at/all", "relative", ""] {
        base()
            .with_mount("bind", source, "/data", &["rbind"])
            .expect_refused(wrong, &["at /data", &format!("source {source:?}")]);
    }
    base()
        .with_mount("tmpfs", "tmpfs", "/data", &["size=lots"])
        .expect_refused(Code::Internal, &["/data", "size=lots"]);
    let image =
        Image::new("with-a-file").file("/hello", guests::wat("hello")).file("/etc/file", "").entrypoint(["/hello"]);
    let onto_a_file = base().image(&image).with_volume(&volume, "/etc/file", &["rbind"]);
    onto_a_file.expect_refused(Code::Internal, &["/etc/file", "a file there"]);
    base().with_volume(&file, "/proc", &["bind"]).expect_refused(Code::Internal, &["/proc", "a folder there"]);
    let propagation = |value: &'static str| base().spec(move |spec| spec["linux"]["rootfsPropagation"] = json!(value));
    propagation("sideways").expect_refused(wrong, &["linux.rootfsPropagation", "sideways"]);
    for value in ["private", "rprivate", "rslave", "unbindable"] {
        assert_eq!(propagation(value).to_its_end().code, 0, "{value}");
    }
    node.finish();
}

#[test]
fn masked_paths_are_empty_and_readonly_paths_cannot_be_written() {
    let node = Node::start();
    let volume = node.folder("volume");
    let below = Mounted::tmpfs(&volume.join("sub"));
    let deep = Mounted::tmpfs(&volume.join("deep"));
    for place in [volume.as_path(), below.path()] {
        fs::write(place.join("file"), "text").unwrap();
    }
    let image = wasm("sleep").dir("/image", 0o755, 0, 0).file("/image/file", "text").link("/link", "/data/sub");
    let order = node.container("paths").image(&image.link("/round", "round"));
    let order = order.with_volume(&volume, "/data", &["rbind"]).with_volume(&volume, "/more", &["rbind"]);
    let task = waiting(&order.clone().spec(|spec| {
        spec["linux"]["readonlyPaths"] = json!(["/data", "/image", "/nowhere", "/image/file/below"]);
        spec["linux"]["maskedPaths"] = json!(["/more", "/image/file", "/link", "/nowhere/either"]);
    }));
    // With the mounts below: the volume's nested mount too, not only its top.
    for place in ["/data", "/data/deep", "/image"] {
        assert!(task.mount_at(place).unwrap().has(&["ro"]), "{place}");
    }
    let write = |path: &str| fs::write(task.inside(path), "x").unwrap_err().raw_os_error();
    assert_eq!([write("/data/file"), write("/data/deep/new"), write("/image/new")], [Some(30); 3], "EROFS");
    assert_eq!(fs::read_dir(task.inside("/more")).unwrap().count(), 0);
    // A mask on a link covers the link's target; a masked file is empty.
    assert_eq!(fs::read_dir(task.inside("/data/sub")).unwrap().count(), 0);
    assert_eq!(fs::read(task.inside("/image/file")).unwrap_or_default(), b"");
    assert_eq!(write("/data/sub/x"), Some(30), "a mask is not written to");
    task.discard();
    let round = order.spec(|spec| spec["linux"]["maskedPaths"] = json!(["/round"]));
    round.expect_refused(Code::Internal, &["masking /round"]);
    assert_eq!(fs::read_to_string(volume.join("file")).unwrap(), "text", "the volume itself is as it was");
    drop((deep, below));
    node.finish();
}
