//! The spec's hooks: programs of the host, each once, with the container's state on standard input.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use catamaran_harness::guests::wasm;
use catamaran_harness::{Code, Container, Engine, Node, State, wait_until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);

/// A hook that writes its name and its state to a file, and then does `more`.
fn hook(log: &Path, name: &str, more: &str) -> Value {
    let script = format!("{{ echo {name}; cat; echo; }} >>{}; {more}", log.display());
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["WHO=me"]})
}

fn with_hooks<'n>(order: Container<'n>, hooks: Value) -> Container<'n> {
    order.spec(move |spec| spec["hooks"] = hooks.clone())
}

/// The hooks' records: name and state of each hook that has written both.
fn told(log: &Path) -> Vec<(String, Value)> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), serde_json::from_str(pair[1]).expect("a state"))).collect()
}

fn names(log: &Path) -> Vec<String> {
    told(log).into_iter().map(|(name, _)| name).collect()
}

fn log(node: &Node) -> PathBuf {
    node.dir().join("hooks.log")
}

#[test]
fn hooks_run_once_in_order_with_the_containers_state() {
    let node = Node::start();
    let log = log(&node);
    let namespace = node.dir().join("uts");
    let see = format!(
        "readlink /proc/$(sed -n 's/.*\"pid\":\\([0-9]*\\).*/\\1/p' {} | tail -n 1)/ns/uts >{}",
        log.display(),
        namespace.display()
    );
    let order = with_hooks(
        node.container("hooked").image(&wasm("sleep")),
        json!({
            "prestart": [hook(&log, "prestart", "test $WHO = me && test -z \"$HOME\"")],
            "createRuntime": [hook(&log, "createRuntime", &see)],
            "poststart": [hook(&log, "poststart", "")],
            "poststop": [hook(&log, "poststop-1", "exit 3"), hook(&log, "poststop-2", "")],
        }),
    )
    .annotation("a", "b");
    let task = order.create();
    assert_eq!(names(&log), ["prestart", "createRuntime"]);
    task.start();
    assert_eq!(names(&log), ["prestart", "createRuntime", "poststart"]);
    let pid = task.pid();
    let own = fs::read_link(format!("/proc/{pid}/ns/uts")).unwrap();
    assert_eq!(fs::read_to_string(&namespace).unwrap().trim(), own.to_str().unwrap(), "the namespaces are there");
    assert_ne!(own, fs::read_link("/proc/self/ns/uts").unwrap());
    let bundle = node.bundle("hooked");
    task.kill("KILL");
    task.wait(SOON);
    assert_eq!(names(&log).len(), 3, "poststop is for after the deletion");
    task.delete();
    let told = told(&log);
    let all: Vec<_> = told.iter().map(|(name, state)| (name.as_str(), state["status"].as_str().unwrap())).collect();
    assert_eq!(
        all,
        [
            ("prestart", "creating"),
            ("createRuntime", "creating"),
            ("poststart", "running"),
            ("poststop-1", "stopped"),
            ("poststop-2", "stopped"),
        ]
    );
    for (name, state) in &told {
        assert_eq!(state["id"], "hooked", "{name}");
        assert_eq!(state["bundle"], bundle.to_str().unwrap(), "{name}");
        assert_eq!(state["annotations"]["a"], "b", "{name}");
        assert!(state["ociVersion"].is_string(), "{name}");
        assert_eq!(state["pid"], if name.starts_with("poststop") { Value::Null } else { json!(pid) }, "{name}");
    }
    assert!(node.log().contains("poststop[0]"), "the log names the hook that failed");
    node.finish();
}

#[test]
fn a_hook_that_fails_or_hangs_refuses_the_container() {
    let node = Node::start();
    let log = log(&node);
    let slow = json!({"path": "/bin/sleep", "args": ["sleep", "4711"], "timeout": 1});
    let missing = json!({"path": "/no/such/hook"});
    for (id, hooks, words) in [
        (
            "fails",
            json!({"createRuntime": [hook(&log, "first", "echo why >&2; exit 7"), hook(&log, "never", "")]}),
            "7: why",
        ),
        ("hangs", json!({"prestart": [slow]}), "did not end within 1 s"),
        ("missing", json!({"createRuntime": [missing]}), "/no/such/hook"),
    ] {
        let _ = fs::remove_file(&log);
        let mut hooks = hooks;
        hooks["poststop"] = json!([hook(&log, "poststop", "")]);
        let refused = with_hooks(node.container(id).image(&wasm("hello")), hooks).try_create().map(drop).unwrap_err();
        assert!(refused.message.contains(words) && refused.message.contains("the hook"), "{refused}");
        let names = names(&log);
        assert!(!names.contains(&"never".to_owned()), "{names:?}");
        assert_eq!(names.iter().filter(|name| *name == "poststop").count(), 1, "{names:?}");
        node.expect_nothing_left(SOON);
        assert_eq!(node.container(id).image(&wasm("hello")).run().code, 0, "the id is free");
    }
    let sleeps = Command::new("pgrep").args(["-fx", "sleep 4711"]).status().unwrap();
    assert!(!sleeps.success(), "a hook that hung is still there");
    node.finish();
}

#[test]
fn a_poststart_hook_that_fails_ends_the_container() {
    let node = Node::start();
    let log = log(&node);
    let hooks = json!({"poststart": [hook(&log, "poststart", "exit 1")], "poststop": [hook(&log, "poststop", "")]});
    let task = with_hooks(node.container("hooked").image(&wasm("sleep")), hooks).create();
    let refused = task.try_start().unwrap_err();
    assert!(refused.message.contains("poststart[0]"), "{refused}");
    assert_eq!(task.wait(SOON).code, 137);
    assert_eq!(task.state(), State::Stopped);
    task.delete();
    assert_eq!(names(&log), ["poststart", "poststop"]);
    node.finish();
}

#[test]
fn poststop_runs_once_when_the_shim_was_killed() {
    let node = Node::start();
    let log = log(&node);
    let task = with_hooks(
        node.container("hooked").image(&wasm("sleep")),
        json!({"createRuntime": [hook(&log, "createRuntime", "")], "poststop": [hook(&log, "poststop", "")]}),
    )
    .spawn();
    let status = fs::read_to_string(format!("/proc/{}/status", task.pid())).unwrap();
    let shim = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    assert!(Command::new("kill").args(["-9", shim]).status().unwrap().success());
    wait_until(SOON, "the poststop hook", || (names(&log).len() > 1).then_some(()));
    wait_until(SOON, "the task to be gone", || {
        matches!(task.try_state(), Err(status) if status.code == Code::NotFound).then_some(())
    });
    task.remove_container();
    assert_eq!(names(&log), ["createRuntime", "poststop"]);
    node.finish();
}

#[test]
fn a_cancelled_deletion_still_runs_every_hook() {
    let node = Node::start();
    let log = log(&node);
    let hooks = json!({"poststop": [hook(&log, "first", "sleep 3"), hook(&log, "second", "")]});
    let task = with_hooks(node.container("hooked").image(&wasm("hello")), hooks).spawn();
    task.wait(SOON);
    let given_up = node.ctr(["--timeout", "1s", "tasks", "delete", "hooked"]);
    assert_ne!(given_up.code, 0, "it was deleted in no time: the test needs a slower hook");
    wait_until(SOON, "the second hook", || (names(&log).len() == 2).then_some(()));
    let _ = task.try_delete();
    task.remove_container();
    assert_eq!(names(&log), ["first", "second"]);
    node.finish();
}

#[test]
fn only_the_beginning_of_a_hooks_output_is_kept() {
    let node = Node::start();
    let (kind, pid) = (node.dir().join("kind"), node.dir().join("pid"));
    let script = format!(
        "head -c 256M /dev/zero; told=$(stat -L -c '%F %s' /proc/$$/fd/1); echo $told >{}; \
         (trap 'echo PIPE >{pid}' PIPE; sleep 1; head -c 1M /dev/zero && echo $? >{pid}) & exit 0",
        kind.display(),
        pid = pid.display()
    );
    let hooks = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 20}]});
    let task = with_hooks(node.container("hooked").image(&wasm("sleep")), hooks).create();
    assert_eq!(fs::read_to_string(&kind).unwrap(), "fifo 0\n", "no file that grows with it");
    // A process that the hook left behind may go on writing.
    let told =
        wait_until(SOON, "what was left behind", || fs::read_to_string(&pid).ok().filter(|text| !text.is_empty()));
    assert_eq!(told, "0\n");
    task.discard();
    let endless = json!({"createRuntime": [
        {"path": "/bin/sh", "args": ["sh", "-c", "echo why; exec cat /dev/zero"], "timeout": 2}
    ]});
    let refused =
        with_hooks(node.container("endless").image(&wasm("hello")), endless).try_create().map(drop).unwrap_err();
    assert!(refused.message.contains("did not end within 2 s: killed: why"), "{refused}");
    assert!(refused.message.len() < 16 << 10, "{} bytes", refused.message.len());
    node.finish();
}

#[test]
fn the_pid_that_a_poststart_hook_is_told_is_not_reused() {
    for engine in Engine::ALL {
        let node = Node::start().engine(engine);
        let seen = node.dir().join("seen");
        let script = format!(
            "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); sleep 2; cut -d' ' -f1-3 /proc/$pid/stat >{}",
            seen.display()
        );
        let hooks = json!({"poststart": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
        let task = with_hooks(node.container("hooked").image(&wasm("hello")), hooks).create();
        std::thread::scope(|scope| {
            let started = scope.spawn(|| task.start());
            // The exit is reported meanwhile, but its pid stays the container's.
            assert_eq!(task.wait(Duration::from_secs(1)).code, 0);
            assert!(!started.is_finished(), "the hook has run: the test needs a slower one");
            started.join().unwrap();
        });
        let program = format!("catamaran-{}", engine.name());
        assert_eq!(fs::read_to_string(&seen).unwrap(), format!("{} ({}) Z\n", task.pid(), &program[..15]));
        wait_until(SOON, "it to be reaped", || (!Path::new(&format!("/proc/{}", task.pid())).exists()).then_some(()));
        task.delete();
        node.finish();
    }
}

#[test]
fn hooks_that_would_run_inside_the_container_are_refused() {
    let node = Node::start();
    for key in ["createContainer", "startContainer"] {
        let hooks = json!({key: [{"path": "/bin/true"}]});
        let order = with_hooks(node.container("inside").image(&wasm("hello")), hooks);
        let refused = order.try_create().map(drop).unwrap_err();
        assert_eq!(refused.code, Code::InvalidArgument, "{refused}");
        assert!(refused.message.contains(&format!("hooks.{key}")), "{refused}");
    }
    for (hook, word) in [
        (json!({"path": "true"}), "absolute"),
        (json!({"path": "/bin/true", "timeout": 0}), "timeout"),
        (json!({"path": "/bin/true", "env": ["A"]}), "env"),
    ] {
        let order = with_hooks(node.container("wrong").image(&wasm("hello")), json!({"poststop": [hook]}));
        let refused = order.try_create().map(drop).unwrap_err();
        assert!(refused.message.contains("hooks.poststop[0]") && refused.message.contains(word), "{refused}");
    }
    node.finish();
}
