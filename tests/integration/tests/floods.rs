//! Many containers at once and many in a row: none fails, nothing is left, and containerd has neither more open descriptors nor much more
//! memory than before.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use catamaran_harness::{Container, Engine, Image, Node, Runtime, State, guests, wait_until};

const SOON: Duration = Duration::from_secs(20);
/// Eight at a time on two cores, beside other work of the machine.
const LATER: Duration = Duration::from_secs(120);
/// The allowed growth of containerd's own memory: Go returns freed memory when it likes.
const MOST_GROWTH: u64 = 24 << 20;

fn sleep(runtime: Runtime) -> Image {
    guests::image(runtime, "sleep")
}

/// containerd's resources, which must all be back when all containers are gone.
struct Account<'n> {
    node: &'n Node,
    descriptors: usize,
    memory: u64,
}

impl<'n> Account<'n> {
    /// Measured after a first container of each kind: what is opened once stays open.
    fn open(node: &'n Node) -> Self {
        for engine in Engine::ALL {
            node.container("first").image(&sleep(Runtime::Catamaran)).engine(engine).spawn().discard();
        }
        node.container("first").image(&sleep(Runtime::Runc)).runtime(Runtime::Runc).spawn().discard();
        node.expect_nothing_left(SOON);
        node.await_compiles();
        let (descriptors, memory) = of_containerd(node);
        Self { node, descriptors, memory }
    }

    fn close(self) {
        self.node.expect_nothing_left(SOON);
        wait_until(SOON, "containerd to close what it has opened", || {
            (of_containerd(self.node).0 <= self.descriptors).then_some(())
        });
        let memory = of_containerd(self.node).1;
        assert!(memory <= self.memory + MOST_GROWTH, "containerd had {} bytes, and has {memory}", self.memory);
    }
}

/// containerd's open descriptors, and its private memory in bytes.
fn of_containerd(node: &Node) -> (usize, u64) {
    let pid = node.containerd_pid();
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    (descriptors, line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024)
}

/// Runs `work` for the numbers below `size`, eight at a time.
fn eight_at_a_time(size: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < size) {
                    work(number);
                }
            });
        }
    });
}

/// The order for one engine, the other, runc, and so on.
fn mixed<'n>(node: &'n Node, number: usize) -> Container<'n> {
    let order = node.container(&format!("flood-{number}")).limit(LATER);
    match number % 5 {
        0 | 2 => order.image(&sleep(Runtime::Catamaran)).engine(Engine::Wasmtime),
        1 | 3 => order.image(&sleep(Runtime::Catamaran)).engine(Engine::Wasmer),
        _ => order.image(&sleep(Runtime::Runc)).runtime(Runtime::Runc),
    }
}

/// Starts them all; in the end all run at the same time.
fn starts(size: usize) {
    let node = Node::start();
    let account = Account::open(&node);
    let running = std::sync::Mutex::new(Vec::new());
    let begin = Instant::now();
    eight_at_a_time(size, |number| {
        let task = mixed(&node, number).spawn();
        task.expect_stdout("ready\n");
        running.lock().unwrap().push(task);
    });
    println!("{size} starts, eight at a time, a fifth of them on runc: {:?}", begin.elapsed());
    let tasks = running.into_inner().unwrap();
    assert_eq!(tasks.len(), size);
    assert!(tasks.iter().all(|task| task.state() == State::Running));
    let tasks: Vec<_> = tasks.into_iter().map(|task| std::sync::Mutex::new(Some(task))).collect();
    eight_at_a_time(size, |number| {
        let task = tasks[number].lock().unwrap().take().unwrap();
        assert_eq!(task.discard().code, 137);
    });
    account.close();
    node.finish();
}

/// A container's life between its creation and its deletion.
#[derive(Clone, Copy)]
enum Life {
    Unstarted,
    KilledAtOnce,
    Started,
}

fn storm(cycles: usize, life: Life) {
    let node = Node::start();
    let account = Account::open(&node);
    for engine in Engine::ALL {
        let order = node.container("storm").image(&sleep(Runtime::Catamaran)).engine(engine).limit(LATER);
        let mut task = order.create();
        let begin = Instant::now();
        for _ in 1..cycles {
            match life {
                Life::Unstarted => {}
                Life::KilledAtOnce => task.kill("KILL"),
                Life::Started => {
                    task.start();
                    task.kill("KILL");
                }
            }
            if !matches!(life, Life::Unstarted) {
                assert_eq!(task.wait(SOON).code, 137);
            }
            assert_eq!(task.try_delete().unwrap().code, 137);
            task = order.try_create_again().unwrap();
        }
        println!("{cycles} cycles on {}: {:?}", engine.name(), begin.elapsed());
        task.discard();
    }
    account.close();
    node.finish();
}

#[test]
fn fifty_starts_at_once_beside_runc_succeed_and_leave_nothing() {
    starts(50);
}

#[test]
fn creations_that_are_deleted_unstarted_leave_nothing() {
    storm(25, Life::Unstarted);
}

#[test]
fn creations_that_are_killed_at_once_leave_nothing() {
    storm(25, Life::KilledAtOnce);
}

#[test]
fn starts_that_are_killed_at_once_leave_nothing() {
    storm(25, Life::Started);
}

#[test]
fn of_several_clients_that_create_one_id_one_succeeds() {
    let node = Node::start();
    let image = sleep(Runtime::Catamaran);
    for engine in Engine::ALL {
        let order = node.container("same").image(&image).engine(engine);
        order.create().try_delete().unwrap();
        for round in 0..5 {
            let codes: Vec<i32> = std::thread::scope(|scope| {
                let start = || node.ctr(["tasks", "start", "--detach", "--null-io", "same"]).code;
                let clients: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
                clients.into_iter().map(|client| client.join().unwrap()).collect()
            });
            assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "round {round}: {codes:?}");
            assert_eq!(node.ctr_ok(["tasks", "ls", "-q"]), "same\n");
            node.ctr_ok(["tasks", "rm", "--force", "same"]);
        }
        node.ctr_ok(["containers", "rm", "same"]);
    }
    node.finish();
}

#[test]
#[ignore = "minutes: make soak"]
fn two_hundred_starts_at_once_beside_runc_succeed_and_leave_nothing() {
    starts(200);
}

#[test]
#[ignore = "minutes: make soak"]
fn storms_of_a_hundred_leave_nothing() {
    for life in [Life::Unstarted, Life::KilledAtOnce, Life::Started] {
        storm(100, life);
    }
}
