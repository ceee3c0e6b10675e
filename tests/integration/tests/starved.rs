//! A Create that lacks a resource: descriptors, processes, memory, room on a disk. Each time the refusal names the limit or file, nothing
//! is left behind, and the next Create works when the limit is lifted. (A full or read-only disk of the cache costs time and no container:
//! `cache.rs`.)

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use catamaran_harness::direct::{Call, Shim, Standing};
use catamaran_harness::{CgroupVersion, Engine, Mounted, Node, Runtime, cgroup_version, guests, procfs};
use containerd_shim_protos::api::ConnectRequest;
use containerd_shim_protos::ttrpc::{self, Error};
use containerd_shim_protos::{Client, TaskClient};

const SOON: Duration = Duration::from_secs(10);

/// A shim's resources: its descriptors, its children, and the folders of cgroups below the node's.
fn held(node: &Node, shim: &Shim<'_>) -> (usize, usize, usize) {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", shim.pid)).unwrap();
    let cgroups = fs::read_dir(controller("pids").join(node.namespace())).unwrap();
    let folders = cgroups.flatten().filter(|entry| entry.path().is_dir());
    (descriptors(shim.pid), children.split_whitespace().count(), folders.count())
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// The root of a controller's tree.
fn controller(name: &str) -> PathBuf {
    match cgroup_version() {
        CgroupVersion::V1 => Path::new("/sys/fs/cgroup").join(name),
        CgroupVersion::V2 => PathBuf::from("/sys/fs/cgroup"),
    }
}

fn limit_descriptors(pid: u32, number: usize) {
    let limit = format!("--nofile={number}:");
    let done = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status().unwrap();
    assert!(done.success(), "prlimit {limit}");
}

/// Runs one Create under a limit that `starve` sets and `feed` lifts, and returns its refusal, if any. Nothing of it may be left.
fn starved(node: &Node, shim: &Shim<'_>, starve: impl FnOnce(&Path), feed: impl FnOnce()) -> Option<String> {
    node.await_compiles();
    let before = held(node, shim);
    let case = shim.case();
    starve(&case.bundle);
    let created = case.send(Call::Create);
    feed();
    let refusal = match created {
        Ok(()) => None,
        Err(Error::RpcStatus(status)) => {
            assert_eq!(case.standing(), Standing::None, "it was refused");
            let pods = fs::read_dir(node.states()).unwrap().flatten();
            let left = pods.map(|pod| pod.path().join(format!("{}.json", case.id))).find(|state| state.exists());
            assert_eq!(left, None, "of a refused creation");
            Some(status.message().to_owned())
        }
        Err(e) => panic!("no answer of a shim's: {e}"),
    };
    case.discard();
    let until = Instant::now() + SOON;
    while held(node, shim) != before {
        assert!(Instant::now() < until, "the shim had {before:?} and keeps {:?}", held(node, shim));
        std::thread::sleep(Duration::from_millis(10));
    }
    refusal
}

/// Checks that the same shim can create a container again.
fn works(shim: &Shim<'_>) {
    let case = shim.case();
    case.bring(Standing::Deleted);
    case.discard();
}

/// A cgroup of the test's own, with one file written; removed at its end.
struct Cgroup(PathBuf);

impl Cgroup {
    fn with(folder: PathBuf, file: &str, value: &str) -> Self {
        fs::create_dir_all(&folder).unwrap();
        let cgroup = Self(folder);
        cgroup.put(file, value);
        cgroup
    }

    fn put(&self, file: &str, value: &str) {
        let path = self.0.join(file);
        fs::write(&path, value).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes may still be ending, or be the node's, which removes the cgroup then.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn without_descriptors_a_create_says_so_wherever_it_runs_out_of_them() {
    let node = Node::start();
    for engine in Engine::ALL {
        let shim = Shim::start(&node, Runtime::Catamaran, engine);
        let open = descriptors(shim.pid);
        let mut refused = 0;
        for more in 0..64 {
            let starve = |_: &Path| limit_descriptors(shim.pid, open + more);
            let Some(text) = starved(&node, &shim, starve, || limit_descriptors(shim.pid, 1024)) else { break };
            assert!(text.contains("Too many open files"), "{more} more than {open}: {text}");
            refused += 1;
        }
        assert!((5..64).contains(&refused), "{refused} refusals: the test starves it of something else");
        works(&shim);
        shim.end();
    }
    node.finish();
}

/// A listener that gives up, or spins, would leave a shim that a restarted containerd cannot reach.
#[test]
fn a_client_that_comes_while_there_are_no_descriptors_is_served_when_there_are() {
    let node = Node::start();
    let shim = Shim::start(&node, Runtime::Catamaran, Engine::Wasmtime);
    // Open descriptors stay open.
    limit_descriptors(shim.pid, 0);
    let address = format!("unix://{}", shim.socket.display());
    let client = TaskClient::new(Client::connect(&address).unwrap());
    let ask = |nanoseconds| {
        let request = ConnectRequest { id: "nobody".to_owned(), ..Default::default() };
        client.connect(ttrpc::context::with_timeout(nanoseconds), &request)
    };
    let before = procfs::ticks(shim.pid);
    let begin = Instant::now();
    assert!(ask(1_000_000_000).is_err(), "it had a descriptor for it");
    std::thread::sleep(Duration::from_secs(1));
    let (used, passed) = (procfs::ticks(shim.pid) - before, begin.elapsed());
    limit_descriptors(shim.pid, 1024);
    // Counted in ticks of 10 ms.
    assert!(used <= 20, "{used} ticks on a processor in {passed:?}");
    let served = (0..10).any(|_| ask(1_000_000_000).is_ok());
    assert!(served, "it is not served any more");
    works(&shim);
    shim.end();
    node.finish();
}

/// Processor time so far.
#[test]
fn without_processes_a_create_names_the_limit() {
    let node = Node::start();
    for engine in Engine::ALL {
        let shim = Shim::start(&node, Runtime::Catamaran, engine);
        let folder = controller("pids").join(format!("{}-starved", node.namespace()));
        let cgroup = Cgroup::with(folder.clone(), "cgroup.procs", &shim.pid.to_string());
        // With the module's machine code in the cache, and without: then a compile comes first.
        for cold in [false, true] {
            let mut refused = Vec::new();
            for most in 1..8 {
                if cold {
                    node.await_compiles();
                    // A Create that was refused before the look-up of the module has not made the cache again.
                    if let Err(e) = fs::remove_dir_all(node.catamaran_root().join("cache")) {
                        assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
                    }
                }
                let starve = |_: &Path| cgroup.put("pids.max", &most.to_string());
                let Some(text) = starved(&node, &shim, starve, || cgroup.put("pids.max", "max")) else { break };
                refused.push(text);
            }
            assert!(!refused.is_empty(), "cold: {cold}");
            let named = format!("pids.max of the cgroup /{}-starved", node.namespace());
            assert!(refused.iter().all(|text| text.contains(&named)), "cold: {cold}: {refused:#?}");
            works(&shim);
        }
        // Back, so that the test can remove the cgroup before the shim ends.
        fs::write(controller("pids").join("cgroup.procs"), shim.pid.to_string()).unwrap();
        drop(cgroup);
        shim.end();
    }
    node.finish();
}

#[test]
fn without_processes_left_to_its_pod_a_create_names_the_limit() {
    let node = Node::start();
    let order = node.container("pod").image(&guests::image(Runtime::Catamaran, "sleep"));
    let above = Cgroup::with(controller("pids").join(node.namespace()), "pids.max", "0");
    let refused = order.try_create().err().expect("created without a process").message;
    assert!(refused.contains("pids.max of a cgroup above it"), "{refused}");
    node.expect_nothing_left(SOON);
    above.put("pids.max", "max");
    order.spawn().discard();
    node.finish();
}

#[test]
fn without_memory_a_create_names_the_limit() {
    let node = Node::start();
    let file = match cgroup_version() {
        CgroupVersion::V1 => "memory.limit_in_bytes",
        CgroupVersion::V2 => "memory.max",
    };
    for engine in Engine::ALL {
        let order = || node.container("little").image(&guests::image(Runtime::Catamaran, "sleep")).engine(engine);
        let refused = |what: &str, order: catamaran_harness::Container<'_>, of: &Path| {
            let text = order.try_create().err().unwrap_or_else(|| panic!("created: {what}")).message;
            let named = format!("{}/{file} allows 65536 bytes", of.display());
            assert!(text.contains("memory ran out") && text.contains(&named), "{what}: {text}");
            node.expect_nothing_left(SOON);
        };
        let pod = controller("memory").join(node.namespace());
        refused("the container's own limit", order().memory(64 << 10), &pod.join("little"));
        // A new one: the memory charged to the old one keeps it above a limit.
        fs::remove_dir(&pod).unwrap();
        let above = Cgroup::with(pod.clone(), file, "65536");
        refused("its pod's limit", order(), &pod);
        above.put(file, if cgroup_version() == CgroupVersion::V1 { "-1" } else { "max" });
        order().spawn().discard();
    }
    node.finish();
}

/// A small disk for the records of the node's shims, through a link in their place.
struct SmallDisk {
    disk: Mounted,
    link: PathBuf,
}

impl SmallDisk {
    fn new(node: &Node) -> Self {
        let disk = Mounted::at(&["-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs"], &node.dir().join("states"));
        let link = node.states();
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(disk.path(), &link).unwrap();
        Self { disk, link }
    }

    fn end(self) {
        fs::remove_file(&self.link).unwrap();
    }
}

fn remount(disk: &Mounted, how: &str) {
    let options = format!("remount,{how}");
    let done = Command::new("mount").args(["-o", &options]).arg(disk.path()).status().unwrap();
    assert!(done.success(), "mount -o {options}");
}

/// Fills a disk except for some pages.
fn fill(disk: &Mounted, pages: u64) -> PathBuf {
    let path = disk.path().join("filler");
    let mut filler = File::create(&path).unwrap();
    let mut length = 0;
    while filler.write_all(&[1; 4096]).is_ok() {
        length += 4096;
    }
    filler.set_len(length - 4096 * pages).unwrap();
    path
}

#[test]
fn on_a_full_disk_a_create_names_the_file() {
    let node = Node::start();
    let small = SmallDisk::new(&node);
    let disk = &small.disk;
    let shim = Shim::start(&node, Runtime::Catamaran, Engine::Wasmtime);
    let mut refusals = Vec::new();
    for pages in 0..4 {
        let filler = disk.path().join("filler");
        refusals.extend(starved(&node, &shim, |_| drop(fill(disk, pages)), || fs::remove_file(filler).unwrap()));
    }
    assert!(!refusals.is_empty(), "it needs no room");
    for text in &refusals {
        assert!(text.contains(".json") && text.contains("No space left on device"), "{text}");
    }
    works(&shim);
    shim.end();
    small.end();
    node.finish();
}

#[test]
fn on_a_read_only_disk_create_and_delete_name_the_file() {
    let node = Node::start();
    let small = SmallDisk::new(&node);
    let disk = &small.disk;
    let shim = Shim::start(&node, Runtime::Catamaran, Engine::Wasmtime);
    let refusal = starved(&node, &shim, |_| remount(disk, "ro"), || remount(disk, "rw")).expect("it needs no file");
    assert!(refusal.contains(".json") && refusal.contains("Read-only file system"), "{refusal}");
    // And the shim cannot forget an existing container before there is room.
    let case = shim.case();
    case.bring(Standing::Stopped);
    remount(disk, "ro");
    let refused = case.send(Call::Delete).unwrap_err().to_string();
    remount(disk, "rw");
    assert!(refused.contains(".json") && refused.contains("Read-only file system"), "{refused}");
    assert_eq!(case.standing(), Standing::Stopped);
    case.discard();
    works(&shim);
    shim.end();
    small.end();
    node.finish();
}
