//! Volumes and root file systems in the shapes that Kubernetes and containerd's snapshotters give them, and hostile ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use catamaran_harness::guests::wasm;
use catamaran_harness::{Container, Image, Mounted, Node, Options, guests};
use catamaran_integration::{run, waiting};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);

/// A volume as the kubelet writes ConfigMaps, Secrets and tokens: links through `..data`.
fn projected(volume: &Path, file: &str, text: &str, version: u32) {
    let data = format!("..v{version}");
    fs::create_dir_all(volume.join(&data)).unwrap();
    fs::write(volume.join(&data).join(file), text).unwrap();
    symlink(&data, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    if version == 1 {
        symlink(Path::new("..data").join(file), volume.join(file)).unwrap();
    }
}

#[test]
fn volumes_as_kubernetes_mounts_them_work() {
    let node = Node::start();
    let token = Mounted::tmpfs(&node.folder("token"));
    projected(token.path(), "token", "secret-1", 1);
    let config = node.folder("config");
    projected(&config, "app.conf", "one", 1);
    let disk = node.folder("disk");
    let memory = Mounted::tmpfs(&node.folder("memory"));
    for (name, text) in [("hosts", "127.0.0.1 localhost\n"), ("hostname", "pod\n"), ("resolv.conf", ""), ("log", "")] {
        fs::write(node.dir().join(name), text).unwrap();
    }
    fs::write(disk.join("sub.txt"), "by subPath").unwrap();
    // /var/run is a link to a folder that the image does not have; /etc/hosts is there, /dev is a file system of its own.
    let image = guests::kitchen().dir("/var", 0o755, 0, 0).link("/var/run", "/run").file("/etc/hosts", "the image's");
    let file = |name: &str| node.dir().join(name);
    // The CRI has no file system at /run.
    let no_run = |spec: &mut Value| spec["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/run");
    let order = node.container("k8s").image(&image).read_only().spec(no_run);
    let order = order
        .with_volume(token.path(), "/var/run/secrets/kubernetes.io/serviceaccount", &["rbind", "rprivate", "ro"])
        .with_volume(&config, "/config", &["rbind", "rprivate", "ro"])
        .with_volume(&disk, "/cache", &["rbind", "rprivate", "rw"])
        .with_volume(memory.path(), "/cache/memory", &["rbind", "rprivate", "rw"])
        .with_volume(&disk.join("sub.txt"), "/opt/app/settings/sub.txt", &["rbind", "rprivate", "ro"])
        .with_volume(&file("hosts"), "/etc/hosts", &["rbind", "rprivate", "rw"])
        .with_volume(&file("hostname"), "/etc/hostname", &["rbind", "rprivate", "rw"])
        .with_volume(&file("resolv.conf"), "/etc/resolv.conf", &["rbind", "rprivate", "rw"])
        .with_volume(&file("log"), "/dev/termination-log", &["rbind", "rprivate", "rw"]);
    let kitchen = |words: &[&str]| order.clone().args([&["/kitchen.wasm"], words].concat()).to_its_end();
    let reads = |path: &str| {
        let read = kitchen(&["read", path]);
        assert_eq!(read.code, 0, "{path}: {read:?}");
        read.stdout
    };
    assert_eq!(reads("/run/secrets/kubernetes.io/serviceaccount/token"), "secret-1");
    assert_eq!(reads("/config/app.conf"), "one");
    assert_eq!(reads("/etc/hosts"), "127.0.0.1 localhost\n");
    assert_eq!(reads("/opt/app/settings/sub.txt"), "by subPath");
    for (path, on_the_host) in [
        ("/cache/memory/new", memory.path().join("new")),
        ("/cache/new", disk.join("new")),
        ("/dev/termination-log", file("log")),
        ("/dev/shm/new", PathBuf::new()),
    ] {
        let written = kitchen(&["write", path, "from inside"]);
        assert_eq!(written.code, 0, "{path}: {written:?}");
        if !on_the_host.as_os_str().is_empty() {
            assert_eq!(fs::read_to_string(on_the_host).unwrap(), "from inside", "{path}");
        }
    }
    for path in ["/new", "/config/new", "/run/secrets/new", "/opt/app/settings/new", "/opt/app/settings/sub.txt"] {
        assert_eq!(kitchen(&["write", path, "x"]).code, 1, "{path} is read-only");
    }
    drop((memory, token));
    node.finish();
}

#[test]
fn a_config_map_changes_while_its_reader_runs() {
    let node = Node::start();
    let config = node.folder("config");
    projected(&config, "app.conf", "one", 1);
    let reader = r#"(module
        (import "wasi_snapshot_preview1" "path_open"
          (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1) (data (i32.const 64) "config/app.conf")
        (func $check (param i32) (if (local.get 0) (then (call $exit (local.get 0)))))
        (func (export "_start") (loop $again
          (i32.store (i32.const 0) (i32.const 200)) (i32.store (i32.const 4) (i32.const 0))
          ;; One line of stdin a round: its end ends the program.
          (i32.store (i32.const 4) (i32.const 1))
          (call $check (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
          (if (i32.load (i32.const 8)) (then
            (call $check (call $open (i32.const 3) (i32.const 1) (i32.const 64) (i32.const 15) (i32.const 0)
              (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 12)))
            (i32.store (i32.const 4) (i32.const 100))
            (call $check (call $read (i32.load (i32.const 12)) (i32.const 0) (i32.const 1) (i32.const 8)))
            (i32.store (i32.const 4) (i32.load (i32.const 8)))
            (call $check (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (br $again))))))"#;
    let image = Image::new("reader").file("/reader.wasm", wat::parse_str(reader).unwrap()).entrypoint(["/reader.wasm"]);
    let task = node.container("reader").image(&image).hold_stdin().bind(&config, "/config", ["rbind", "ro"]).spawn();
    for (version, text) in [(1, "one"), (2, "two"), (3, "three")] {
        if version > 1 {
            projected(&config, "app.conf", text, version);
        }
        task.write("x");
        task.expect_stdout(text);
    }
    task.close_stdin();
    assert_eq!(task.wait(SOON).code, 0);
    assert_eq!(task.delete().stdout, "onetwothree");
    node.finish();
}

#[test]
fn links_of_an_image_or_a_volume_lead_nowhere_outside() {
    let node = Node::start();
    let (outside, data, planted) = (node.folder("outside"), node.folder("data"), node.folder("planted"));
    fs::write(data.join("file"), "mine").unwrap();
    let out = outside.to_str().unwrap();
    let up = format!("{}{out}", "../".repeat(20));
    // Planted by another container of the pod, in a shared volume.
    symlink(out, planted.join("absolute")).unwrap();
    symlink(&up, planted.join("relative")).unwrap();
    symlink("/proc/self/root", planted.join("magic")).unwrap();
    symlink("../image/folder", planted.join("across")).unwrap();
    let image = wasm("sleep").dir("/image/folder", 0o755, 0, 0).link("/absolute", out).link("/relative", &up);
    let order = node.container("links").image(&image).with_volume(&planted, "/planted", &["rbind"]);
    let places = ["/absolute", "/relative/deep", "/planted/absolute/x", "/planted/relative/z", "/planted/across/y"];
    let order = places.iter().fold(order, |order, place| order.with_volume(&data, place, &["rbind"]));
    let task = waiting(&order.clone());
    for place in [out, &format!("{out}/deep"), &format!("{out}/x"), &format!("{out}/z"), "/image/folder/y"] {
        assert_eq!(fs::read_to_string(task.inside(place).join("file")).unwrap(), "mine", "{place}");
    }
    task.discard();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was made on the host");
    // procfs is no way out, not even before it is covered.
    let order = order.with_volume(Path::new("/proc"), "/p", &["rbind"]).with_volume(&data, "/p/self/cwd/x", &["rbind"]);
    assert!(order.try_create().is_err(), "a mount went through a magic link");
    node.finish();
}

#[test]
fn mounts_below_others_come_in_the_specs_order() {
    let node = Node::start();
    let (outer, inner) = (node.folder("outer"), node.folder("inner"));
    fs::write(outer.join("file"), "outer").unwrap();
    fs::write(inner.join("file"), "inner").unwrap();
    let order = node.container("order").image(&wasm("sleep"));
    let task = waiting(&order.clone().with_volume(&outer, "/a", &["rbind"]).with_volume(&inner, "/a/b/c", &["rbind"]));
    assert_eq!(fs::read_to_string(task.inside("/a/b/c/file")).unwrap(), "inner");
    assert!(outer.join("b/c").is_dir(), "the place of a mount is made in the volume that it lies in");
    task.discard();
    // In the other order the outer one hides the inner one.
    let task = waiting(&order.with_volume(&inner, "/a/b/c", &["rbind"]).with_volume(&outer, "/a", &["rbind"]));
    assert_eq!(fs::read_dir(task.inside("/a/b/c")).unwrap().count(), 0);
    task.discard();
    node.finish();
}

#[test]
fn volumes_over_a_containers_own_folders_are_mounted() {
    let node = Node::start();
    let volume = node.folder("volume");
    fs::write(volume.join("cpuinfo"), "processor: 0\n").unwrap();
    let order = || node.container("places").image(&wasm("sleep"));
    // As lxcfs does it: files below /proc, which is otherwise empty and read-only.
    let task = waiting(&order().with_volume(&volume.join("cpuinfo"), "/proc/cpuinfo", &["bind", "ro"]));
    assert_eq!(fs::read_to_string(task.inside("/proc/cpuinfo")).unwrap(), "processor: 0\n");
    assert_eq!(fs::write(task.inside("/proc/x"), "").unwrap_err().raw_os_error(), Some(30), "EROFS");
    task.discard();
    // A folder of the host over /dev: the shim makes nothing in it, and its devices do not open.
    let devices = node.folder("devices");
    run("mknod", &[devices.join("full").to_str().unwrap(), "c", "1", "7"]);
    fs::set_permissions(devices.join("full"), fs::Permissions::from_mode(0o666)).unwrap();
    let task = waiting(&order().with_volume(&devices, "/dev", &["rbind"]));
    assert_eq!(fs::read_dir(&devices).unwrap().count(), 1, "default devices were made in the volume");
    assert_eq!(fs::read(task.inside("/dev/full")).unwrap_err().raw_os_error(), Some(13), "EACCES: nodev");
    task.discard();
    // Over /sys and /proc as a whole.
    let task = waiting(&order().with_volume(&volume, "/sys", &["rbind"]).with_volume(&volume, "/proc", &["rbind"]));
    assert_eq!(fs::read_to_string(task.inside("/sys/cpuinfo")).unwrap(), "processor: 0\n");
    assert_eq!(fs::read_to_string(task.inside("/proc/cpuinfo")).unwrap(), "processor: 0\n");
    task.discard();
    node.finish();
}

/// A folder beside the node's, removed however the test ends.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let gone = fs::remove_dir_all(&self.0);
        assert!(gone.is_ok() || std::thread::panicking(), "cannot remove {}: {gone:?}", self.0.display());
    }
}

#[test]
fn root_file_systems_with_long_paths_and_options_are_mounted() {
    // A long folder name makes layers that only mount(2) takes: the way on kernels before 6.5, forced on every kernel.
    let long = "x".repeat(200);
    let at = |path: &str| format!("[plugins.'io.containerd.snapshotter.v1.overlayfs']\n  {path}\n");
    let root = Removed(std::env::temp_dir().join(format!("catamaran-test-layers-{}", std::process::id())));
    let long = at(&format!("root_path = '{}'", root.0.join(&long).join(&long[..100]).display()));
    let options = at("mount_options = ['volatile', 'metacopy=on', 'index=off']");
    for (name, config) in [("long", long), ("options", options)] {
        let node = Node::start_with(Options::new().config(&config));
        // The second image's layers, by their whole names, do not fit the page that mount(2) takes.
        for layers in [6, 16] {
            let mut image =
                Image::new(&format!("layers-{layers}")).file("/read", guests::wat("read")).entrypoint(["/read"]);
            for n in 0..layers {
                image = image.layer().file(&format!("/layer{n}"), n.to_string());
            }
            for n in [0, layers - 1] {
                let read = node.container("read").image(&image).args(["/read", &format!("/layer{n}")]).run();
                assert_eq!((read.code, read.stdout), (0, n.to_string()), "{name}, {layers}: {}", read.stderr);
            }
        }
        let task = waiting(&node.container("sleep").image(&wasm("sleep")));
        let root = task.mount_at("/").unwrap();
        assert!(root.kind == "overlay" && root.has(&["nodev", "nosuid"]), "{name}: {root:?}");
        let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!host.contains(node.dir().to_str().unwrap()), "{name}: {host}");
        task.discard();
        node.finish();
    }
    let node = Node::start();
    let native = |order: Container<'_>| order.flag(["--snapshotter", "native"]).run();
    let hello = native(node.container("native").image(&wasm("hello")));
    assert_eq!((hello.code, hello.stdout.as_str()), (0, "hello from wasm\n"), "{hello:?}");
    let written = native(node.container("ro").image(&wasm("write")).args(["/write", "/new", "x"]).read_only());
    assert_ne!(written.code, 0, "{written:?}");
    node.finish();
}
