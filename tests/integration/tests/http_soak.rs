//! Tests of servers that take minutes: bodies of a gibibyte, and a hundred thousand requests of which many fail. `make soak` runs them;
//! smaller ones of both kinds are in `http_bodies` and `http_limits`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use catamaran_harness::{Task, procfs};
use catamaran_integration::http::{Client, PORT, with_annotated_server, with_server};

const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
/// The allowed peak memory of a worker, in kB, whatever it transfers.
const MOST_KB: u64 = 32 << 10;

const REQUESTS: u32 = 100_000;
/// The number of requests before the measurement, after which the worker has all that it needs for this concurrency.
const WARM_UP: u32 = 4_000;
const CLIENTS: u32 = 32;
/// The number of requests after which a client connects anew.
const REQUESTS_OF_A_CONNECTION: u32 = 20;
/// One request in this many traps, and one spins.
const ONE_OF: u32 = 100;
/// The allowed growth of the worker's own memory, in kB: what an allocator keeps after the peak.
const MOST_GROWTH_KB: u64 = 2 << 10;

/// Bytes of a body of any length, which all differ from those near them.
struct Pattern(Vec<u8>);

impl Pattern {
    /// No power of two, so that a lost or repeated block of a common size shows.
    const PERIOD: usize = MIB - 5;
    /// The largest part that is asked for at once.
    const PART: usize = 128 << 10;

    fn new() -> Self {
        let byte = |n: usize| (n.wrapping_mul(2_654_435_761) >> 13) as u8;
        Self((0..Self::PERIOD + Self::PART).map(|n| byte(n % Self::PERIOD)).collect())
    }

    fn part(&self, at: usize, length: usize) -> &[u8] {
        &self.0[at % Self::PERIOD..][..length]
    }

    /// Sends a request with this many bytes of it.
    fn post(&self, mut to: impl Write, path: &str, length: usize) {
        write!(to, "POST {path} HTTP/1.1\r\nhost: pod\r\ncontent-length: {length}\r\n\r\n").unwrap();
        for at in (0..length).step_by(Self::PART) {
            to.write_all(self.part(at, Self::PART.min(length - at))).unwrap();
        }
    }
}

fn most_memory(task: &Task<'_>) -> u64 {
    kilobytes(task, "VmHWM")
}

fn kilobytes(task: &Task<'_>, key: &str) -> u64 {
    procfs::status(task.pid())[key].trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[ignore = "a minute: make soak"]
fn a_gibibyte_passes_in_either_direction_and_back_in_little_memory() {
    let pattern = Pattern::new();
    with_server(|task| {
        task.within(|| {
            let mut client = Client::connect(PORT);
            let begin = Instant::now();
            let told = |what: &str, begin: Instant| {
                println!("{what}: {:.1} s, at most {} kB so far", begin.elapsed().as_secs_f64(), most_memory(task));
            };
            pattern.post(client.stream(), "/count", GIB);
            assert_eq!(client.answer().text(), format!("{GIB}\n"));
            told("up", begin);

            let begin = Instant::now();
            client.send(format!("GET /bytes?{GIB} HTTP/1.1\r\nhost: pod\r\n\r\n"));
            assert_eq!(client.head().header("content-length"), Some(GIB.to_string().as_str()));
            client.take_bytes(GIB as u64, |part| assert!(part.iter().all(|byte| *byte == b'x')));
            told("down", begin);

            let begin = Instant::now();
            std::thread::scope(|scope| {
                let writing = client.stream().try_clone().unwrap();
                scope.spawn(|| pattern.post(writing, "/echo", GIB));
                assert_eq!(client.head().status, 200);
                let mut come = 0;
                while let Some(chunk) = client.next_chunk() {
                    for part in chunk.chunks(Pattern::PART) {
                        assert!(part == pattern.part(come, part.len()), "other bytes came back from {come} on");
                        come += part.len();
                    }
                }
                assert_eq!(come, GIB);
            });
            told("echoed", begin);
            assert_eq!(client.get("/hello").status, 200, "the connection is kept");
        });
        let most = most_memory(task);
        assert!(most < MOST_KB, "{most} kB were in memory");
    });
}

/// The worker's resources that may not grow.
#[derive(Debug)]
struct Census {
    /// In kB.
    memory: u64,
    threads: u64,
    descriptors: usize,
}

impl Census {
    fn take(task: &Task<'_>) -> Self {
        Self {
            memory: kilobytes(task, "RssAnon"),
            threads: procfs::status(task.pid())["Threads"].parse().unwrap(),
            descriptors: fs::read_dir(procfs::file(task.pid(), "fd")).unwrap().count(),
        }
    }
}

/// Sends this many requests from all clients together. Each must get its own answer.
fn flood(requests: u32) {
    let next = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(PORT);
                let mut asked = 0;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return;
                    }
                    if asked == REQUESTS_OF_A_CONNECTION {
                        (client, asked) = (Client::connect(PORT), 0);
                    }
                    ask(&mut client, number);
                    asked += 1;
                }
            });
        }
    });
}

fn ask(client: &mut Client, number: u32) {
    let body = format!("the body of request {number}");
    let (answer, expected) = match (number % ONE_OF, number % 3) {
        (7, _) => (client.get("/trap"), (500, "the component failed\n".to_owned())),
        (57, _) => (client.get("/spin"), (504, "the component did not answer within 1s\n".to_owned())),
        (_, 0) => (client.get("/hello"), (200, "hello from http\n".to_owned())),
        (_, 1) => (client.request("POST", "/echo", &[], body.as_bytes()), (200, body.clone())),
        _ => (client.get("/bytes?1000"), (200, "x".repeat(1000))),
    };
    assert!(answer.complete && (answer.status, answer.text()) == expected, "{number}: {answer:?}");
}

#[test]
#[ignore = "some minutes: make soak"]
fn of_a_hundred_thousand_requests_those_that_trap_or_spin_harm_no_other_and_leave_nothing() {
    let timeout = "catamaran.wasm/http-request-timeout";
    with_annotated_server(timeout, "1s", |task| {
        let before = task.within(|| {
            flood(WARM_UP);
            std::thread::sleep(Duration::from_secs(2));
            Census::take(task)
        });
        let begin = Instant::now();
        task.within(|| flood(REQUESTS));
        let took = begin.elapsed();
        // The last connections are being closed.
        std::thread::sleep(Duration::from_secs(2));
        let after = Census::take(task);
        println!(
            "{REQUESTS} requests by {CLIENTS} clients, {REQUESTS_OF_A_CONNECTION} on each connection: {:.0} s; {before:?}, then \
             {after:?}; at most {} kB",
            took.as_secs_f64(),
            most_memory(task)
        );
        assert!(after.memory <= before.memory + MOST_GROWTH_KB, "{before:?}, then {after:?}");
        assert_eq!((after.threads, after.descriptors), (before.threads, before.descriptors));
        let traps = task.stderr().matches("wasm trap: wasm `unreachable`").count();
        assert_eq!(traps as u32, (REQUESTS + WARM_UP) / ONE_OF, "each trap is told of");
    });
}
