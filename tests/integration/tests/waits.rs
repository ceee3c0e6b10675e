//! Waits of calls on Wasmer: for a socket as long as it takes, and for a clock until its time, even if that is past.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::time::{Duration, Instant};

use catamaran_harness::{Container, Engine, Image, Node, Runtime, Task, guests};

const SOON: Duration = Duration::from_secs(10);
/// The calls of `patience` that wait on a socket.
const CALLS: [&str; 7] = ["accept", "recv", "recvfrom", "read", "readv", "send", "write"];

fn patience<'n>(node: &'n Node, call: &str, words: &[&str]) -> Container<'n> {
    let image = guests::of("patience", guests::wasix("patience"));
    let id = format!("{call}-{}", words.join("-"));
    node.container(&id).image(&image).args([&["/patience.wasm", call], words].concat())
}

/// The text after "waits", and the waiting time in milliseconds.
fn waited(task: Task<'_>, limit: Duration) -> (String, u64) {
    assert_eq!(task.wait(limit).code, 0, "{}: {}{}", task.id(), task.stdout(), task.stderr());
    let said = task.delete().stdout;
    let (what, time) = said.trim_end().strip_suffix(" ms").and_then(|said| said.rsplit_once(" after ")).expect(&said);
    (what.strip_prefix("waits\n").expect(&said).to_owned(), time.parse().unwrap())
}

/// After 30 s without traffic each of them failed with ETIMEDOUT.
#[test]
fn a_call_waits_for_a_socket_for_as_long_as_it_takes() {
    let node = Node::start();
    let tasks = CALLS.map(|call| patience(&node, call, &["40"]).spawn());
    // A time-out of the guest that equals wasmer-wasix's own default still counts.
    let limited = patience(&node, "recv", &["30000", "timeout"]).spawn();
    let begun = Instant::now();
    for (call, task) in CALLS.into_iter().zip(tasks) {
        let (said, time) = waited(task, Duration::from_secs(60));
        assert_eq!(said, format!("{call} 1 ok"));
        assert!((39_900..50_000).contains(&time), "{call}: {time} ms");
    }
    let (said, time) = waited(limited, SOON);
    assert!(said == "recv -1 EAGAIN" && (29_900..39_000).contains(&time), "{said} after {time} ms");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    node.finish();
}

#[test]
fn a_guests_own_socket_timeout_is_kept_and_returns_eagain() {
    let node = Node::start();
    for (call, task) in CALLS.map(|call| (call, patience(&node, call, &["300", "timeout"]).spawn())) {
        let (said, time) = waited(task, SOON);
        assert_eq!(said, format!("{call} -1 EAGAIN"));
        assert!((300..5_000).contains(&time), "{call}: {time} ms");
    }
    // A time-out of zero is none.
    let endless = patience(&node, "recvfrom", &["0", "timeout"]).spawn();
    endless.expect_stdout("waits\n");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(endless.discard().stdout, "waits\n");
    node.finish();
}

/// No signal reached a guest in such a call before its time-out.
#[test]
fn a_signal_interrupts_a_wait_for_a_socket_or_the_wait_continues() {
    let node = Node::start();
    for how in ["signal", "restart"] {
        let tasks = CALLS.map(|call| (call, patience(&node, call, &[how]).spawn()));
        tasks.iter().for_each(|(_, task)| task.expect_stdout("waits\n"));
        // A guest may be a moment before its call.
        std::thread::sleep(Duration::from_millis(300));
        tasks.iter().for_each(|(_, task)| task.kill("TERM"));
        for (call, task) in tasks {
            let (said, time) = waited(task, SOON);
            let (outcome, times) = if how == "signal" { ("-1 EINTR", 0..5_900) } else { ("1 ok", 2_000..9_000) };
            assert_eq!(said, format!("signal 15\n{call} {outcome}"), "{how}");
            assert!(times.contains(&time), "{how} {call}: {time} ms");
        }
    }
    node.finish();
}

/// Calls with a time of 0 or in the past, or of the real-time clock, waited for ever.
#[test]
fn a_deadline_in_the_past_is_not_waited_for() {
    let node = Node::start();
    let said = |order: Container<'_>, name: &str, program: &[u8]| {
        let image = Image::new(name).file_as("/sleeps", program, 0o755, 0, 0);
        let task = order.image(&image).args(["/sleeps"]).hold_stdin().spawn();
        let code = task.try_wait(Duration::from_secs(30)).map(|exit| exit.code).ok();
        let said = if code.is_some() { task.delete() } else { task.discard() }.stdout;
        (said, code)
    };
    let native = said(node.container("native").runtime(Runtime::Runc), "sleeps-native", &guests::native("sleeps"));
    assert_eq!(native.1, Some(0));
    for (name, engine, module) in [
        ("sleeps-wasi-wasmtime", Engine::Wasmtime, guests::c("sleeps")),
        ("sleeps-wasi-wasmer", Engine::Wasmer, guests::c("sleeps")),
        ("sleeps-wasix-wasmer", Engine::Wasmer, guests::wasix("sleeps")),
    ] {
        let ours = said(node.container(name).engine(engine), name, &module);
        assert_eq!(ours, native, "{name}");
    }
    node.finish();
}
