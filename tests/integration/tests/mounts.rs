//! The mount list of a spec: what Kubernetes and containerd send, in all its shapes, and what must not come of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use catamaran_harness::{Code, Container, Image, Node, Options, Output, Runtime, Task, guests, wait_until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);

fn wasm(name: &str) -> Image {
    guests::image(Runtime::Catamaran, name)
}

fn kitchen() -> Image {
    Image::new("kitchen").file("/kitchen.wasm", guests::go("kitchen")).entrypoint(["/kitchen.wasm"])
}

/// A folder of the node's.
fn folder(node: &Node, name: &str) -> PathBuf {
    let path = node.dir().join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A mount on the host, below the node's folder: gone with this, and with the node when the test fails.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(at: PathBuf) -> Self {
        Self::at(&["-t", "tmpfs", "tmpfs"], at)
    }

    /// As a mount point of systemd's host: what is mounted below it shows wherever it was bound.
    fn shared(at: PathBuf) -> Self {
        let mounted = Self::tmpfs(at);
        run("mount", &["--make-shared", mounted.0.to_str().unwrap()]);
        mounted
    }

    fn at(what: &[&str], at: PathBuf) -> Self {
        fs::create_dir_all(&at).unwrap();
        run("mount", &[what, &[at.to_str().unwrap()]].concat());
        Self(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

/// One mount for the spec, behind those that are there.
fn with(kind: &str, source: &str, destination: &str, options: &[&str]) -> impl Fn(&mut Value) + Send + Sync + 'static {
    let mount = json!({"type": kind, "source": source, "destination": destination, "options": options});
    move |spec| spec["mounts"].as_array_mut().unwrap().push(mount.clone())
}

fn bound(source: &Path, destination: &str, options: &[&str]) -> impl Fn(&mut Value) + Send + Sync + 'static {
    with("bind", source.to_str().unwrap(), destination, options)
}

/// A container that waits; its tree is looked at from outside.
fn waiting<'n>(order: &Container<'n>) -> Task<'n> {
    let task = order.spawn();
    task.expect_stdout("ready\n");
    task
}

fn inside(task: &Task<'_>, path: &str) -> PathBuf {
    Path::new("/proc").join(task.pid().to_string()).join("root").join(path.trim_start_matches('/'))
}

/// The options, the propagation and the type of the topmost mount at a place of the container.
fn mount_at(task: &Task<'_>, place: &str) -> Option<(Vec<String>, String, String)> {
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", task.pid())).unwrap();
    let line = table.lines().rfind(|line| line.split(' ').nth(4) == Some(place))?;
    let (left, right) = line.split_once(" - ")?;
    let fields: Vec<&str> = left.split(' ').collect();
    let options = fields[5].split(',').map(str::to_owned).collect();
    Some((options, fields[6..].join(" "), right.split(' ').next()?.to_owned()))
}

fn options_at(task: &Task<'_>, place: &str) -> Vec<String> {
    mount_at(task, place).unwrap_or_else(|| panic!("nothing is mounted at {place}")).0
}

fn to_its_end(order: &Container<'_>) -> Output {
    let task = order.spawn();
    task.wait(SOON);
    task.delete()
}

/// Refused, with these words.
fn refused(order: &Container<'_>, code: Code, words: &[&str]) {
    let status = order.try_create().err().unwrap_or_else(|| panic!("it was created; expected {words:?}"));
    assert_eq!(status.code, code, "{status}");
    for word in words {
        assert!(status.message.contains(word), "{word:?} is missing in: {status}");
    }
}

#[test]
fn options_of_a_bind_mount_say_what_they_do() {
    let node = Node::start();
    let volume = folder(&node, "volume");
    let _below = Mounted::tmpfs(volume.join("sub"));
    // Options; those that the top then has, those that the mount below has; those that they have not.
    let table: &[(&[&str], &[&str], &[&str], &[&str], &[&str])] = &[
        (&["rbind"], &["rw", "relatime"], &["rw", "relatime"], &["noexec"], &["noexec"]),
        (&["rbind", "ro"], &["ro"], &["rw"], &[], &[]),
        (&["rbind", "rro"], &["ro"], &["ro"], &[], &[]),
        (&["rbind", "ro", "rro", "rrw"], &["rw"], &["rw"], &[], &[]),
        (&["rbind", "ro", "rw"], &["rw"], &["rw"], &[], &[]),
        (&["rbind", "noexec"], &["noexec"], &["rw"], &[], &["noexec"]),
        (&["rbind", "rnoexec"], &["noexec"], &["noexec"], &[], &[]),
        (&["rbind", "rnoexec", "rexec"], &["rw"], &["rw"], &["noexec"], &["noexec"]),
        (&["rbind", "noatime"], &["noatime"], &["relatime"], &["relatime"], &["noatime"]),
        (&["rbind", "rnoatime"], &["noatime"], &["noatime"], &["relatime"], &["relatime"]),
        (&["rbind", "rnoatime", "rrelatime"], &["relatime"], &["relatime"], &["noatime"], &["noatime"]),
        (&["rbind", "strictatime"], &["rw"], &["relatime"], &["relatime", "noatime"], &[]),
        (&["rbind", "rnodiratime"], &["nodiratime"], &["nodiratime"], &[], &[]),
        (&["rbind", "nodiratime"], &["nodiratime"], &["rw"], &[], &["nodiratime"]),
        (&["rbind", "rnosymfollow"], &["nosymfollow"], &["nosymfollow"], &[], &[]),
        (&["rbind", "nosymfollow"], &["nosymfollow"], &["rw"], &[], &["nosymfollow"]),
        (&["rbind", "dev", "suid", "rdev", "rsuid"], &["nodev", "nosuid"], &["nodev", "nosuid"], &[], &[]),
        (&["rbind", "runbindable"], &["rw"], &["rw"], &[], &[]),
    ];
    let mut order = node.container("options").image(&wasm("sleep"));
    for (n, (options, ..)) in table.iter().enumerate() {
        order = order.spec(bound(&volume, &format!("/v{n}"), options));
    }
    let task = waiting(&order.spec(bound(&volume, "/alone", &["bind"])));
    for (n, (options, top, below, not_top, not_below)) in table.iter().enumerate() {
        for (place, has, lacks) in [(format!("/v{n}"), top, not_top), (format!("/v{n}/sub"), below, not_below)] {
            let found = options_at(&task, &place);
            let wrong = has.iter().any(|o| !found.contains(&(*o).to_owned()))
                || lacks.iter().any(|o| found.contains(&(*o).to_owned()));
            assert!(!wrong, "{options:?} made {found:?} of {place}; expected {has:?} without {lacks:?}");
            assert!(found.contains(&"nodev".into()) && found.contains(&"nosuid".into()), "{place}: {found:?}");
        }
    }
    assert!(mount_at(&task, "/alone").is_some() && mount_at(&task, "/alone/sub").is_none(), "bind is not recursive");
    task.discard();
    drop(_below);
    node.finish();
}

#[test]
fn what_the_host_mounts_later_shows_and_nothing_comes_back() {
    let node = Node::start();
    let shared = Mounted::shared(folder(&node, "shared"));
    let before = Mounted::tmpfs(shared.0.join("before"));
    fs::write(before.0.join("file"), "before").unwrap();
    let image = kitchen();
    for (n, propagation) in ["rslave", "slave", "rshared", "shared"].into_iter().enumerate() {
        let order = node.container(&format!("c{n}")).image(&image).args(["/kitchen.wasm", "stdin"]).hold_stdin();
        let order = order.spec(bound(&shared.0, "/data", &["rbind", propagation, "ro"])).spec(move |spec| {
            spec["linux"]["rootfsPropagation"] = json!(propagation);
        });
        let task = order.spawn();
        assert_eq!(fs::read_to_string(inside(&task, "/data/before/file")).unwrap(), "before", "{propagation}");
        let (options, slave, _) = mount_at(&task, "/data").unwrap();
        assert!(slave.starts_with("master:") && !slave.contains("shared"), "{propagation}: {slave}");
        assert!(["ro", "nodev", "nosuid"].iter().all(|o| options.contains(&(*o).to_owned())), "{options:?}");
        let later = Mounted::tmpfs(shared.0.join("later"));
        fs::write(later.0.join("file"), "later").unwrap();
        assert_eq!(fs::read_to_string(inside(&task, "/data/later/file")).unwrap(), "later", "{propagation}");
        // As runc has it: what comes later has the host's options, and is not read-only for being below.
        assert!(options_at(&task, "/data/later").contains(&"rw".to_owned()));
        // The other way nothing goes: not even a mount by root in the container's namespace.
        let pid = task.pid().to_string();
        run("mount", &["-N", &pid, "-t", "tmpfs", "tmpfs", "/data/before"]);
        let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = host.lines().filter(|l| l.split(' ').nth(4) == before.0.to_str()).count();
        assert_eq!(own, 1, "{propagation}: a mount of the container's is on the host");
        drop(later);
        assert!(mount_at(&task, "/data/later").is_none(), "{propagation}: an unmount shows as well");
        task.discard();
    }
    // Without it nothing arrives, as ever.
    let task = waiting(&node.container("private").image(&wasm("sleep")).spec(bound(&shared.0, "/data", &["rbind"])));
    let later = Mounted::tmpfs(shared.0.join("later"));
    assert!(mount_at(&task, "/data/later").is_none() && mount_at(&task, "/data/before").is_some());
    drop(later);
    task.discard();
    drop(before);
    drop(shared);
    node.finish();
}

#[test]
fn a_procfs_that_the_host_mounts_later_shows_no_memory_to_a_plain_user() {
    let node = Node::start();
    let shared = Mounted::shared(folder(&node, "shared"));
    let order = node.container("later").image(&wasm("read")).args(["/read", "/data/proc/self/mem"]).user("1000:1000");
    let task = order.spec(bound(&shared.0, "/data", &["rbind", "rslave", "ro"])).create();
    // After Create nothing covers it any more. Root could read and write it (ARCHITECTURE.md): a worker is not dumpable,
    // so that its files in any procfs are root's.
    let proc = Mounted::at(&["-t", "proc", "proc"], shared.0.join("proc"));
    assert!(inside(&task, "/data/proc/self").exists(), "it does not show: the test tests nothing");
    task.start();
    task.wait(SOON);
    let read = task.delete();
    assert_eq!((read.code, read.stderr.as_str()), (2, "path_open failed\n"), "EACCES: {read:?}");
    drop(proc);
    drop(shared);
    node.finish();
}

/// Whether a shim of this node has a compile process.
fn compiles(node: &Node) -> bool {
    let ours = |process: &Path| {
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)).unwrap_or_default();
        let command = fs::read(Path::new("/proc").join(parent).join("cmdline")).unwrap_or_default();
        fs::read_link(process.join("exe")).is_ok_and(|exe| exe.ends_with("catamaran-wasmtime-compile"))
            && String::from_utf8_lossy(&command).contains(node.namespace())
    };
    fs::read_dir("/proc").unwrap().flatten().any(|entry| ours(&entry.path()))
}

#[test]
fn what_the_host_mounts_while_a_container_is_created_is_not_missed() {
    let node = Node::start();
    let shared = Mounted::shared(folder(&node, "shared"));
    let order = node.container("late").image(&kitchen()).args(["/kitchen.wasm", "read", "/data/later/file"]);
    let order = order.spec(bound(&shared.0, "/data", &["rbind", "rslave"]));
    let later = std::thread::scope(|scope| {
        let created = scope.spawn(|| order.create());
        // The volume was opened when the module is compiled.
        wait_until(SOON, "the compile process", || compiles(&node).then_some(()));
        let later = Mounted::tmpfs(shared.0.join("later"));
        fs::write(later.0.join("file"), "not missed").unwrap();
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
fn file_systems_of_a_containers_own() {
    let node = Node::start();
    let image = wasm("sleep").dir("/sticky", 0o1770, 5, 6);
    let order = node.container("fs").image(&image);
    let order = order
        .spec(with("tmpfs", "tmpfs", "/a", &["size=64k", "nr_inodes=5", "mode=750", "uid=7", "gid=8", "noexec", "ro"]))
        .spec(with("tmpfs", "tmpfs", "/sticky", &["noatime"]))
        .spec(with("tmpfs", "tmpfs", "/new/one", &[]))
        .spec(with("sysfs", "sysfs", "/writable-sys", &["rw", "dev"]))
        .spec(with("tmpfs", "tmpfs", "/closed", &["ro", "mode=755"]))
        .spec(with("tmpfs", "tmpfs", "/closed/a/b", &[]))
        .spec(with("mqueue", "mqueue", "/queues", &[]));
    let task = waiting(&order);
    let of = |path: &str| fs::metadata(inside(&task, path)).unwrap();
    assert_eq!((of("/a").mode() & 0o7777, of("/a").uid(), of("/a").gid()), (0o750, 7, 8));
    assert!(["ro", "noexec"].iter().all(|o| options_at(&task, "/a").contains(&(*o).to_owned())));
    // As what they cover; and where there was nothing, as a tmpfs is.
    assert_eq!(of("/sticky").mode() & 0o7777, 0o1770);
    assert_eq!(of("/new/one").mode() & 0o7777, 0o1777);
    assert_eq!(of("/new").mode() & 0o7777, 0o755);
    // Read-only, and still with a place for what is mounted in it.
    let closed = [options_at(&task, "/closed"), options_at(&task, "/closed/a/b")];
    assert_eq!(closed.map(|options| options.contains(&"ro".to_owned())), [true, false]);
    assert!(options_at(&task, "/sticky").contains(&"noatime".to_owned()));
    // Root's files in it act on the host: read-only, whatever is asked.
    let sys = options_at(&task, "/writable-sys");
    assert!(["ro", "nodev"].iter().all(|o| sys.contains(&(*o).to_owned())), "{sys:?}");
    assert_eq!(mount_at(&task, "/queues").unwrap().2, "mqueue");
    assert_eq!(mount_at(&task, "/proc").unwrap().2, "tmpfs");
    task.discard();
    node.finish();
}

#[test]
fn what_is_refused_is_named() {
    let node = Node::start();
    let volume = folder(&node, "volume");
    fs::write(volume.join("file"), "").unwrap();
    let file = volume.join("file");
    let base = || node.container("same").image(&wasm("hello"));
    let wrong = Code::InvalidArgument;
    for kind in ["ext4", "overlay", "nfs", "fuse", "debugfs", "cgroupfs", ""] {
        refused(
            &base().spec(with(kind, "/dev/vda", "/data", &["ro"])),
            wrong,
            &["at /data", &format!("type {kind:?}")],
        );
    }
    for option in ["remount", "errors=panic", "loop"] {
        let asked = base().spec(bound(&volume, "/data", &["rbind", option]));
        refused(&asked, wrong, &["at /data", option]);
    }
    refused(
        &base().spec(with("tmpfs", "tmpfs", "/data", &["tmpcopyup"])),
        wrong,
        &["at /data", "tmpcopyup", "emptyDir"],
    );
    refused(&base().spec(bound(&volume, "/data", &["rbind", "rro", "rslave"])), wrong, &["«rro»", "mountPropagation"]);
    for destination in ["/", "//", "data", "/a/../../etc", ""] {
        refused(&base().spec(bound(&volume, destination, &["rbind"])), wrong, &["mounts[", "destination"]);
    }
    for source in ["/nowhere/at/all", "relative", ""] {
        refused(
            &base().spec(with("bind", source, "/data", &["rbind"])),
            wrong,
            &["at /data", &format!("source {source:?}")],
        );
    }
    refused(&base().spec(with("tmpfs", "tmpfs", "/data", &["size=lots"])), Code::Internal, &["/data", "size=lots"]);
    let image =
        Image::new("with-a-file").file("/hello", guests::wat("hello")).file("/etc/file", "").entrypoint(["/hello"]);
    let onto_a_file = base().image(&image).spec(bound(&volume, "/etc/file", &["rbind"]));
    refused(&onto_a_file, Code::Internal, &["/etc/file", "a file there"]);
    refused(&base().spec(bound(&file, "/proc", &["bind"])), Code::Internal, &["/proc", "a folder there"]);
    let propagation = |value: &'static str| base().spec(move |spec| spec["linux"]["rootfsPropagation"] = json!(value));
    refused(&propagation("sideways"), wrong, &["linux.rootfsPropagation", "sideways"]);
    for value in ["private", "rprivate", "rslave", "unbindable"] {
        assert_eq!(to_its_end(&propagation(value)).code, 0, "{value}");
    }
    node.finish();
}

#[test]
fn masked_and_readonly_paths() {
    let node = Node::start();
    let volume = folder(&node, "volume");
    let below = Mounted::tmpfs(volume.join("sub"));
    let deep = Mounted::tmpfs(volume.join("deep"));
    for place in [&volume, &below.0] {
        fs::write(place.join("file"), "text").unwrap();
    }
    let image = wasm("sleep").dir("/image", 0o755, 0, 0).file("/image/file", "text").link("/link", "/data/sub");
    let order = node.container("paths").image(&image.link("/round", "round"));
    let order = order.spec(bound(&volume, "/data", &["rbind"])).spec(bound(&volume, "/more", &["rbind"]));
    let task = waiting(&order.clone().spec(|spec| {
        spec["linux"]["readonlyPaths"] = json!(["/data", "/image", "/nowhere", "/image/file/below"]);
        spec["linux"]["maskedPaths"] = json!(["/more", "/image/file", "/link", "/nowhere/either"]);
    }));
    // With what is mounted below: the one of the volume, not only its top.
    for place in ["/data", "/data/deep", "/image"] {
        assert!(options_at(&task, place).contains(&"ro".to_owned()), "{place}");
    }
    let write = |path: &str| fs::write(inside(&task, path), "x").unwrap_err().raw_os_error();
    assert_eq!([write("/data/file"), write("/data/deep/new"), write("/image/new")], [Some(30); 3], "EROFS");
    assert_eq!(fs::read_dir(inside(&task, "/more")).unwrap().count(), 0);
    // A mask on a link covers what it leads to; one on a file is nothing to read.
    assert_eq!(fs::read_dir(inside(&task, "/data/sub")).unwrap().count(), 0);
    assert_eq!(fs::read(inside(&task, "/image/file")).unwrap_or_default(), b"");
    assert_eq!(write("/data/sub/x"), Some(30), "a mask is not written to");
    task.discard();
    let round = order.spec(|spec| spec["linux"]["maskedPaths"] = json!(["/round"]));
    refused(&round, Code::Internal, &["masking /round"]);
    assert_eq!(fs::read_to_string(volume.join("file")).unwrap(), "text", "the volume itself is as it was");
    drop((deep, below));
    node.finish();
}

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
fn volumes_of_kubernetes() {
    let node = Node::start();
    let token = Mounted::tmpfs(folder(&node, "token"));
    projected(&token.0, "token", "secret-1", 1);
    let config = folder(&node, "config");
    projected(&config, "app.conf", "one", 1);
    let disk = folder(&node, "disk");
    let memory = Mounted::tmpfs(folder(&node, "memory"));
    for (name, text) in [("hosts", "127.0.0.1 localhost\n"), ("hostname", "pod\n"), ("resolv.conf", ""), ("log", "")] {
        fs::write(node.dir().join(name), text).unwrap();
    }
    fs::write(disk.join("sub.txt"), "by subPath").unwrap();
    // /var/run is a link to a folder that the image does not have; /etc/hosts is there, /dev is a file system of its own.
    let image = kitchen().dir("/var", 0o755, 0, 0).link("/var/run", "/run").file("/etc/hosts", "the image's");
    let file = |name: &str| node.dir().join(name);
    // The CRI has no file system at /run.
    let no_run = |spec: &mut Value| spec["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/run");
    let order = node.container("k8s").image(&image).read_only().spec(no_run);
    let order = order
        .spec(bound(&token.0, "/var/run/secrets/kubernetes.io/serviceaccount", &["rbind", "rprivate", "ro"]))
        .spec(bound(&config, "/config", &["rbind", "rprivate", "ro"]))
        .spec(bound(&disk, "/cache", &["rbind", "rprivate", "rw"]))
        .spec(bound(&memory.0, "/cache/memory", &["rbind", "rprivate", "rw"]))
        .spec(bound(&disk.join("sub.txt"), "/opt/app/settings/sub.txt", &["rbind", "rprivate", "ro"]))
        .spec(bound(&file("hosts"), "/etc/hosts", &["rbind", "rprivate", "rw"]))
        .spec(bound(&file("hostname"), "/etc/hostname", &["rbind", "rprivate", "rw"]))
        .spec(bound(&file("resolv.conf"), "/etc/resolv.conf", &["rbind", "rprivate", "rw"]))
        .spec(bound(&file("log"), "/dev/termination-log", &["rbind", "rprivate", "rw"]));
    let kitchen = |words: &[&str]| to_its_end(&order.clone().args([&["/kitchen.wasm"], words].concat()));
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
        ("/cache/memory/new", memory.0.join("new")),
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
    let config = folder(&node, "config");
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
    let (outside, data, planted) = (folder(&node, "outside"), folder(&node, "data"), folder(&node, "planted"));
    fs::write(data.join("file"), "mine").unwrap();
    let out = outside.to_str().unwrap();
    let up = format!("{}{out}", "../".repeat(20));
    // Planted by another container of the pod, in a volume that both have.
    symlink(out, planted.join("absolute")).unwrap();
    symlink(&up, planted.join("relative")).unwrap();
    symlink("/proc/self/root", planted.join("magic")).unwrap();
    symlink("../image/folder", planted.join("across")).unwrap();
    let image = wasm("sleep").dir("/image/folder", 0o755, 0, 0).link("/absolute", out).link("/relative", &up);
    let order = node.container("links").image(&image).spec(bound(&planted, "/planted", &["rbind"]));
    let places = ["/absolute", "/relative/deep", "/planted/absolute/x", "/planted/relative/z", "/planted/across/y"];
    let order = places.iter().fold(order, |order, place| order.spec(bound(&data, place, &["rbind"])));
    let task = waiting(&order.clone());
    for place in [out, &format!("{out}/deep"), &format!("{out}/x"), &format!("{out}/z"), "/image/folder/y"] {
        assert_eq!(fs::read_to_string(inside(&task, place).join("file")).unwrap(), "mine", "{place}");
    }
    task.discard();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was made on the host");
    // Through procfs there is no way, before it is covered either.
    let order = order.spec(bound(Path::new("/proc"), "/p", &["rbind"])).spec(bound(&data, "/p/self/cwd/x", &["rbind"]));
    assert!(order.try_create().is_err(), "a mount went through a magic link");
    node.finish();
}

#[test]
fn mounts_below_others_come_in_the_specs_order() {
    let node = Node::start();
    let (outer, inner) = (folder(&node, "outer"), folder(&node, "inner"));
    fs::write(outer.join("file"), "outer").unwrap();
    fs::write(inner.join("file"), "inner").unwrap();
    let order = node.container("order").image(&wasm("sleep"));
    let (o, i) = (bound(&outer, "/a", &["rbind"]), bound(&inner, "/a/b/c", &["rbind"]));
    let task = waiting(&order.clone().spec(o).spec(i));
    assert_eq!(fs::read_to_string(inside(&task, "/a/b/c/file")).unwrap(), "inner");
    assert!(outer.join("b/c").is_dir(), "the place of a mount is made in the volume that it lies in");
    task.discard();
    // The other way round the outer one hides the inner one.
    let (o, i) = (bound(&outer, "/a", &["rbind"]), bound(&inner, "/a/b/c", &["rbind"]));
    let task = waiting(&order.spec(i).spec(o));
    assert_eq!(fs::read_dir(inside(&task, "/a/b/c")).unwrap().count(), 0);
    task.discard();
    node.finish();
}

#[test]
fn places_that_a_container_has_of_its_own() {
    let node = Node::start();
    let volume = folder(&node, "volume");
    fs::write(volume.join("cpuinfo"), "processor: 0\n").unwrap();
    let order = || node.container("places").image(&wasm("sleep"));
    // As lxcfs does it: files below /proc, which is empty and read-only for all else.
    let task = waiting(&order().spec(bound(&volume.join("cpuinfo"), "/proc/cpuinfo", &["bind", "ro"])));
    assert_eq!(fs::read_to_string(inside(&task, "/proc/cpuinfo")).unwrap(), "processor: 0\n");
    assert_eq!(fs::write(inside(&task, "/proc/x"), "").unwrap_err().raw_os_error(), Some(30), "EROFS");
    task.discard();
    // A folder of the host's over /dev: nothing is made in it, and no device of it opens.
    let devices = folder(&node, "devices");
    run("mknod", &[devices.join("full").to_str().unwrap(), "c", "1", "7"]);
    fs::set_permissions(devices.join("full"), fs::Permissions::from_mode(0o666)).unwrap();
    let task = waiting(&order().spec(bound(&devices, "/dev", &["rbind"])));
    assert_eq!(fs::read_dir(&devices).unwrap().count(), 1, "default devices were made in the volume");
    assert_eq!(fs::read(inside(&task, "/dev/full")).unwrap_err().raw_os_error(), Some(13), "EACCES: nodev");
    task.discard();
    // Over /sys and /proc as a whole.
    let task = waiting(&order().spec(bound(&volume, "/sys", &["rbind"])).spec(bound(&volume, "/proc", &["rbind"])));
    assert_eq!(fs::read_to_string(inside(&task, "/sys/cpuinfo")).unwrap(), "processor: 0\n");
    assert_eq!(fs::read_to_string(inside(&task, "/proc/cpuinfo")).unwrap(), "processor: 0\n");
    task.discard();
    node.finish();
}

#[test]
fn root_file_systems_of_other_shapes() {
    // A long folder name makes layers that only mount(2) takes: the way of kernels before 6.5, on every kernel.
    let long = "x".repeat(200);
    let at = |path: &str| format!("[plugins.'io.containerd.snapshotter.v1.overlayfs']\n  {path}\n");
    let root = std::env::temp_dir().join(format!("catamaran-test-layers-{}", std::process::id()));
    let long = at(&format!("root_path = '{}'", root.join(&long).join(&long[..100]).display()));
    let options = at("mount_options = ['volatile', 'metacopy=on', 'index=off']");
    for (name, config) in [("long", long), ("options", options)] {
        let node = Node::start_with(Options::new().config(&config));
        let mut image = wasm("read").file("/layer0", "0");
        for n in 1..6 {
            image = image.layer().file(&format!("/layer{n}"), n.to_string());
        }
        for n in [0, 5] {
            let read = node.container("read").image(&image).args(["/read", &format!("/layer{n}")]).run();
            assert_eq!((read.code, read.stdout), (0, n.to_string()), "{name}: {}", read.stderr);
        }
        let task = waiting(&node.container("sleep").image(&wasm("sleep")));
        let (options, _, kind) = mount_at(&task, "/").unwrap();
        assert!(kind == "overlay" && options.contains(&"nodev".into()) && options.contains(&"nosuid".into()), "{name}");
        let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!host.contains(node.dir().to_str().unwrap()), "{name}: {host}");
        task.discard();
        node.finish();
    }
    fs::remove_dir_all(&root).unwrap();
    let node = Node::start();
    let native = |order: Container<'_>| order.flag(["--snapshotter", "native"]).run();
    let hello = native(node.container("native").image(&wasm("hello")));
    assert_eq!((hello.code, hello.stdout.as_str()), (0, "hello from wasm\n"), "{hello:?}");
    let written = native(node.container("ro").image(&wasm("write")).args(["/write", "/new", "x"]).read_only());
    assert_ne!(written.code, 0, "{written:?}");
    node.finish();
}
