//! Containers on a terminal: input and output, its size, the receivers of its signals, and the last output. Tests that hold on runc's shim
//! too also run there, to test the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::io::Read;
use std::time::Duration;

use catamaran_harness::{Code, Engine, Fifo, Image, Node, Runtime, guests, procfs, wait_until};
use catamaran_integration::everywhere;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn typed_text_is_echoed_and_read_line_by_line() {
    everywhere(|node, runtime| {
        let task = node.container("cat").image(&guests::image(runtime, "cat")).terminal().hold_stdin().spawn();
        task.write("typed\n");
        // Once from the terminal's echo, once from the program.
        task.expect_stdout("typed\r\ntyped\r\n");
        // A client that goes away does not end the terminal: another one may come.
        task.end_stdin();
        let waited = task.try_wait(Duration::from_millis(300));
        assert_eq!(waited.map_err(|status| status.code), Err(Code::DeadlineExceeded), "{runtime:?}");
        // No input can come any more: the terminal is hung up. A native pid 1 takes no SIGHUP, and finds its terminal gone.
        task.try_close_io().unwrap();
        let code = if runtime == Runtime::Runc { 5 } else { 129 };
        assert_eq!(task.wait(SOON).code, code, "{runtime:?}");
        task.delete();
        let task = node.container("end").image(&guests::image(runtime, "cat")).terminal().hold_stdin().spawn();
        task.write("last\n\u{4}");
        assert_eq!(task.wait(SOON).code, 0, "{runtime:?}: the key of the input's end");
        assert_eq!(task.delete().stdout, "last\r\nlast\r\n", "{runtime:?}");
    });
}

#[test]
fn signal_keys_end_a_guest() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        for (key, code) in [("\u{3}", 130), ("\u{1c}", 131)] {
            let task = node.container("cat").image(&guests::image(Runtime::Catamaran, "cat")).terminal();
            let task = task.hold_stdin().spawn();
            task.write(key);
            assert_eq!(task.wait(SOON).code, code, "{engine:?}: {key:?}");
            task.delete();
        }
        node.finish();
    }
}

#[test]
fn a_terminal_has_the_size_that_was_asked_for_last() {
    everywhere(|node, runtime| {
        let order = node.container("cat").image(&guests::image(runtime, "cat")).terminal().hold_stdin();
        let order = order.spec(|spec| spec["process"]["consoleSize"] = serde_json::json!({"width": 91, "height": 27}));
        let task = order.create();
        assert_eq!(procfs::window(task.pid()), (91, 27), "{runtime:?}: of the spec");
        task.try_resize(120, 40).unwrap();
        assert_eq!(procfs::window(task.pid()), (120, 40), "{runtime:?}: before its start");
        task.start();
        task.try_resize(132, 50).unwrap();
        assert_eq!(procfs::window(task.pid()), (132, 50), "{runtime:?}");
        task.kill("KILL");
        task.wait(SOON);
        task.try_resize(80, 25).unwrap();
        task.delete();
    });
}

#[test]
fn impossible_sizes_and_containers_without_a_terminal_are_refused() {
    let node = Node::start();
    let task = node.container("terminal").image(&guests::image(Runtime::Catamaran, "sleep")).terminal().spawn();
    let refused = task.try_resize(70_000, 25).unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(refused.message.contains("width: 70000: at most 65535"), "{}", refused.message);
    task.discard();
    let task = node.container("plain").image(&guests::image(Runtime::Catamaran, "sleep")).spawn();
    let refused = task.try_resize(80, 25).unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(refused.message.contains("no terminal"), "{}", refused.message);
    task.discard();
    node.finish();
}

#[test]
fn a_spec_and_a_request_that_disagree_on_a_terminal_are_refused() {
    let node = Node::start();
    let order = node.container("half").image(&guests::image(Runtime::Catamaran, "hello"));
    let refused = order.spec(|spec| spec["process"]["terminal"] = true.into()).try_create().err().unwrap();
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(refused.message.contains("process.terminal: true: false, as the request has it"), "{}", refused.message);
    let order = node.container("other-half").image(&guests::image(Runtime::Catamaran, "hello")).terminal();
    let refused = order.spec(|spec| spec["process"]["terminal"] = false.into()).try_create().err().unwrap();
    assert!(refused.message.contains("process.terminal: false: true"), "{}", refused.message);
    node.finish();
}

/// Tells which of the three streams the guest takes for terminals, by C's isatty(3): a character device without seek and tell.
fn asks() -> Image {
    let text = r#"(module
      (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $stat (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func $ask (param $fd i32)
        (drop (call $stat (local.get $fd) (i32.const 64)))
        (i32.store8 (i32.add (i32.const 32) (local.get $fd))
          (select (i32.const 89) (i32.const 78)
            (i32.and
              (i32.eq (i32.load8_u (i32.const 64)) (i32.const 2))
              (i64.eqz (i64.and (i64.load (i32.const 72)) (i64.const 36)))))))
      (func (export "_start")
        (call $ask (i32.const 0)) (call $ask (i32.const 1)) (call $ask (i32.const 2))
        (i32.store (i32.const 0) (i32.const 32)) (i32.store (i32.const 4) (i32.const 3))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
    guests::of("asks", wat::parse_str(text).unwrap())
}

#[test]
fn a_guest_knows_a_terminal_from_a_pipe() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        for (terminal, expected) in [(true, "YYY"), (false, "NNN")] {
            let order = node.container("asks").image(&asks()).hold_stdin();
            let task = if terminal { order.terminal() } else { order }.spawn();
            assert_eq!(task.wait(SOON).code, 0);
            assert_eq!(task.delete().stdout, expected, "{engine:?}, terminal {terminal}");
        }
        node.finish();
    }
}

/// Prints 192 kB and ends.
fn many() -> Image {
    let text = r#"(module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 32) "0123456789abcdef")
      (func (export "_start") (local $lines i32)
        (i32.store (i32.const 0) (i32.const 32)) (i32.store (i32.const 4) (i32.const 16))
        (loop $next
          (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
          (local.set $lines (i32.add (local.get $lines) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $lines) (i32.const 12288))))))"#;
    guests::of("many", wat::parse_str(text).unwrap())
}

#[test]
fn a_slow_reader_gets_all_that_was_printed_on_a_terminal() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let out = Fifo::make(node.dir().join("out"));
        let mut reader = out.reader();
        let task = node.container("many").image(&many()).terminal().stream("stdout", out.path()).spawn();
        // It delays neither another container of the pod's shim nor the shim.
        assert_eq!(task.try_wait(Duration::from_millis(500)).unwrap_err().code, Code::DeadlineExceeded);
        let mut text = vec![0; 128 << 10];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(task.wait(SOON).code, 0, "the rest is in the FIFO and in the terminal");
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        text.extend(rest);
        assert_eq!(text, b"0123456789abcdef".repeat(12288), "{engine:?}");
        task.delete();
        node.finish();
    }
}

#[test]
fn a_client_that_comes_back_has_its_terminal_again() {
    everywhere(|node, runtime| {
        let (input, out) = (Fifo::make(node.dir().join("in")), Fifo::make(node.dir().join("out")));
        let mut first = out.reader();
        let order = node.container("cat").image(&guests::image(runtime, "cat")).terminal();
        let task = order.stream("stdin", input.path()).stream("stdout", out.path()).spawn();
        let expect = |reader: &mut std::fs::File, text: &str| {
            let mut read = vec![0; text.len()];
            reader.read_exact(&mut read).unwrap();
            assert_eq!(String::from_utf8(read).unwrap(), text, "{runtime:?}");
        };
        std::io::Write::write_all(&mut input.writer(), b"one\n").unwrap();
        expect(&mut first, "one\r\none\r\n");
        drop(first);
        let mut second = out.reader();
        std::io::Write::write_all(&mut input.writer(), b"two\n").unwrap();
        expect(&mut second, "two\r\ntwo\r\n");
        task.discard();
    });
}

#[test]
fn a_terminal_leaves_nothing_in_the_shim() {
    let node = Node::start();
    let keeper = node.container("keeper").image(&guests::image(Runtime::Catamaran, "sleep")).spawn();
    let shim = procfs::parent(keeper.pid());
    let descriptors = || std::fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count();
    let before = descriptors();
    for number in 0..20 {
        let order = node.container(&format!("on-{number}")).image(&guests::image(Runtime::Catamaran, "cat"));
        let task = order.in_pod("keeper").terminal().hold_stdin().spawn();
        assert_eq!(procfs::parent(task.pid()), shim, "in the same shim");
        task.write("x\n\u{4}");
        assert_eq!(task.wait(SOON).code, 0);
        task.delete();
    }
    wait_until(SOON, "the terminals to be closed", || (descriptors() <= before).then_some(()));
    keeper.discard();
    node.finish();
}
