//! Tests the harness's methods on runc.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code: a panic is how a test says that it failed")]

use std::fs;
use std::time::{Duration, Instant};

use catamaran_harness::{Code, Image, Node, Runtime, State, cri, guests};

const SOON: Duration = Duration::from_secs(10);

fn node() -> Node {
    Node::start().runtime(Runtime::Runc)
}

fn program(name: &str) -> Image {
    guests::image(Runtime::Runc, name)
}

#[test]
fn a_node_starts_quickly() {
    drop(node());
    let begin = Instant::now();
    let node = node();
    let started = begin.elapsed();
    drop(node);
    let all = begin.elapsed();
    println!("started in {started:?}, gone after {all:?}");
    // About 60 and 130 ms on an idle machine: the test is that nothing waits for a time-out.
    assert!(all < Duration::from_secs(4), "started in {started:?}, gone after {all:?}");
}

#[test]
fn run_returns_exit_code_and_output() {
    let node = node();
    let hello = node.container("hello").image(&program("hello")).run();
    assert_eq!((hello.code, hello.stdout.as_str(), hello.stderr.as_str()), (0, guests::greeting(Runtime::Runc), ""));
    for code in [0, 1, 42, 255] {
        let exit = node.container("exit").image(&program("exit")).args(["/exit", &code.to_string()]).run();
        assert_eq!(exit.code, code);
    }
    let missing = node.container("read").image(&program("read")).args(["/read", "/nowhere"]).run();
    assert_eq!((missing.code, missing.stderr.as_str()), (2, "open failed\n"));
    node.finish();
}

#[test]
fn an_edit_of_the_spec_reaches_the_container() {
    let node = node();
    let order = node.container("args").image(&program("args")).args(["/args", "a"]);
    let task = order.spec(|spec| spec["process"]["args"] = serde_json::json!(["/args", "b"])).spawn();
    task.wait(SOON);
    assert_eq!(task.delete().stdout.lines().take(2).collect::<Vec<_>>(), ["/args", "b"]);
    node.finish();
}

#[test]
fn args_environment_and_stdin_arrive() {
    let node = node();
    let args = node.container("args").image(&program("args")).args(["/args", "a b", "", "-c"]).run();
    assert_eq!(args.stdout, "/args\na b\n\n-c\n");
    let env = node.container("env").image(&program("env").env(["FROM=image"])).env("MORE", "a=b").run();
    assert!(env.stdout.contains("FROM=image\n") && env.stdout.contains("MORE=a=b\n"), "{env:?}");
    let text = "one line\n".repeat(20_000);
    let cat = node.container("cat").image(&program("cat")).stdin(&text).run();
    assert!(cat.stdout == text, "{} bytes came back of {}", cat.stdout.len(), text.len());
    let task = node.container("cat").image(&program("cat")).stdin(&text).spawn();
    task.wait(SOON);
    let cat = task.delete();
    assert!(cat.stdout == text, "{} bytes came back of {}", cat.stdout.len(), text.len());
    node.finish();
}

#[test]
fn stdin_stays_open_until_closed() {
    let node = node();
    let task = node.container("cat").image(&program("cat")).hold_stdin().spawn();
    task.write("first\n");
    task.expect_stdout("first\n");
    assert_eq!(task.state(), State::Running);
    task.write("second\n");
    task.close_stdin();
    assert_eq!(task.wait(SOON).code, 0);
    assert_eq!(task.delete().stdout, "first\nsecond\n");
    node.finish();
}

#[test]
fn a_task_goes_through_its_states() {
    let node = node();
    let events = node.events();
    let task = node.container("sleep").image(&program("sleep")).create();
    assert_eq!(task.state(), State::Created);
    assert!(task.pid() > 1 && node.bundle("sleep").exists());
    assert_eq!(task.stdout(), "");
    task.start();
    task.expect_stdout("ready\n");
    assert_eq!(task.state(), State::Running);
    assert_eq!(task.try_pids().unwrap(), [task.pid()]);
    // runc's shim refuses without a code.
    assert_eq!(task.try_start().unwrap_err().code, Code::Unknown);
    assert_eq!(task.try_delete().unwrap_err().code, Code::Unknown);
    assert_eq!(task.try_wait(Duration::from_millis(100)).unwrap_err().code, Code::DeadlineExceeded);
    task.try_update(r#"{"memory":{"limit":67108864}}"#).unwrap();
    let (kind, metrics) = task.try_metrics().unwrap();
    assert!(kind.starts_with("io.containerd.cgroups.v") && !metrics.is_empty(), "{kind}");
    task.try_pause().unwrap();
    assert_eq!(task.state(), State::Paused);
    task.try_resume().unwrap();
    task.kill("TERM");
    let exit = task.wait(SOON);
    assert!(exit.code == 143 && exit.at > 0, "{exit:?}");
    assert_eq!(task.state(), State::Stopped);
    assert_eq!(task.delete().code, 143);
    // Not the last one, delete: runc's shim may end before it was sent.
    assert_eq!(events.of("sleep")[..5], ["create", "start", "paused", "resumed", "exit"]);
    node.finish();
}

#[test]
fn a_task_that_was_never_started_is_deleted() {
    let node = node();
    let events = node.events();
    // Killed first: runc's shim takes ten seconds to delete a task that still waits to be started.
    assert_eq!(node.container("idle").image(&program("sleep")).create().discard().code, 137);
    // As above: not the last one.
    assert_eq!(events.of("idle")[..2], ["create", "exit"]);
    node.finish();
}

#[test]
fn a_refused_create_says_why_and_leaves_nothing() {
    let node = node();
    let refused = node.container("nothing").image(&program("hello")).args(["/nothing"]).try_create().err().unwrap();
    assert!(refused.message.contains("/nothing"), "{refused}");
    let refused = node.container("nothing").image(&program("hello")).args(["/nothing"]).run();
    assert!(refused.code == 1 && refused.stderr.contains("/nothing"), "{refused:?}");
    node.finish();
}

#[test]
fn mounts_and_image_files_are_where_the_test_asked_for_them() {
    let node = node();
    let data = node.dir().join("data");
    fs::create_dir(&data).unwrap();
    let write = program("write").workdir("/data");
    let run = |options| {
        let container = node.container("write").image(&write).args(["/write", "/data/file", "text"]);
        container.bind(&data, "/data", ["rbind", options]).run()
    };
    assert_eq!(run("ro").code, 30, "EROFS");
    assert_eq!(run("rw").code, 0);
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "text");

    let image = program("read")
        .file_as("/secret", "for one", 0o600, 1000, 1000)
        .link("/link", "/dir/below")
        .layer()
        .dir("/dir", 0o755, 0, 0)
        .file("/dir/below", "from the upper layer");
    let read = |path, user| node.container("read").image(&image).args(["/read", path]).user(user).run();
    assert_eq!(read("/link", "0").stdout, "from the upper layer");
    assert_eq!(read("/secret", "1000:1000").stdout, "for one");
    assert_eq!(read("/secret", "1001:1001").code, 13, "EACCES");
    node.finish();
}

#[test]
fn containers_outlive_containerd() {
    let node = node();
    let task = node.container("sleep").image(&program("sleep")).spawn();
    task.expect_stdout("ready\n");
    node.restart_containerd();
    assert_eq!(task.state(), State::Running);
    node.kill_containerd();
    assert_eq!(task.try_state().unwrap_err().code, Code::Unavailable);
    node.restart_containerd();
    assert_eq!(task.discard().code, 137);
    node.finish();
}

#[test]
fn cri_is_served_when_asked_for() {
    let node = Node::start_with(cri::options()).runtime(Runtime::Runc);
    let plugins = node.ctr_ok(["plugins", "ls", "id==cri"]);
    assert!(plugins.lines().any(|line| line.contains(".grpc.") && line.trim_end().ends_with("ok")), "{plugins}");
    node.finish();
}

#[test]
fn the_go_guest_is_built_once() {
    let module = guests::go("kitchen");
    assert_eq!(&module[..4], b"\0asm");
    let begin = Instant::now();
    assert!(guests::go("kitchen") == module);
    assert!(begin.elapsed() < Duration::from_secs(1), "built again: {:?}", begin.elapsed());
}
