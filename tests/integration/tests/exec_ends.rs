//! Further processes of a container: many of them, their ends, and what is left when another process dies.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use catamaran_harness::{Code, Container, Engine, Image, Node, State, Task, guests, kill9, procfs, wait_until};
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);
const MIB: u64 = 1 << 20;

/// An image whose own program sleeps.
fn tools() -> Image {
    let mut image = Image::new("tools").file("/sleep", guests::wat("sleep")).entrypoint(["/sleep"]);
    for name in ["hello", "exit", "spin"] {
        image = image.file(&format!("/{name}"), guests::wat(name));
    }
    image
}

fn order<'n>(node: &'n Node, id: &str) -> Container<'n> {
    node.container(id).image(&tools())
}

fn sleeping<'n>(order: &Container<'n>) -> Task<'n> {
    let task = order.spawn();
    task.expect_stdout("ready\n");
    task
}

#[test]
fn a_created_container_can_be_executed_in_and_a_stopped_one_not() {
    let node = Node::start();
    let task = order(&node, "c").create();
    let hello = task.further("e").args(["/hello"]).run();
    assert_eq!((hello.code, hello.stdout.as_str()), (0, "hello from wasm\n"), "{hello:?}");
    task.start();
    task.expect_stdout("ready\n");
    let late = task.further("late").args(["/hello"]).add();
    task.kill("KILL");
    task.wait(SOON);
    assert_eq!(late.try_start().unwrap_err().code, Code::FailedPrecondition);
    let status = task.further("e").args(["/hello"]).try_add().err().unwrap();
    assert_eq!(status.code, Code::FailedPrecondition, "{status}");
    late.try_delete().unwrap();
    task.delete();
    node.finish();
}

#[test]
fn fifty_concurrent_execs_end_with_their_own_codes() {
    let node = Node::start();
    let task = sleeping(&order(&node, "c"));
    task.further("warm").args(["/exit", "0"]).run();
    // The shim has a descriptor for a driver that still writes its artifact to the disk.
    node.await_compiles();
    let shim = procfs::parent(task.pid());
    let descriptors = || std::fs::read_dir(procfs::file(shim, "fd")).unwrap().count();
    let before = descriptors();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..50 {
            let task = &task;
            scope.spawn(move || {
                let code = number.to_string();
                let ran = task.further(&format!("e{number}")).args(["/exit", &code]).run();
                assert_eq!(ran.code, number, "{ran:?}");
            });
        }
    });
    println!("50 execs at once: {:?}", begin.elapsed());
    assert_eq!(procfs::children(shim), [task.pid()], "none is left");
    assert_eq!(descriptors(), before);
    assert_eq!(task.try_processes().unwrap(), [(task.pid(), String::new())]);
    task.discard();
    node.finish();
}

#[test]
fn pids_and_statistics_include_every_exec() {
    let node = Node::start();
    let task = sleeping(&order(&node, "c"));
    let one = task.further("one").args(["/sleep"]).add();
    // Wait is called before Start.
    let pid = std::thread::scope(|scope| {
        let waits = scope.spawn(|| one.wait(SOON).code);
        std::thread::sleep(Duration::from_millis(100));
        let pid = one.start();
        one.expect_stdout("ready\n");
        let mut told = task.try_processes().unwrap();
        told.sort_by_key(|(_, exec)| exec.clone());
        assert_eq!(told, [(task.pid(), String::new()), (pid, "one".to_owned())]);
        assert_eq!(one.try_state().unwrap(), (State::Running, pid));
        assert_eq!(one.try_start().unwrap_err().code, Code::FailedPrecondition, "it was started");
        one.try_kill(9).unwrap();
        assert_eq!(waits.join().unwrap(), 137);
        pid
    });
    assert!(!procfs::is_there(pid), "it is reaped");
    assert_eq!(one.delete().code, 137);
    assert_eq!(task.further("one").args(["/exit", "3"]).run().code, 3, "its id is free");
    let gone = task.further("gone").args(["/hello"]).add();
    gone.try_delete().unwrap();
    assert_eq!(gone.try_state().unwrap_err().code, Code::NotFound);
    task.discard();
    node.finish();
}

#[test]
fn execs_end_with_the_container_and_their_exits_come_first() {
    for own in [true, false] {
        let node = Node::start();
        let events = node.events();
        let mut order = order(&node, "c");
        if !own {
            // Without a pid namespace only the shim ends them.
            order = order.spec(|spec| {
                spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "pid");
            });
        }
        let task = sleeping(&order);
        let execs = ["a", "b", "c"].map(|id| task.further(id).args(["/spin"]).add());
        let pids = execs.each_ref().map(catamaran_harness::Exec::start);
        task.kill("KILL");
        assert_eq!(task.wait(SOON).code, 137);
        for (exec, pid) in execs.iter().zip(pids) {
            assert!(!procfs::is_there(pid), "it runs on, with a pid namespace of the container's: {own}");
            assert_eq!(exec.wait(SOON).code, 137);
        }
        events.settle();
        let exits: Vec<_> = events.all().into_iter().filter(|event| event.topic == "/tasks/exit").collect();
        assert_eq!(exits.len(), 4, "{exits:?}");
        assert_eq!(exits[3].body["id"], "c", "{exits:?}");
        assert_eq!(exits[3].body["pid"], task.pid(), "{exits:?}");
        for exec in execs {
            assert_eq!(exec.delete().code, 137);
        }
        task.delete();
        node.finish();
    }
}

#[test]
fn execs_that_are_started_while_the_container_ends_end_too() {
    for own in [true, false] {
        let node = Node::start();
        for round in 0..12 {
            let mut order = order(&node, "c");
            if !own {
                order = order.spec(|spec| {
                    spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "pid");
                });
            }
            let task = sleeping(&order);
            let exec = task.further("e").args(["/sleep"]).add();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    if let Err(status) = exec.try_start() {
                        assert_eq!(status.code, Code::FailedPrecondition, "{status}");
                        assert!(status.message.contains("executed in"), "{status}");
                    }
                });
                std::thread::sleep(Duration::from_millis(2 * round));
                task.kill("KILL");
                task.wait(SOON);
            });
            exec.try_delete().unwrap();
            task.delete();
            node.expect_nothing_left(SOON);
        }
        node.finish();
    }
}

#[test]
fn execs_die_with_their_shim() {
    let node = Node::start();
    let task = sleeping(&order(&node, "c"));
    let (sleep, spin) = (task.further("a").args(["/sleep"]).add(), task.further("b").args(["/spin"]).add());
    let pids = [sleep.start(), spin.start(), task.pid()];
    kill9(procfs::parent(task.pid()));
    for pid in pids {
        wait_until(SOON, "a process to end with its shim", || (!procfs::is_there(pid)).then_some(()));
    }
    wait_until(SOON, "containerd to forget the task", || task.try_state().is_err().then_some(()));
    task.remove_container();
    node.expect_nothing_left(SOON);
    assert_eq!(order(&node, "c").args(["/exit", "7"]).run().code, 7, "the id is free");
    node.finish();
}

#[test]
fn a_restarted_containerd_finds_running_execs() {
    let node = Node::start();
    let task = sleeping(&order(&node, "c"));
    let (goes_on, ends) = (task.further("a").args(["/sleep"]).add(), task.further("b").args(["/sleep"]).add());
    let (first, second) = (goes_on.start(), ends.start());
    node.kill_containerd();
    kill9(second);
    node.restart_containerd();
    assert_eq!(goes_on.try_state().unwrap(), (State::Running, first));
    assert_eq!(ends.wait(SOON).code, 137);
    assert_eq!(ends.delete().code, 137);
    goes_on.try_kill(15).unwrap();
    assert_eq!(goes_on.wait(SOON).code, 143);
    goes_on.delete();
    assert_eq!(task.further("c").args(["/exit", "5"]).run().code, 5);
    task.discard();
    node.finish();
}

#[test]
fn a_limit_of_processes_that_is_reached_is_named() {
    let node = Node::start();
    let order = order(&node, "c").spec(|spec| spec["linux"]["resources"]["pids"] = json!({"limit": 1}));
    let task = sleeping(&order);
    let exec = task.further("e").args(["/hello"]).add();
    let status = exec.try_start().unwrap_err();
    assert!(status.message.contains("pids.limit of the container") && status.code == Code::Internal, "{status}");
    exec.try_delete().unwrap();
    assert_eq!(task.state(), State::Running);
    task.discard();
    node.finish();
}

#[test]
fn an_exec_that_takes_all_the_memory_ends_by_itself() {
    let node = Node::start();
    let task = node.container("c").image(&tools().file("/hog", guests::wat("hog"))).memory(64 * MIB).spawn();
    task.expect_stdout("ready\n");
    assert_eq!(task.further("e").args(["/hog"]).run().code, 137);
    assert_eq!(task.state(), State::Running, "the container goes on");
    assert_eq!(task.further("e").args(["/exit", "4"]).run().code, 4);
    task.discard();
    node.finish();
}

#[test]
fn an_exec_that_is_killed_while_it_compiles_does_not_run() {
    let node = Node::start();
    let mut image = tools();
    for number in 0..2 {
        image = image.file(&format!("/slow{number}"), guests::large(3000 + number));
    }
    let task = node.container("c").image(&image).spawn();
    task.expect_stdout("ready\n");
    let killed = task.further("killed").args(["/slow0"]).add();
    assert_eq!(killed.try_kill(9).unwrap_err().code, Code::FailedPrecondition, "not started");
    let started = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(killed.start(), 0);
            started.store(true, Ordering::Relaxed);
        });
        wait_until(SOON, "the start to begin", || killed.try_kill(28).is_ok().then_some(()));
        assert!(!started.load(Ordering::Relaxed), "SIGWINCH ends nobody, and the module compiles for seconds");
        killed.try_kill(15).unwrap();
        assert_eq!(killed.wait(SOON).code, 143);
    });
    assert_eq!(killed.delete().code, 143);
    let deleted = task.further("deleted").args(["/slow1"]).add();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(deleted.try_start().is_err()));
        wait_until(SOON, "the start to begin", || deleted.try_kill(28).is_ok().then_some(()));
        deleted.try_delete().unwrap();
    });
    assert_eq!(deleted.try_state().unwrap_err().code, Code::NotFound);
    assert_eq!(task.try_pids().unwrap(), [task.pid()]);
    assert_eq!(task.further("deleted").args(["/exit", "6"]).run().code, 6, "the id is free");
    task.discard();
    node.await_compiles();
    node.finish();
}

#[test]
fn an_exec_runs_on_the_engine_that_its_module_needs() {
    let node = Node::start();
    let component = catamaran_integration::adapted(&guests::wat("args"));
    let image = tools().file("/threads", guests::wasix("threads")).file("/component", component);
    let task = node.container("free").image(&image).user("1000").spawn();
    task.expect_stdout("ready\n");
    let args = task.further("e").args(["/component", "x"]).run();
    assert_eq!((args.code, args.stdout.as_str()), (0, "/component\nx\n"), "{args:?}");
    let threads = task.further("t").args(["/threads"]).spawn();
    assert_eq!(threads.wait(SOON).code, 0, "{}", threads.stderr());
    threads.delete();
    task.discard();
    // The annotation's choice holds for these too.
    for (engine, words, said) in [
        (Engine::Wasmtime, "/threads", "catamaran.wasm/engine asks for wasmtime: write \"wasmer\""),
        (Engine::Wasmer, "/component", "catamaran.wasm/engine asks for wasmer: write \"wasmtime\""),
    ] {
        let task = node.container("chosen").image(&image).engine(engine).spawn();
        task.expect_stdout("ready\n");
        let ran = task.further("e").args([words]).run();
        assert_eq!(ran.code, 126, "{ran:?}");
        assert!(ran.stderr.contains(said), "{ran:?}");
        task.discard();
    }
    node.finish();
}
