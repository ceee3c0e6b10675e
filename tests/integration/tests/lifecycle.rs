//! The task's life, call by call through containerd: on our shim, with each engine where the guest has a part in it, and on runc too where
//! the answers are the same, to test the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::time::{Duration, Instant};

use catamaran_harness::guests::wasm;
use catamaran_harness::{Code, Engine, Node, Runtime, State, guests};

const SOON: Duration = Duration::from_secs(10);

fn goes_through_its_states(runtime: Runtime, engine: Engine) {
    let node = Node::start().runtime(runtime).engine(engine);
    let events = node.events();
    let task = node.container("sleep").image(&guests::image(runtime, "sleep")).create();
    assert_eq!(task.state(), State::Created);
    assert!(task.pid() > 1);
    assert_eq!(task.stdout(), "", "nothing runs before Start");
    task.start();
    task.expect_stdout("ready\n");
    assert_eq!(task.state(), State::Running);
    assert_eq!(task.try_pids().unwrap(), [task.pid()]);
    assert!(task.try_start().is_err() && task.try_delete().is_err(), "a running task is neither started nor deleted");
    assert_eq!(task.state(), State::Running, "a refused transition changes nothing");
    assert_eq!(task.try_wait(Duration::from_millis(100)).unwrap_err().code, Code::DeadlineExceeded);
    task.kill("TERM");
    let exit = task.wait(SOON);
    assert!(exit.code == 143 && exit.at > 0, "{exit:?}");
    assert_eq!(task.wait(SOON), exit, "the exit is kept");
    assert_eq!(task.state(), State::Stopped);
    assert_eq!(task.try_kill(9, false).unwrap_err().code, Code::NotFound);
    assert!(task.try_start().is_err(), "a stopped task is not started");
    assert_eq!(task.delete().code, 143);
    match runtime {
        Runtime::Catamaran => events.expect("sleep", &["create", "start", "exit", "delete"]),
        // Its shim may end before it has sent its last event.
        Runtime::Runc => assert_eq!(events.of("sleep")[..3], ["create", "start", "exit"]),
    }
    node.finish();
}

#[test]
fn a_task_goes_through_its_states() {
    for engine in Engine::ALL {
        goes_through_its_states(Runtime::Catamaran, engine);
    }
}

#[test]
fn a_task_goes_through_its_states_on_runc() {
    // runc does not know of engines.
    goes_through_its_states(Runtime::Runc, Engine::Wasmtime);
}

#[test]
fn refused_transitions_say_failed_precondition() {
    let node = Node::start();
    let task = node.container("sleep").image(&wasm("sleep")).spawn();
    for refused in [task.try_start().unwrap_err(), task.try_delete().unwrap_err()] {
        assert_eq!(refused.code, Code::FailedPrecondition, "{refused}");
        assert!(refused.message.contains("running"), "{refused}");
    }
    task.discard();
    node.finish();
}

#[test]
fn a_task_that_is_gone_says_not_found() {
    let node = Node::start();
    let task = node.container("hello").image(&wasm("hello")).spawn();
    task.wait(SOON);
    task.try_delete().unwrap();
    assert_eq!(task.try_state().unwrap_err().code, Code::NotFound);
    assert_eq!(task.try_delete().unwrap_err().code, Code::NotFound);
    task.remove_container();
    node.finish();
}

#[test]
fn a_task_that_was_never_started_is_deleted_at_once() {
    let node = Node::start();
    let events = node.events();
    let task = node.container("idle").image(&wasm("sleep")).create();
    let begin = Instant::now();
    let deleted = task.delete();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!((deleted.code, deleted.stdout.as_str()), (137, ""));
    let seen = events.of("idle");
    assert!(!seen.contains(&"start".to_owned()) && seen.last().is_some_and(|last| last == "delete"), "{seen:?}");
    node.finish();
}

#[test]
fn a_signal_before_start_ends_the_task() {
    let node = Node::start();
    for (signal, code) in [("TERM", 143), ("KILL", 137)] {
        let task = node.container("idle").image(&wasm("sleep")).create();
        task.kill(signal);
        assert_eq!(task.wait(SOON).code, code);
        assert_eq!(task.try_start().unwrap_err().code, Code::FailedPrecondition);
        assert_eq!(task.delete().stdout, "");
    }
    node.finish();
}

#[test]
fn signals_end_sleeping_and_spinning_guests() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        for guest in ["sleep", "spin"] {
            for (signal, code) in
                [("TERM", 143), ("KILL", 137), ("INT", 130), ("HUP", 129), ("QUIT", 131), ("USR1", 138)]
            {
                let task = node.container(guest).image(&wasm(guest)).spawn();
                task.expect_stdout("ready\n");
                task.kill(signal);
                assert_eq!(task.wait(SOON).code, code, "{signal} on {guest}");
                let left = task.delete();
                assert_eq!((left.code, left.stderr.as_str()), (code as i32, ""), "{signal} on {guest}");
            }
        }
        node.finish();
    }
}

#[test]
fn a_guest_that_waits_for_stdin_ends_on_term() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let task = node.container("cat").image(&wasm("cat")).hold_stdin().spawn();
        task.write("x");
        task.expect_stdout("x");
        task.kill("TERM");
        assert_eq!(task.wait(SOON).code, 143);
        task.delete();
        node.finish();
    }
}

#[test]
fn a_real_time_signal_ends_the_guest_and_window_changes_do_not() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let task = node.container("sleep").image(&wasm("sleep")).spawn();
        task.expect_stdout("ready\n");
        task.kill("WINCH");
        assert!(task.try_wait(Duration::from_millis(200)).is_err(), "WINCH is ignored");
        // SIGRTMIN+3, the stop signal of images that were made for systemd.
        task.try_kill(37, false).unwrap();
        assert_eq!(task.wait(SOON).code, 128 + 37);
        task.delete();
        node.finish();
    }
}

#[test]
fn kill_all_reaches_the_task() {
    let node = Node::start();
    let task = node.container("spin").image(&wasm("spin")).spawn();
    task.expect_stdout("ready\n");
    task.try_kill(9, true).unwrap();
    assert_eq!(task.wait(SOON).code, 137);
    task.delete();
    node.finish();
}

#[test]
fn unimplemented_calls_say_so() {
    let node = Node::start();
    let task = node.container("sleep").image(&wasm("sleep")).spawn();
    let images = node.ctr_ok(["images", "ls", "-q"]);
    let refused = node.ctr(["tasks", "checkpoint", task.id()]);
    assert_ne!(refused.code, 0, "{refused:?}");
    for words in ["Checkpoint is not implemented", "container sleep", "Pause stops one where it is"] {
        assert!(refused.stderr.contains(words), "{words:?} is missing in: {refused:?}");
    }
    assert_eq!(task.state(), State::Running);
    assert_eq!(node.ctr_ok(["images", "ls", "-q"]), images, "nothing was saved");
    task.discard();
    node.finish();
}

#[test]
fn two_containers_run_at_once_with_their_own_streams() {
    let node = Node::start();
    let one = node.container("one").image(&wasm("cat")).hold_stdin().spawn();
    let two = node.container("two").image(&wasm("cat")).hold_stdin().spawn();
    assert_ne!(one.pid(), two.pid());
    one.write("for one\n");
    two.write("for two\n");
    one.expect_stdout("for one\n");
    two.expect_stdout("for two\n");
    one.kill("TERM");
    assert_eq!(one.wait(SOON).code, 143);
    assert_eq!(two.state(), State::Running, "the other goes on");
    two.close_stdin();
    assert_eq!(two.wait(SOON).code, 0);
    assert_eq!((one.delete().stdout, two.delete().stdout), ("for one\n".to_owned(), "for two\n".to_owned()));
    node.finish();
}

/// The intermediate's report and the worker's own come on one socket: under load the second arrived first.
#[test]
fn many_creations_at_once_succeed() {
    let node = Node::start();
    node.import(&wasm("sleep"));
    for round in 0..3 {
        let ids: Vec<_> = (0..16).map(|n| format!("many-{round}-{n}")).collect();
        let tasks: Vec<_> = std::thread::scope(|scope| {
            let creations: Vec<_> = ids
                .chunks(2)
                .map(|two| {
                    let node = &node;
                    scope.spawn(move || {
                        two.iter().map(|id| node.container(id).image(&wasm("sleep")).spawn()).collect::<Vec<_>>()
                    })
                })
                .collect();
            creations.into_iter().flat_map(|creation| creation.join().unwrap()).collect()
        });
        for task in tasks {
            task.discard();
        }
    }
    node.finish();
}

#[test]
fn an_id_is_free_after_its_container() {
    let node = Node::start();
    for _ in 0..5 {
        assert_eq!(node.container("same").image(&wasm("hello")).run().stdout, "hello from wasm\n");
    }
    node.finish();
}

#[test]
fn containers_outlive_a_restart_of_containerd() {
    let node = Node::start();
    let task = node.container("sleep").image(&wasm("sleep")).spawn();
    task.expect_stdout("ready\n");
    node.restart_containerd();
    assert_eq!(task.state(), State::Running);
    let short = node.container("cat").image(&wasm("cat")).hold_stdin().spawn();
    node.kill_containerd();
    node.restart_containerd();
    assert_eq!(short.state(), State::Running);
    assert_eq!((short.discard().code, task.discard().code), (137, 137));
    node.finish();
}
