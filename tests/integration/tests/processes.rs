//! The process model, seen from the host: which processes run, with which rights, and what is left when one is killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use catamaran_harness::guests::wasm;
use catamaran_harness::procfs::{children, parent, status};
use catamaran_harness::{Container, Engine, Node, Task, kill9, procfs, shim_folder, wait_until};
use catamaran_integration::storm::kills_at_any_moment;
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);

fn sleeping(node: &Node) -> Task<'_> {
    let task = node.container("sleep").image(&wasm("sleep")).spawn();
    task.expect_stdout("ready\n");
    task
}

#[test]
fn a_container_is_two_processes_of_one_thread() {
    let node = Node::start();
    let task = sleeping(&node);
    node.await_compiles();
    let (worker, shim) = (task.pid(), parent(task.pid()));
    assert_eq!(fs::read_link(procfs::file(shim, "exe")).unwrap(), shim_folder().join("containerd-shim-catamaran-v1"));
    assert_eq!(fs::read_link(procfs::file(worker, "exe")).unwrap(), shim_folder().join("catamaran-wasmtime"));
    assert_eq!(children(shim), [worker], "no intermediate, no compiler is left");
    assert!(children(worker).is_empty());
    for pid in [shim, worker] {
        assert_eq!(status(pid)["Threads"], "1", "threads of {:?}", fs::read_link(procfs::file(pid, "exe")));
    }
    task.discard();
    node.finish();
}

#[test]
fn an_idle_container_wakes_nobody() {
    let node = Node::start();
    let task = sleeping(&node);
    let (worker, shim) = (task.pid(), parent(task.pid()));
    let switches = || [shim, worker].map(procfs::switches);
    // Work that Start began may still be going on.
    std::thread::sleep(Duration::from_secs(1));
    let before = switches();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(switches(), before);
    task.discard();
    node.finish();
}

/// The kilobytes that are a process's alone, and changed, in its maps of this name.
fn dirty(pid: u32, map: &str) -> u64 {
    let maps = fs::read_to_string(procfs::file(pid, "smaps")).unwrap();
    let mut lines = maps.lines();
    let mut sum = 0;
    while lines.by_ref().any(|line| line.ends_with(map)) {
        let dirty = lines.by_ref().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
        sum += dirty.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
    }
    sum
}

#[test]
fn an_idle_pod_has_given_back_the_memory_that_its_creation_took() {
    let node = Node::start();
    let task = sleeping(&node);
    let shim = parent(task.pid());
    // Live blocks and frames, and what lies between them. Creations took 300 kB and more.
    let most = 240;
    wait_until(SOON, "the shim's heap and stack to shrink", || {
        let (heap, stack) = (dirty(shim, "[heap]"), dirty(shim, "[stack]"));
        (heap > 0 && stack > 0 && heap + stack <= most).then_some(())
    });
    // What was given back is there again for the next call.
    for _ in 0..3 {
        assert_eq!(task.exec("again", ["/nothing"]).code, 127);
        std::thread::sleep(Duration::from_millis(300));
    }
    task.discard();
    node.finish();
}

#[test]
fn a_worker_has_no_rights_left() {
    let node = Node::start();
    let task = sleeping(&node);
    let status = status(task.pid());
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!(status["NoNewPrivs"], "1");
    assert_eq!(status["Seccomp"], "2", "a system call filter");
    assert_eq!(status["NSpid"].split_whitespace().last(), Some("1"), "it is its namespace's first process");
    task.discard();
    let task = node.container("user").image(&wasm("sleep")).user("1000:1001").spawn();
    task.expect_stdout("ready\n");
    let status = procfs::status(task.pid());
    assert_eq!((status["Uid"].as_str(), status["Gid"].as_str()), ("1000\t1000\t1000\t1000", "1001\t1001\t1001\t1001"));
    assert_eq!(status["CapBnd"], "0000000000000000");
    task.discard();
    node.finish();
}

#[test]
fn a_worker_lives_in_namespaces_and_a_cgroup_of_its_own() {
    let node = Node::start();
    let task = sleeping(&node);
    for kind in ["mnt", "pid", "ipc", "uts", "net"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_ne!(of(&task.pid().to_string()), of("self"), "{kind}");
    }
    let cgroups = fs::read_to_string(procfs::file(task.pid(), "cgroup")).unwrap();
    let own = format!("/{}/sleep", node.namespace());
    for controller in ["memory", "pids", "cpu"] {
        let line = cgroups.lines().find(|l| l.starts_with("0::") || l.split(':').nth(1) == Some(controller)).unwrap();
        assert!(line.ends_with(&own), "{controller}: {line}");
    }
    task.discard();
    node.finish();
}

#[test]
fn a_worker_sees_its_tree_and_nothing_of_the_host() {
    let node = Node::start();
    let task = sleeping(&node);
    let mounts = fs::read_to_string(procfs::file(task.pid(), "mountinfo")).unwrap();
    let kinds: Vec<_> = mounts
        .lines()
        .map(|line| {
            let (left, right) = line.split_once(" - ").unwrap();
            (left.split(' ').nth(4).unwrap(), right.split(' ').next().unwrap())
        })
        .collect();
    assert_eq!(kinds[0], ("/", "overlay"), "{mounts}");
    assert!(!kinds.iter().any(|(_, kind)| *kind == "proc"), "no procfs: {mounts}");
    assert!(kinds.contains(&("/proc", "tmpfs")), "{mounts}");
    let root = procfs::file(task.pid(), "root");
    assert_eq!(fs::read_dir(root.join("proc")).unwrap().count(), 0);
    assert_eq!(fs::write(root.join("proc/x"), "").unwrap_err().raw_os_error(), Some(30), "EROFS");
    for line in mounts.lines().filter(|l| !l.split(' ').nth(4).unwrap().starts_with("/dev/")) {
        let options = line.split(' ').nth(5).unwrap();
        assert!(options.contains("nodev") && options.contains("nosuid"), "{line}");
    }
    // And the other way: the host's mount table does not show the container's tree.
    let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!host.contains(node.dir().to_str().unwrap()), "{host}");
    task.discard();
    node.finish();
}

/// The artifact, by its digest: it is on a mount of its own, which has no path.
fn artifact(link: &str) -> bool {
    link.strip_prefix('/').is_some_and(|name| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[test]
fn a_worker_holds_no_descriptor_of_the_host() {
    let node = Node::start();
    let task = sleeping(&node);
    let target = |number: u32| fs::read_link(procfs::file(task.pid(), "fd").join(number.to_string())).unwrap();
    let streams = [target(0), target(1), target(2)];
    // No stdin was ordered: the null device, on a mount of its own.
    assert_eq!(
        fs::metadata(procfs::file(task.pid(), "fd/0")).unwrap().rdev(),
        fs::metadata("/dev/null").unwrap().rdev()
    );
    for entry in fs::read_dir(procfs::file(task.pid(), "fd")).unwrap() {
        let number: u32 = entry.unwrap().file_name().to_str().unwrap().parse().unwrap();
        let target = target(number);
        // The engine's copies of the streams, its event loop, the guest's root, and the artifact that its memory image is
        // mapped from.
        let text = target.to_str().unwrap();
        let expected =
            streams.contains(&target) || text.starts_with("anon_inode:[event") || text == "/" || artifact(text);
        assert!(expected, "descriptor {number}: {text}");
    }
    task.discard();
    node.finish();
}

#[test]
fn killing_the_shim_ends_the_container_and_leaves_nothing() {
    for guest in ["sleep", "spin"] {
        let node = Node::start();
        let events = node.events();
        let task = node.container("victim").image(&wasm(guest)).spawn();
        task.expect_stdout("ready\n");
        let worker = task.pid();
        kill9(parent(worker));
        wait_until(SOON, "the worker to die with its shim", || (!procfs::is_there(worker)).then_some(()));
        wait_until(SOON, "containerd to forget the task", || task.try_state().is_err().then_some(()));
        wait_until(SOON, "the exit to be told", || events.of("victim").contains(&"exit".to_owned()).then_some(()));
        task.remove_container();
        node.expect_nothing_left(SOON);
        let again = node.container("victim").image(&wasm("hello")).run();
        assert_eq!(again.stdout, "hello from wasm\n", "the id is free: {again:?}");
        node.finish();
    }
}

#[test]
fn killing_the_shim_of_a_created_container_leaves_nothing() {
    let node = Node::start();
    let task = node.container("victim").image(&wasm("sleep")).create();
    let worker = task.pid();
    kill9(parent(worker));
    wait_until(SOON, "the worker to die with its shim", || (!procfs::is_there(worker)).then_some(()));
    wait_until(SOON, "containerd to forget the task", || task.try_state().is_err().then_some(()));
    task.remove_container();
    node.finish();
}

/// An order whose Create runs this shell script, with the worker's `$pid`, while the worker waits in the middle of its confinement.
fn interrupted<'n>(node: &'n Node, id: &str, script: &str) -> Container<'n> {
    let script = format!("pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); {script}");
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    node.container(id).image(&wasm("hello")).spec(move |spec| spec["hooks"] = json!({"createRuntime": [hook]}))
}

#[test]
fn a_worker_killed_while_it_confines_itself_refuses_the_container() {
    let node = Node::start();
    let refused = interrupted(&node, "victim", "kill -9 $pid").try_create().map(drop).unwrap_err();
    assert!(refused.message.contains("ended with 137 before it was ready"), "{refused}");
    node.expect_nothing_left(SOON);
    assert_eq!(node.container("victim").image(&wasm("hello")).run().code, 0, "the id is free");
    node.finish();
}

#[test]
fn a_worker_that_confines_itself_ends_with_its_shim() {
    let node = Node::start();
    let pid = node.dir().join("pid");
    // The parent-death signal is not set yet: the worker learns it from the end of the control socket.
    let script = format!("echo $pid >{}; kill -9 $PPID", pid.display());
    interrupted(&node, "victim", &script).try_create().map(drop).unwrap_err();
    let worker = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    wait_until(SOON, "the worker to end with its shim", || (!procfs::is_there(worker)).then_some(()));
    node.expect_nothing_left(SOON);
    assert_eq!(node.container("victim").image(&wasm("hello")).run().code, 0, "the id is free");
    node.finish();
}

#[test]
fn intermediates_and_workers_killed_at_any_moment_leave_nothing() {
    let node = Node::start();
    // Only by this word, its id and its last argument, are its processes known: no other test may use it.
    let stormed = || node.container("stormed").image(&wasm("hello")).args(["/hello", "stormed"]);
    stormed().run();
    let own = |process: &Path| {
        let exe = fs::read_link(process.join("exe")).unwrap_or_default();
        let words = fs::read(process.join("cmdline")).unwrap_or_default();
        exe.ends_with("catamaran-wasmtime") && words.ends_with(b"\0stormed\0")
    };
    kills_at_any_moment(&node, &stormed(), Duration::from_millis(1), own);
    assert_eq!(stormed().run().code, 0);
    node.finish();
}

#[test]
fn ps_shows_the_guests_own_words() {
    let node = Node::start();
    for engine in [Engine::Wasmtime, Engine::Wasmer] {
        let words = ["/sleep", "--serve", "two words"];
        let task = node.container("words").image(&wasm("sleep")).engine(engine).args(words).spawn();
        task.expect_stdout("ready\n");
        let shown = |pid: u32| fs::read_to_string(procfs::file(pid, "cmdline")).unwrap();
        assert_eq!(shown(task.pid()), "/sleep\0--serve\0two words\0", "{engine:?}");
        let exec = task.further("exec").args(["/sleep", "of the exec"]).add();
        let pid = exec.start();
        exec.expect_stdout("ready\n");
        assert_eq!(shown(pid), "/sleep\0of the exec\0", "{engine:?}");
        drop(exec);
        task.discard();
    }
    node.finish();
}

#[test]
fn killing_the_worker_is_an_exit_like_any_other() {
    let node = Node::start();
    let task = sleeping(&node);
    kill9(task.pid());
    assert_eq!(task.wait(SOON).code, 137);
    assert_eq!(task.delete().code, 137);
    node.finish();
}

#[test]
fn a_memory_limit_holds() {
    let node = Node::start();
    let image = wasm("hog");
    assert_eq!(node.container("free").image(&image).run().code, 0);
    assert_eq!(node.container("limited").image(&image).memory(64 << 20).run().code, 137);
    node.finish();
}

#[test]
fn the_programs_are_static_and_a_runner_has_no_compiler() {
    for name in ["containerd-shim-catamaran-v1", "catamaran-helper", "catamaran-wasmtime", "catamaran-wasmtime-compile"]
    {
        let bytes = fs::read(shim_folder().join(name)).unwrap();
        let has = |word: &str| bytes.windows(word.len()).any(|w| w == word.as_bytes());
        assert!(!has("/lib64/ld-linux") && !has("/lib/ld-linux"), "{name} names a dynamic loader");
        assert_eq!(has("cranelift_codegen"), name.ends_with("-compile"), "{name} and the code generator");
    }
    let holder = fs::read(shim_folder().join("catamaran-holder")).unwrap();
    assert!(!holder.windows(9).any(|w| w == b"/ld-linux"), "the holder names a dynamic loader");
    assert!(holder.len() < 16 << 10, "a holder is there once a pod: {} bytes", holder.len());
    let shim = fs::read(shim_folder().join("containerd-shim-catamaran-v1")).unwrap();
    assert!(!shim.windows(9).any(|w| w == b"wasmparse"), "the shim links an engine's parser");
}
