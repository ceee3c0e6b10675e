//! Former faults, each test named after the symptom.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use catamaran_harness::guests::wasm;
use catamaran_harness::{Code, Image, Node, State, guests, wait_until};

const SOON: Duration = Duration::from_secs(10);

/// A module whose compilation takes seconds.
fn slow() -> Image {
    Image::new("slow").file("/slow.wasm", guests::large(1200)).entrypoint(["/slow.wasm"])
}

/// The pids of the node's programs whose name begins like this.
fn programs(node: &Node, name: &str) -> Vec<u32> {
    let belongs = |process: &Path| {
        let read = |what: &str| fs::read(process.join(what)).unwrap_or_default();
        let exe = fs::read_link(process.join("exe")).unwrap_or_default();
        exe.file_name().is_some_and(|n| n.to_string_lossy() == name)
            && [read("cmdline"), read("environ"), read("cgroup")]
                .iter()
                .any(|text| String::from_utf8_lossy(text).contains(node.namespace()))
    };
    let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    all.filter(|process| belongs(process)).filter_map(|process| process.file_name()?.to_str()?.parse().ok()).collect()
}

fn shims(node: &Node) -> Vec<u32> {
    programs(node, "containerd-shim-catamaran-v1")
}

#[test]
fn an_id_was_taken_for_a_moment_after_its_deletion() {
    let node = Node::start();
    let order = node.container("same").image(&wasm("hello"));
    let mut task = order.create();
    for _ in 0..20 {
        task.start();
        task.wait(SOON);
        task.try_delete().unwrap();
        task = order.try_create_again().unwrap();
    }
    task.discard();
    node.finish();
}

#[test]
fn a_client_that_gave_up_left_the_shim_for_ever() {
    let node = Node::start();
    // Cached first, so that the last container waits for no compile: the large module's goes on for as long as the machine is busy.
    assert_eq!(node.container("hello").image(&wasm("hello")).run().code, 0);
    let order = node.container("slow").image(&slow()).limit(Duration::from_millis(700));
    assert!(order.try_create().is_err(), "it was created in no time: the test needs a larger module");
    wait_until(SOON, "the shim to end", || shims(&node).is_empty().then_some(()));
    node.expect_nothing_left(SOON);
    let again = node.container("slow").image(&wasm("hello")).run();
    assert_eq!(again.stdout, "hello from wasm\n", "{again:?}");
    node.finish();
}

#[test]
fn a_refused_creation_killed_strangers_in_its_cgroup() {
    let node = Node::start();
    let cut = Image::new("cut").file("/cut.wasm", &guests::wat("hello")[..60]).entrypoint(["/cut.wasm"]);
    let hierarchy = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(Path::new).into_iter().find(|p| p.exists()).unwrap();
    let folder = hierarchy.join(node.namespace()).join("same");
    fs::create_dir_all(&folder).unwrap();
    let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(folder.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    for image in [cut, wasm("hello")] {
        let status = node.container("same").image(&image).try_create().err().unwrap();
        assert!(stranger.try_wait().unwrap().is_none(), "the stranger was killed: {status}");
        assert_eq!(status.code, Code::FailedPrecondition, "{status}");
        assert!(status.message.contains("has processes in it"), "{status}");
    }
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    fs::remove_dir(&folder).unwrap();
    node.finish();
}

#[test]
fn a_start_after_a_kill_was_an_internal_error_and_a_running_task() {
    let node = Node::start();
    for n in 0..10 {
        let task = node.container(&format!("c{n}")).image(&wasm("sleep")).create();
        task.kill("KILL");
        // The worker may still be dying, and accept the start.
        if let Err(status) = task.try_start() {
            assert_eq!(status.code, Code::FailedPrecondition, "{status}");
            assert_ne!(task.state(), State::Running);
        }
        task.wait(SOON);
        task.delete();
    }
    node.finish();
}

#[test]
fn a_fifo_for_a_namespace_held_up_the_shim() {
    let node = Node::start();
    let fifo = node.dir().join("not-a-namespace");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let with = format!("network:{}", fifo.display());
    let status = node.container("f").image(&wasm("hello")).flag(["--with-ns", &with]).try_create().err().unwrap();
    assert!(status.code == Code::InvalidArgument && status.message.contains("not a namespace"), "{status}");
    node.finish();
}

#[test]
fn path_and_links_cost_hours_of_the_shims_thread() {
    let node = Node::start();
    let mut image = wasm("hello").dir("/a", 0o755, 0, 0).link("/l0", "/a");
    for n in 1..39 {
        image = image.link(&format!("/l{n}"), &format!("{}l{}", "a/../".repeat(800), n - 1));
    }
    let path = format!("PATH={}", vec!["/l38"; 20_000].join(":"));
    let begin = Instant::now();
    let status = node.container("f").image(&image.env([path])).args(["nothing"]).try_create().err().unwrap();
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert!(status.code == Code::InvalidArgument && status.message.len() < 1000, "{status}");
    node.finish();
}

#[test]
fn control_characters_of_a_module_reached_the_terminal() {
    let node = Node::start();
    let module =
        wat::parse_str("(module (import \"env\" \"\\1b[31m\\07red\" (func)) (func (export \"_start\")))").unwrap();
    let image = Image::new("red").file("/red.wasm", module).entrypoint(["/red.wasm"]);
    let status = node.container("red").image(&image).try_create().err().unwrap();
    assert!(status.message.contains("red") && !status.message.contains(['\u{1b}', '\u{7}']), "{status:?}");
    node.finish();
}

#[test]
fn the_hosts_dev_null_could_be_changed_through_a_stream_or_a_mask() {
    let node = Node::start();
    // kcore is among the masked paths of every default spec: a mask over a file is the host's /dev/null.
    let volume = node.dir().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("kcore"), "").unwrap();
    let touch = wat::parse_str(
        r#"(module
             (import "wasi_snapshot_preview1" "path_filestat_set_times"
               (func $touch (param i32 i32 i32 i32 i64 i64 i32) (result i32)))
             (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
             (memory (export "memory") 1) (data (i32.const 0) "proc/kcore")
             (func (export "_start")
               (call $exit (call $touch (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 10)
                 (i64.const 1000000000000000000) (i64.const 1000000000000000000) (i32.const 5)))))"#,
    );
    let image = Image::new("touch").file("/touch.wasm", touch.unwrap()).entrypoint(["/touch.wasm"]);
    let before = fs::metadata("/dev/null").unwrap();
    let touched = node.container("touch").image(&image).bind(&volume, "/proc", ["rbind", "rw"]).run();
    let after = fs::metadata("/dev/null").unwrap();
    assert_eq!((before.mode(), before.mtime()), (after.mode(), after.mtime()), "{touched:?}");
    assert_ne!(touched.code, 0, "{touched:?}");
    // The streams: on a mount that is read-only, and is not the host's.
    let task = node.container("sleep").image(&wasm("sleep")).spawn();
    task.expect_stdout("ready\n");
    let info = fs::read_to_string(format!("/proc/{}/fdinfo/0", task.pid())).unwrap();
    let mount = info.lines().find_map(|l| l.strip_prefix("mnt_id:")).unwrap().trim().to_owned();
    let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!host.lines().any(|line| line.split(' ').next() == Some(&mount)), "stdin lies on the host's mount {mount}");
    task.discard();
    node.finish();
}

#[test]
fn a_procfs_came_in_by_a_volume() {
    let node = Node::start();
    let kitchen = Image::new("kitchen").file("/kitchen.wasm", guests::go("kitchen")).entrypoint(["/kitchen.wasm"]);
    for (source, destination, place) in [("/proc", "/host/proc", "/host/proc"), ("/", "/host", "/host/proc")] {
        let order = node.container("k").image(&kitchen).bind(Path::new(source), destination, ["rbind", "ro"]);
        let mem = order.clone().args(["/kitchen.wasm", "read", &format!("{place}/self/status")]).run();
        assert!(mem.code == 1 && mem.stdout.is_empty(), "{source}: {mem:?}");
        let list = order.args(["/kitchen.wasm", "ls", place]).run();
        assert_eq!((list.code, list.stdout.as_str()), (0, ""), "{source}: {list:?}");
    }
    node.finish();
}

#[test]
fn descriptors_that_containerd_inherited_reached_the_worker() {
    for name in ["catamaran-wasmtime", "catamaran-wasmtime-compile"] {
        let program = catamaran_harness::shim_folder().join(name);
        let run = format!("exec 9</etc; exec {} best - command", program.display());
        // A silent socket, so that both wait for their job.
        let (_ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let stdin = std::process::Stdio::from(std::os::fd::OwnedFd::from(theirs));
        let mut child = Command::new("sh").args(["-c", &run]).stdin(stdin).spawn().unwrap();
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        wait_until(SOON, "the program to wait for its input", || {
            let runs = fs::read_link(process.join("exe")).ok()?.file_name()?.to_string_lossy() == name;
            let call = fs::read_to_string(process.join("syscall")).ok()?;
            let number = call.split(' ').next()?.parse::<i64>().ok()?;
            // read and recvmsg, of x86-64 and of aarch64.
            (runs && [0, 47, 63, 212].contains(&number)).then_some(())
        });
        let links = fs::read_dir(process.join("fd")).unwrap().map(|e| fs::read_link(e.unwrap().path()).unwrap());
        let links: Vec<_> = links.collect();
        let status = fs::read_to_string(process.join("status")).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        if name.ends_with("-compile") {
            for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapBnd:\t0000000000000000"] {
                assert!(status.contains(line), "{line} of a compile process: {status}");
            }
            assert!(!status.contains("Uid:\t0"), "{status}");
        }
        assert!(!links.contains(&PathBuf::from("/etc")), "{name}: {links:?}");
    }
}

#[test]
fn a_reader_of_the_artifact_could_change_it() {
    let node = Node::start();
    let task = node.container("sleep").image(&wasm("sleep")).spawn();
    task.expect_stdout("ready\n");
    let folder = PathBuf::from(format!("/proc/{}/fd", task.pid()));
    let artifact = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find(|path| {
        fs::read_link(path).unwrap().to_string_lossy().len() > 64 && fs::metadata(path).unwrap().is_file()
    });
    if let Some(artifact) = artifact {
        let refused = fs::OpenOptions::new().write(true).open(&artifact).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(30), "EROFS: {refused}");
    }
    task.discard();
    node.finish();
}
