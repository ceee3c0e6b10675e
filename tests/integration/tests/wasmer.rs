//! The other engine: Wasmer runs Wasmtime's programs, and those that only Wasmer can run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::time::Duration;

use catamaran_harness::guests::wasm;
use catamaran_harness::{Container, Image, Node, Output, Task, guests, procfs, shim_folder};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);
const ENGINE: &str = "catamaran.wasm/engine";

fn module(name: &str, wat: &str) -> Image {
    let path = format!("/{name}.wasm");
    Image::new(name).file(&path, wat::parse_str(wat).unwrap()).entrypoint([&path])
}

fn on_wasmer<'n>(node: &'n Node, id: &str, image: &Image) -> Container<'n> {
    node.container(id).image(image).annotation(ENGINE, "wasmer")
}

/// Not by `ctr run`, whose CloseIO gets lost on every runtime if its own stdin ends before the task exists.
fn to_its_end(container: &Container<'_>) -> Output {
    let task = container.spawn();
    task.wait(SOON);
    task.delete()
}

fn ready<'n>(container: &Container<'n>) -> Task<'n> {
    let task = container.spawn();
    task.expect_stdout("ready\n");
    task
}

#[test]
fn preview_1_guests_behave_as_on_wasmtime() {
    let node = Node::start();
    let hello = on_wasmer(&node, "hello", &wasm("hello")).run();
    assert_eq!((hello.code, hello.stdout.as_str(), hello.stderr.as_str()), (0, "hello from wasm\n", ""));
    let args = on_wasmer(&node, "args", &wasm("args")).args(["/args", "a b", "", "-c", "ü"]).run();
    assert_eq!(args.stdout, "/args\na b\n\n-c\nü\n");
    let env = on_wasmer(&node, "env", &wasm("env").env(["FROM=image"])).env("MORE", "a=b").cwd("/tmp").run();
    assert!(env.stdout.contains("FROM=image\n") && env.stdout.contains("MORE=a=b\n"), "{env:?}");
    assert!(env.stdout.contains("PWD=/tmp\n"), "{env:?}");
    for code in [0, 1, 42, 45, 126, 134, 255] {
        let exit = on_wasmer(&node, "exit", &wasm("exit")).args(["/exit", &code.to_string()]).run();
        assert_eq!((exit.code, exit.stderr.as_str()), (code, ""));
    }
    let trap = on_wasmer(&node, "trap", &wasm("trap")).run();
    assert_eq!(trap.code, 134, "{trap:?}");
    assert!(
        trap.stderr.starts_with("catamaran: the guest trapped: wasm trap: unreachable\nwasm backtrace:\n"),
        "{trap:?}"
    );
    let text = r#"(module (memory (export "memory") 1) (func $_ZN3app5outerEi (export "_start") unreachable))"#;
    let cpp = on_wasmer(&node, "cpp", &guests::of("cpp", wat::parse_str(text).unwrap())).run();
    assert!(cpp.stderr.ends_with("!app::outer(int)\n"), "{cpp:?}");
    node.finish();
}

#[test]
fn streams_are_copied_to_their_end() {
    let node = Node::start();
    let text = "one line\n".repeat(50_000);
    let cat = to_its_end(&on_wasmer(&node, "cat", &wasm("cat")).stdin(&text));
    assert!(cat.stdout == text, "{} bytes came back of {}", cat.stdout.len(), text.len());
    let cat = to_its_end(&on_wasmer(&node, "cat", &wasm("cat")));
    assert_eq!((cat.code, cat.stdout.as_str()), (0, ""));
    let task = on_wasmer(&node, "open", &wasm("cat")).hold_stdin().spawn();
    task.write("first\n");
    task.expect_stdout("first\n");
    task.write("second\n");
    task.close_stdin();
    assert_eq!(task.wait(SOON).code, 0);
    assert_eq!(task.delete().stdout, "first\nsecond\n");
    node.finish();
}

#[test]
fn file_operations_are_done_by_the_kernel() {
    let node = Node::start();
    let data = node.dir().join("data");
    fs::create_dir(&data).unwrap();
    let container =
        |options| on_wasmer(&node, "write", &wasm("write")).bind(&data, "/some/new/place", ["rbind", options]);
    let written = container("rw").args(["/write", "/some/new/place/file", "text"]).run();
    assert_eq!((written.code, written.stderr.as_str()), (0, ""));
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "text");
    // wasmer-wasix tries to open for writing first, whatever the guest asked for.
    let read = on_wasmer(&node, "read", &wasm("read")).bind(&data, "/d", ["rbind", "ro"]);
    assert_eq!(read.args(["/read", "/d/file"]).run().stdout, "text");
    let refused = container("ro").args(["/write", "/some/new/place/file", "other"]).run();
    assert!(refused.code != 0 && refused.stderr == "path_open failed\n", "{refused:?}");
    let created = container("ro").args(["/write", "/some/new/place/new", "other"]).run();
    assert!(created.code != 0 && created.stderr == "path_open failed\n", "{created:?}");
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "text");
    assert!(!data.join("new").exists());
    let proc = on_wasmer(&node, "proc", &wasm("read")).args(["/read", "/proc/self/mem"]).run();
    assert!(proc.code != 0 && proc.stdout.is_empty(), "{proc:?}");
    node.finish();
}

#[test]
fn a_guest_without_a_handler_ends_on_sigterm_at_once() {
    let node = Node::start();
    for guest in ["sleep", "spin"] {
        let task = ready(&on_wasmer(&node, guest, &wasm(guest)));
        task.kill("TERM");
        assert_eq!(task.wait(Duration::from_secs(2)).code, 143, "{guest}");
        task.delete();
    }
    node.finish();
}

/// A guest with the handler and the table of wasix-libc, which runs `setup`, prints that it is ready and loops with `turn`.
fn with_signals(name: &str, setup: &str, turn: &str) -> Image {
    let wat = format!(
        r#"(module
  (import "wasix_32v1" "callback_signal" (func $register (param i32 i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "env" "memory" (memory 1 1 shared))
  (export "memory" (memory 0))
  (data (i32.const 16) "__wasm_signal") (data (i32.const 32) "ready\n")
  (func (export "__wasm_signal") (param $signal i32)
    (drop (i32.load offset=1024 (i32.mul (local.get $signal) (i32.const 20))))
    (call $exit (i32.const 7)))
  (func (export "_start")
    (call $register (i32.const 16) (i32.const 13))
    {setup}
    (i32.store (i32.const 64) (i32.const 32)) (i32.store (i32.const 68) (i32.const 6))
    (drop (call $write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 80)))
    (loop $again {turn} (br $again))))"#
    );
    module(name, &wat)
}

#[test]
fn a_signal_reaches_its_handler_and_ends_a_guest_without_one() {
    let node = Node::start();
    // The table's word for SIGTERM: 1024 + 20 * 15.
    let handled = "(i32.store (i32.const 1324) (i32.const 5))";
    let call = "(drop (call $yield))";
    for (name, setup, turn, code) in
        [("handled", handled, call, 7), ("default", "", call, 143), ("spinning", "", "", 143)]
    {
        let task = ready(&on_wasmer(&node, name, &with_signals(name, setup, turn)));
        task.kill("TERM");
        assert_eq!(task.wait(Duration::from_secs(2)).code, code, "{name}");
        task.delete();
    }
    // A guest that handles the signal but makes no call never gets it: that is its own doing.
    let task = ready(&on_wasmer(&node, "busy", &with_signals("busy", handled, "")));
    task.kill("TERM");
    std::thread::sleep(Duration::from_millis(500));
    task.kill("KILL");
    assert_eq!(task.wait(SOON).code, 137);
    task.delete();
    node.finish();
}

#[test]
fn a_worker_is_two_threads_that_sleep_and_has_no_rights() {
    let node = Node::start();
    let task = ready(&on_wasmer(&node, "sleep", &wasm("sleep")));
    let pid = task.pid();
    assert_eq!(fs::read_link(format!("/proc/{pid}/exe")).unwrap(), shim_folder().join("catamaran-wasmer"));
    // Work that Start began may still be going on.
    std::thread::sleep(Duration::from_secs(1));
    let before = procfs::status(pid);
    assert_eq!(before["Threads"], "2", "the guest's, and the one for timers");
    assert_eq!((before["CapEff"].as_str(), before["CapBnd"].as_str()), ("0000000000000000", "0000000000000000"));
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let text = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        assert!(text.contains("Seccomp:\t2\n") && text.contains("NoNewPrivs:\t1\n"), "{text}");
    }
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let path = entry.unwrap().path();
        let target = fs::read_link(&path).unwrap();
        let text = target.to_str().unwrap();
        let stream = ["0", "1", "2"].contains(&path.file_name().unwrap().to_str().unwrap());
        let copy = fs::read_link(format!("/proc/{pid}/fd/0")).unwrap() == target;
        assert!(stream || copy || text.starts_with("anon_inode:[event"), "{path:?}: {text}");
    }
    std::thread::sleep(Duration::from_secs(2));
    let after = procfs::status(pid);
    for key in ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    task.discard();
    node.finish();
}

#[test]
fn a_memory_limit_holds() {
    let node = Node::start();
    let hog = wasm("hog");
    assert_eq!(on_wasmer(&node, "free", &hog).run().code, 0);
    assert_eq!(on_wasmer(&node, "limited", &hog).memory(64 << 20).run().code, 137);
    // A request for more than any machine has is refused, and the guest goes on.
    let greedy = module(
        "greedy",
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
             (memory (export "memory") 1 2) (func (export "_start")
               (if (i32.eq (memory.grow (i32.const 2)) (i32.const -1)) (then (call $exit (i32.const 7))))))"#,
    );
    assert_eq!(on_wasmer(&node, "greedy", &greedy).run().code, 7);
    node.finish();
}

/// Starts threads that wait for ever until no more can be had, then prints their number in four digits and exits with 9.
const THREADS: &str = r#"(module
  (import "wasix_32v1" "thread_spawn_v2" (func $spawn (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "env" "memory" (memory 2 2 shared))
  (export "memory" (memory 0))
  (func (export "wasi_thread_start") (param i32 i32)
    (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
    (drop (memory.atomic.wait32 (i32.const 4) (i32.const 0) (i64.const -1))))
  (func $digit (param $at i32) (param $number i32)
    (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10)))))
  (func (export "_start") (local $made i32)
    (block $full (loop $more
      (br_if $full (call $spawn (i32.const 1024) (i32.const 64)))
      (local.set $made (i32.add (local.get $made) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $made) (i32.const 2000)))))
    (call $digit (i32.const 256) (i32.div_u (local.get $made) (i32.const 1000)))
    (call $digit (i32.const 257) (i32.div_u (local.get $made) (i32.const 100)))
    (call $digit (i32.const 258) (i32.div_u (local.get $made) (i32.const 10)))
    (call $digit (i32.const 259) (local.get $made))
    (i32.store8 (i32.const 260) (i32.const 10))
    (i32.store (i32.const 128) (i32.const 256)) (i32.store (i32.const 132) (i32.const 5))
    (drop (call $write (i32.const 1) (i32.const 128) (i32.const 1) (i32.const 144)))
    (call $exit (i32.const 9))))"#;

#[test]
fn threads_are_bounded_and_a_guest_lives_on_without_another() {
    let node = Node::start();
    let image = module("threads", THREADS);
    // 512, the first of which is the program's own.
    let threads = on_wasmer(&node, "threads", &image).run();
    assert_eq!((threads.code, threads.stdout.as_str()), (9, "0511\n"), "{threads:?}");
    // The cgroup's limit: of the ten, one is the event loop's and one the program's.
    let limited = on_wasmer(&node, "limited", &image).spec(|spec| {
        spec["linux"]["resources"]["pids"] = json!({"limit": 10});
    });
    let limited = to_its_end(&limited);
    assert_eq!((limited.code, limited.stdout.as_str()), (9, "0008\n"), "{limited:?}");
    node.finish();
}

#[test]
fn two_threads_are_enough_and_one_ends_with_134() {
    let node = Node::start();
    let with = |id: &str, most: u32| {
        on_wasmer(&node, id, &wasm("hello")).spec(move |spec| {
            spec["linux"]["resources"]["pids"] = json!({"limit": most});
        })
    };
    assert_eq!(to_its_end(&with("two", 2)).stdout, "hello from wasm\n");
    let one = to_its_end(&with("one", 1));
    assert_eq!(one.code, 134, "{one:?}");
    assert!(one.stderr.starts_with("catamaran: the guest could not run: "), "{one:?}");
    node.finish();
}

#[test]
fn a_runner_has_no_compiler_no_registry_and_no_loader() {
    for name in ["catamaran-wasmer", "catamaran-wasmer-compile"] {
        let bytes = fs::read(shim_folder().join(name)).unwrap();
        let has = |word: &str| bytes.windows(word.len()).any(|w| w == word.as_bytes());
        assert!(!has("/lib64/ld-linux") && !has("/lib/ld-linux"), "{name} names a dynamic loader");
        assert_eq!(has("cranelift_codegen"), name.ends_with("-compile"), "{name} and the code generator");
        // The last one as a whole symbol name: the linker's warning about it is in every static program.
        for absent in ["reqwest", "hyper_util", "rustls", "registry.wasmer.io", "\0getaddrinfo\0"] {
            assert!(!has(absent), "{name} has {absent}");
        }
    }
}
