//! Further processes in native containers, and terminals: runc starts them, and makes the terminal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::time::Duration;

use catamaran_harness::procfs::{children, parent};
use catamaran_harness::{Code, Image, Node, Runtime, State, Task, guests, procfs, wait_until};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);

fn side() -> Image {
    Image::new("side").file("/bin/side", guests::native("side")).env(["PATH=/bin"]).entrypoint(["side"])
}

fn sleeping<'n>(node: &'n Node, id: &str, runtime: Runtime) -> Task<'n> {
    let task = node.container(id).runtime(runtime).image(&side()).args(["side", "sleep"]).spawn();
    task.expect_stdout("ready 1\n");
    task
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(procfs::file(pid, "fd")).unwrap().count()
}

#[test]
fn a_native_exec_has_streams_exit_code_and_events() {
    let node = Node::start();
    for (id, runtime) in [("ours", Runtime::Catamaran), ("theirs", Runtime::Runc)] {
        let events = node.events();
        let task = sleeping(&node, id, runtime);
        let both = task.further("both").args(["side", "both"]).run();
        assert_eq!((both.code, both.stdout.as_str(), both.stderr.as_str()), (0, "to stdout\n", "to stderr\n"));
        assert_eq!(task.further("exit").args(["side", "exit", "42"]).run().code, 42, "{runtime:?}");
        assert_eq!(task.further("abort").args(["side", "raise", "6"]).run().code, 134, "{runtime:?}");
        let cat = task.further("cat").args(["side", "cat"]).hold_stdin().spawn();
        cat.write("one\n");
        cat.expect_stdout("one\n");
        cat.write("two\n");
        cat.close_stdin();
        assert_eq!(cat.wait(SOON).code, 0, "{runtime:?}");
        assert_eq!(cat.delete().stdout, "one\ntwo\n");
        let status = task.further("status").args(["side", "cat", "/proc/self/status"]).run().stdout;
        let line = |text: &str, key: &str| text.lines().find(|line| line.starts_with(key)).map(str::to_owned);
        let own = fs::read_to_string(procfs::file(task.pid(), "status")).unwrap();
        assert_eq!(line(&status, "CapBnd"), line(&own, "CapBnd"), "the process of the request, as it is");
        events.settle();
        let told = events.of(id);
        let count = |topic: &str| told.iter().filter(|told| *told == topic).count();
        assert_eq!((count("exec-added"), count("exec-started"), count("exit")), (5, 5, 5), "{runtime:?}: {told:?}");
        task.discard();
    }
    node.finish();
}

/// Among them one that is refused for a process of a Wasm container, and an unknown one.
#[test]
fn runc_gets_every_key_of_a_process() {
    let node = Node::start();
    let allowed = |runtime: Runtime, affinity: &str| {
        let task = sleeping(&node, "affinity", runtime);
        let further = task.further("e").args(["side", "cat", "/proc/self/status"]).process(|process| {
            process["execCPUAffinity"] = json!({"initial": affinity, "final": affinity});
            process["novel"] = json!({"a": [1]});
        });
        let exec = further.add();
        let started = exec.try_start();
        let said = match started {
            Ok(_) => {
                exec.wait(SOON);
                let text = exec.delete().stdout;
                text.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap().to_owned()
            }
            Err(status) => status.message,
        };
        task.discard();
        said
    };
    for affinity in ["0", "0-1,,"] {
        assert_eq!(allowed(Runtime::Catamaran, affinity), allowed(Runtime::Runc, affinity), "{affinity}");
    }
    node.finish();
}

#[test]
fn a_missing_program_is_refused_in_runcs_words() {
    let node = Node::start();
    let mut texts = Vec::new();
    for (id, runtime) in [("ours", Runtime::Catamaran), ("theirs", Runtime::Runc)] {
        let task = sleeping(&node, id, runtime);
        let none = task.further("none").args(["none"]).add();
        let refused = none.try_start().unwrap_err();
        assert!(refused.message.contains("OCI runtime exec failed"), "{refused}");
        assert!(refused.message.contains("\"none\": executable file not found in $PATH"), "{refused}");
        texts.push((refused.code, refused.message));
        none.try_delete().unwrap();
        assert_eq!(task.state(), State::Running);
        task.discard();
    }
    assert_eq!(texts[0], texts[1]);
    node.finish();
}

#[test]
fn a_native_exec_takes_signals_and_ends_with_its_container() {
    let node = Node::start();
    let task = sleeping(&node, "side", Runtime::Catamaran);
    let shim = parent(task.pid());
    let exec = task.further("sleep").args(["side", "sleep"]).spawn();
    exec.expect_stdout("ready");
    let pid = exec.try_state().unwrap().1;
    assert_eq!(parent(pid), shim, "it is the shim's child");
    let mut pids = task.try_processes().unwrap();
    pids.sort();
    let mut expected = [(task.pid(), String::new()), (pid, "sleep".to_owned())];
    expected.sort();
    assert_eq!(pids, expected);
    exec.try_kill(15).unwrap();
    assert_eq!(exec.wait(SOON).code, 143);
    assert_eq!(exec.try_kill(15).unwrap_err().code, Code::NotFound);
    exec.delete();
    let left = task.further("left").args(["side", "sleep"]).spawn();
    left.expect_stdout("ready");
    let events = node.events();
    task.kill("KILL");
    assert_eq!(task.wait(SOON).code, 137);
    assert_eq!(left.wait(SOON).code, 137, "the kernel has ended it with its namespace");
    events.settle();
    assert_eq!(events.of("side"), ["exit", "exit"]);
    left.delete();
    task.delete();
    node.finish();
}

#[test]
fn a_native_exec_has_a_terminal() {
    let node = Node::start();
    for (id, runtime) in [("ours", Runtime::Catamaran), ("theirs", Runtime::Runc)] {
        let order = node.container(id).runtime(runtime).image(&side()).args(["side", "tty"]).terminal().hold_stdin();
        let order = order.spec(|spec| spec["process"]["consoleSize"] = json!({"height": 33, "width": 99}));
        let task = order.spawn();
        task.expect_stdout("terminals 111\r\nsize 33 99\r\n");
        task.try_resize(120, 40).unwrap();
        task.expect_stdout("size 40 120\r\n");
        task.write("typed\n");
        // The terminal's echo of the line, and the program's answer.
        task.expect_stdout("typed\r\ntyped\r\n");
        let exec = task.further("tty").args(["side", "tty"]).terminal().hold_stdin().spawn();
        exec.expect_stdout("terminals 111\r\n");
        exec.try_resize(70, 20).unwrap();
        exec.expect_stdout("size 20 70\r\n");
        // The keys for the end of the input, and for SIGINT.
        exec.write("\x04");
        assert_eq!(exec.wait(SOON).code, 0, "{runtime:?}");
        exec.delete();
        task.write("\x03");
        assert_eq!(task.wait(SOON).code, 130, "{runtime:?}");
        task.delete();
    }
    // The socket by which a terminal came lies beside the pods' folders; a further pod keeps those there.
    let pod = sleeping(&node, "pod", Runtime::Catamaran);
    let names: Vec<_> = fs::read_dir(node.states()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["pod"]);
    pod.discard();
    node.finish();
}

#[test]
fn a_hundred_native_execs_leave_no_zombie_and_no_descriptor() {
    let node = Node::start();
    let task = sleeping(&node, "side", Runtime::Catamaran);
    let shim = parent(task.pid());
    for n in 0..4 {
        task.further(&format!("warm-{n}")).args(["side", "echo", "warm"]).run();
    }
    let before = descriptors(shim);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let task = &task;
            scope.spawn(move || {
                for n in 0..25 {
                    let text = format!("{worker}-{n}");
                    let output = task.further(&text).args(["side", "echo", &text]).run();
                    assert_eq!((output.code, output.stdout), (0, format!("{text}\n")));
                }
            });
        }
    });
    wait_until(SOON, "all of them to be reaped", || (children(shim) == [task.pid()]).then_some(()));
    assert_eq!(descriptors(shim), before);
    let bundle: Vec<_> = fs::read_dir(node.bundle("side")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!bundle.iter().any(|name| name.to_string_lossy().contains("exec")), "{bundle:?}");
    task.discard();
    node.finish();
}

#[test]
fn waiting_for_an_unstarted_exec_ends_with_its_deletion() {
    let node = Node::start();
    let task = sleeping(&node, "side", Runtime::Catamaran);
    for started in [false, true] {
        let none = task.further("none").args(["none"]).add();
        if started {
            none.try_start().unwrap_err();
        }
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| none.try_wait(SOON));
            // Long enough for the call to be waiting by then.
            std::thread::sleep(Duration::from_millis(300));
            none.try_delete().unwrap();
            let refused = waits.join().unwrap().unwrap_err();
            assert_eq!(refused.code, Code::NotFound, "started: {started}: {refused}");
        });
    }
    task.discard();
    node.finish();
}

#[test]
fn close_io_before_a_native_execs_start_counts() {
    let node = Node::start();
    let task = sleeping(&node, "side", Runtime::Catamaran);
    let cat = task.further("cat").args(["side", "cat"]).hold_stdin().add();
    cat.close_stdin();
    cat.start();
    assert_eq!(cat.wait(SOON).code, 0);
    cat.delete();
    task.discard();
    node.finish();
}
