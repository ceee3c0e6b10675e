//! The container's output by FIFOs, and the shim's log: readers that are slow, gone or back, and leftovers at the end. The input is in
//! `input.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use catamaran_harness::guests::wasm;
use catamaran_harness::{Engine, Fifo, Image, Node, State, Task, guests, procfs, wait_until};
use containerd_shim_protos::api::{
    CloseIORequest, ConnectRequest, CreateTaskRequest, DeleteRequest, StartRequest, StateRequest, WaitRequest,
};
use containerd_shim_protos::{Client, TaskClient, ttrpc};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

const SOON: Duration = Duration::from_secs(10);
const NONBLOCK: i32 = OFlags::NONBLOCK.bits().cast_signed();
/// The size of one write of the flood.
const BLOCK: usize = 64 << 10;

/// A guest that writes this many blocks to stdout, where each 8 bytes are their own number, and then "done" to stderr. Exits with the error
/// number of a write that fails.
fn flood(blocks: usize) -> Image {
    let text = format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 2) (data (i32.const 32) "done\n")
          (func $all (param $fd i32) (param $at i32) (param $len i32) (local $errno i32)
            (loop $next
              (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $len))
              (local.set $errno (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
              (if (local.get $errno) (then (call $exit (local.get $errno))))
              (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
              (local.set $len (i32.sub (local.get $len) (i32.load (i32.const 8))))
              (br_if $next (local.get $len))))
          (func (export "_start") (local $blocks i32) (local $number i64) (local $at i32)
            (loop $block
              (local.set $at (i32.const 65536))
              (loop $word
                (i64.store (local.get $at) (local.get $number))
                (local.set $number (i64.add (local.get $number) (i64.const 1)))
                (local.set $at (i32.add (local.get $at) (i32.const 8)))
                (br_if $word (i32.lt_u (local.get $at) (i32.const 131072))))
              (call $all (i32.const 1) (i32.const 65536) (i32.const 65536))
              (local.set $blocks (i32.add (local.get $blocks) (i32.const 1)))
              (br_if $block (i32.lt_u (local.get $blocks) (i32.const {blocks}))))
            (call $all (i32.const 2) (i32.const 32) (i32.const 5))))"#
    );
    guests::of(&format!("flood-{blocks}"), wat::parse_str(text).unwrap())
}

/// The flood's output, block by block.
fn pattern(block: usize) -> Vec<u8> {
    let first = (block * BLOCK / 8) as u64;
    (first..first + BLOCK as u64 / 8).flat_map(u64::to_le_bytes).collect()
}

fn fifo(node: &Node, name: &str) -> Fifo {
    Fifo::make(node.dir().join(name))
}

/// Returns the digest and the length of all that comes.
fn digest(reader: &mut File) -> (Vec<u8>, usize) {
    let (mut digest, mut chunk, mut count) = (Sha256::new(), vec![0; BLOCK], 0);
    while let length @ 1.. = reader.read(&mut chunk).unwrap() {
        digest.update(&chunk[..length]);
        count += length;
    }
    (digest.finalize().to_vec(), count)
}

/// A process's open files.
fn open(pid: u32) -> Vec<PathBuf> {
    let mut links: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .collect();
    links.sort();
    links
}

/// Waits until the worker sleeps in a write to a pipe.
fn expect_blocked(task: &Task<'_>) {
    wait_until(SOON, "the guest to wait in its write", || {
        let threads = fs::read_dir(format!("/proc/{}/task", task.pid())).ok()?;
        let waits =
            |thread: PathBuf| fs::read_to_string(thread.join("wchan")).is_ok_and(|name| name.contains("pipe_write"));
        threads.flatten().any(|thread| waits(thread.path())).then_some(())
    });
}

#[test]
fn a_gigabyte_arrives_whole_and_in_order() {
    const BLOCKS: usize = 16 << 10;
    let node = Node::start();
    let mut expected = Sha256::new();
    (0..BLOCKS).for_each(|block| expected.update(pattern(block)));
    let expected = expected.finalize().to_vec();
    for engine in Engine::ALL {
        let path = fifo(&node, engine.name());
        let mut out = path.reader();
        let order = node.container("flood").engine(engine).image(&flood(BLOCKS)).stream("stdout", path.path());
        let task = order.create();
        let begin = Instant::now();
        let reading = std::thread::spawn(move || digest(&mut out));
        task.start();
        assert_eq!(task.wait(Duration::from_secs(120)).code, 0);
        let (digest, count) = reading.join().unwrap();
        println!("{}: {count} bytes in {:?}", engine.name(), begin.elapsed());
        assert_eq!((count, &digest), (BLOCKS * BLOCK, &expected), "{engine:?}");
        assert_eq!(task.delete().stderr, "done\n");
    }
    node.finish();
}

#[test]
fn a_reader_that_goes_away_and_comes_back_misses_nothing() {
    const BLOCKS: usize = 32;
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let path = fifo(&node, "out");
        let mut first = path.reader();
        let task = node.container("flood").image(&flood(BLOCKS)).stream("stdout", path.path()).spawn();
        let mut text = vec![0; 3 * BLOCK + 12_345];
        first.read_exact(&mut text).unwrap();
        drop(first);
        // containerd is dead: a full pipe, not a broken one.
        expect_blocked(&task);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!((task.state(), task.stderr().as_str()), (State::Running, ""));
        path.reader().read_to_end(&mut text).unwrap();
        assert_eq!(task.wait(SOON).code, 0);
        let expected: Vec<u8> = (0..BLOCKS).flat_map(pattern).collect();
        assert!(text == expected, "{engine:?}: {} bytes of {}", text.len(), expected.len());
        assert_eq!(task.delete().stderr, "done\n");
        node.finish();
    }
}

#[test]
fn an_exit_is_reported_although_nobody_reads_the_output() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        for (signal, code) in [("TERM", 143), ("KILL", 137)] {
            let path = fifo(&node, signal);
            let order = node.container("flood").image(&flood(32)).stream("stdout", path.path());
            let task = order.spawn();
            expect_blocked(&task);
            let begin = Instant::now();
            assert!(task.try_pids().unwrap() == [task.pid()] && task.state() == State::Running);
            task.kill(signal);
            assert_eq!(task.wait(SOON).code, code, "{engine:?}");
            let id = task.id().to_owned();
            let connected = shim(&node, &task).connect(patience(), &ConnectRequest { id, ..Default::default() });
            let left = open(connected.unwrap().shim_pid);
            assert!(!left.contains(&PathBuf::from(path.path())), "of the streams nothing is kept: {left:?}");
            task.delete();
            assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
        }
        node.finish();
    }
}

/// A client on a busy machine may open a stream only after a short guest has ended.
#[test]
fn a_client_that_comes_after_the_end_reads_the_output() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let path = fifo(&node, "late");
        let task = node.container("late").image(&wasm("hello")).stream("stdout", path.path()).spawn();
        let status = procfs::file(task.pid(), "status");
        wait_until(SOON, "the guest to end", || {
            fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ")).then_some(())
        });
        let path = path.path().to_owned();
        // Opening waits for a writer.
        let reader = std::thread::spawn(move || fs::read_to_string(path).unwrap());
        wait_until(SOON, "the client to read the output", || reader.is_finished().then_some(()));
        assert_eq!(reader.join().unwrap(), "hello from wasm\n", "{engine:?}");
        assert_eq!(task.wait(SOON).code, 0);
        task.delete();
        node.finish();
    }
}

fn patience() -> ttrpc::context::Context {
    ttrpc::context::with_timeout(10_000_000_000)
}

/// Connects to a task's shim, by the socket in containerd's record.
fn shim(node: &Node, task: &Task<'_>) -> TaskClient {
    let text = fs::read(node.bundle(task.id()).join("bootstrap.json")).unwrap();
    let bootstrap: serde_json::Value = serde_json::from_slice(&text).unwrap();
    TaskClient::new(Client::connect(bootstrap["address"].as_str().unwrap()).unwrap())
}

/// Makes the bundle of a further container of a task's shim, `cat`: the task's own specification, with a tree and a cgroup of its own.
fn further(node: &Node, task: &Task<'_>, name: &str) -> PathBuf {
    let bundle = node.folder(name);
    fs::create_dir_all(bundle.join("rootfs")).unwrap();
    fs::write(bundle.join("rootfs/cat"), guests::wat("cat")).unwrap();
    let text = fs::read(node.bundle(task.id()).join("config.json")).unwrap();
    let mut spec: serde_json::Value = serde_json::from_slice(&text).unwrap();
    spec["linux"]["cgroupsPath"] = format!("/{}/{name}", node.namespace()).into();
    spec["process"]["args"] = serde_json::json!(["/cat"]);
    fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
    bundle
}

/// Runs the container of such a bundle to its end, through the shim itself; it writes `text` to `output`.
fn echo(shim: &TaskClient, bundle: &Path, input: &Fifo, output: &str, text: &str) {
    let id = || bundle.file_name().unwrap().to_string_lossy().into_owned();
    let mut writer = input.writer();
    let create = CreateTaskRequest {
        id: id(),
        bundle: bundle.to_string_lossy().into_owned(),
        stdin: input.path().to_owned(),
        stdout: output.to_owned(),
        ..Default::default()
    };
    shim.create(patience(), &create).unwrap();
    shim.start(patience(), &StartRequest { id: id(), ..Default::default() }).unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    drop(writer);
    shim.close_io(patience(), &CloseIORequest { id: id(), stdin: true, ..Default::default() }).unwrap();
    let exit = shim.wait(patience(), &WaitRequest { id: id(), ..Default::default() }).unwrap();
    assert_eq!(exit.exit_status, 0);
    shim.delete(patience(), &DeleteRequest { id: id(), ..Default::default() }).unwrap();
}

#[test]
fn a_guest_whose_output_nobody_reads_blocks_no_other() {
    let node = Node::start();
    let path = fifo(&node, "out");
    let task = node.container("flood").image(&flood(32)).stream("stdout", path.path()).spawn();
    expect_blocked(&task);
    let (shim, pid) = (shim(&node, &task), procfs::parent(task.pid()));
    let bundle = further(&node, &task, "further");
    let mut before = None;
    for round in 0..6 {
        let begin = Instant::now();
        let (input, output) = (fifo(&node, &format!("in-{round}")), fifo(&node, &format!("out-{round}")));
        let mut text = String::new();
        if round % 2 == 0 {
            let mut reader = output.reader();
            echo(&shim, &bundle, &input, output.path(), "by a FIFO");
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "by a FIFO");
        } else {
            let file = node.dir().join(format!("file-{round}"));
            echo(&shim, &bundle, &input, &format!("file://{}", file.display()), "by a logger");
            assert_eq!(fs::read_to_string(file).unwrap(), "by a logger");
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        let begin = Instant::now();
        shim.state(patience(), &StateRequest { id: "flood".to_owned(), ..Default::default() }).unwrap();
        assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
        // The first rounds may have opened lasting descriptors, such as the connection to containerd.
        if round == 1 {
            before = Some(open(pid));
        }
    }
    let (before, after) = (before.unwrap(), open(pid));
    assert_eq!(before.len(), after.len(), "a descriptor is kept: {before:?}, {after:?}");
    let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    wait_until(SOON, "no process to be left, no zombie", || {
        (children().trim() == task.pid().to_string()).then_some(())
    });
    task.discard();
    node.finish();
}

/// A stopped process, which reads nothing; it goes on when this is dropped.
struct Stopped(u32);

impl Stopped {
    fn stop(pid: u32) -> Self {
        let this = Self(pid);
        this.signal("STOP");
        this
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.0.to_string()]).status().unwrap().success());
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal("CONT");
    }
}

#[test]
fn a_full_log_blocks_no_call() {
    let node = Node::start();
    let task = node.container("sleep").image(&wasm("sleep")).spawn();
    task.expect_stdout("ready\n");
    let shim = shim(&node, &task);
    let bundle = further(&node, &task, "further");
    let (input, output) = (fifo(&node, "in"), fifo(&node, "out"));
    {
        let _stopped = Stopped::stop(node.containerd_pid());
        let log = node.bundle("sleep").join("log");
        let mut log = File::options().write(true).custom_flags(NONBLOCK).open(log).unwrap();
        while log.write(b"\n").is_ok() {}
        let mut reader = output.reader();
        // Each of these makes two lines in the log.
        for round in 0..20 {
            let begin = Instant::now();
            echo(&shim, &bundle, &input, output.path(), "text");
            assert!(begin.elapsed() < Duration::from_secs(5), "round {round}: {:?}", begin.elapsed());
        }
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "text".repeat(20));
        assert!(log.write(b"\n").is_err(), "somebody read the log: the test tried nothing");
    }
    assert_eq!(task.state(), State::Running);
    task.kill("TERM");
    assert_eq!(task.wait(SOON).code, 143);
    wait_until(SOON, "the log to go on", || node.log().contains("ended id=sleep").then_some(()));
    task.delete();
    node.finish();
}

#[test]
fn a_guest_may_close_its_output() {
    let text = r#"(module
      (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (data (i32.const 32) "text\n")
      (func (export "_start")
        (i32.store (i32.const 0) (i32.const 32)) (i32.store (i32.const 4) (i32.const 5))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (if (call $close (i32.const 1)) (then (call $exit (i32.const 99))))
        (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $exit (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
    let image = guests::of("closes", wat::parse_str(text).unwrap());
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let task = node.container("closes").image(&image).spawn();
        // EBADF, which the guest itself caused.
        assert_eq!(task.wait(SOON).code, 8, "{engine:?}");
        let left = task.delete();
        assert_eq!((left.stdout.as_str(), left.stderr.as_str()), ("text\n", "text\n"), "{engine:?}");
        node.finish();
    }
}
