//! Guests of a server that hurt themselves, and the effect on other requests: traps, endless loops, too much memory, too many requests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::time::{Duration, Instant};

use catamaran_harness::{Container, Node, procfs, wait_until};
use catamaran_integration::http::{
    Answer, Client, PORT, get, server, with_annotated_server, with_server, with_server_of,
};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);
const MIB: u64 = 1 << 20;
const TIMEOUT: &str = "catamaran.wasm/http-request-timeout";

/// Sends a request, and does not wait for its answer.
fn asked(path: &str) -> Client {
    let mut client = Client::connect(PORT);
    client.send(format!("GET {path} HTTP/1.1\r\nhost: pod\r\n\r\n"));
    client
}

/// A quota of one processor, and so one thread for all requests.
fn on_one_processor(container: Container<'_>) -> Container<'_> {
    container.spec(|spec| spec["linux"]["resources"]["cpu"] = json!({"quota": 100_000, "period": 100_000}))
}

fn hello(answer: &Answer) {
    assert_eq!(answer.short(), (200, "hello from http\n".to_owned(), true), "{answer:?}");
}

#[test]
fn a_trap_is_answered_with_500_and_affects_no_other_request() {
    with_server_of(on_one_processor, |task| {
        task.within(|| {
            let mut others: Vec<_> = (0..8).map(|_| asked("/sleep?1000")).collect();
            let mut client = Client::connect(PORT);
            for _ in 0..20 {
                let answer = client.get("/trap");
                assert!(answer.status == 500 && answer.complete && !answer.closes(), "{answer:?}");
                hello(&client.get("/hello"));
            }
            for other in &mut others {
                assert_eq!(other.answer().text(), "slept\n");
            }
        });
        let stderr = task.stderr();
        assert_eq!(stderr.matches("wasm trap: wasm `unreachable`").count(), 20, "{stderr}");
        assert!(stderr.contains("catamaran: the guest trapped") && stderr.contains("wasm backtrace:"), "{stderr}");
    });
}

#[test]
fn a_guest_that_sets_no_response_is_answered_for_with_500() {
    with_server(|task| {
        task.within(|| {
            let mut client = Client::connect(PORT);
            for path in ["/nothing", "/dropped"] {
                let answer = client.get(path);
                assert!(answer.status == 500 && answer.complete, "{path}: {answer:?}");
            }
            hello(&client.get("/hello"));
        });
        wait_until(SOON, "a word about it", || task.stderr().contains("without a response").then_some(()));
    });
}

#[test]
fn a_response_that_breaks_off_is_not_taken_for_a_whole_one() {
    with_annotated_server(TIMEOUT, "2s", |task| {
        task.within(|| {
            for path in ["/late-trap", "/late-spin"] {
                let mut client = asked(path);
                let answer = client.answer();
                assert_eq!(answer.short(), (200, "a part\n".to_owned(), false), "{path}");
                assert_eq!(client.rest(), b"", "{path}");
            }
            // The guest gives its answer up at once: the client has what was sent by then.
            let mut client = asked("/unfinished");
            let answer = client.try_answer();
            assert!(!answer.as_ref().is_ok_and(|answer| answer.complete), "{answer:?}");
            assert_eq!(client.rest(), b"");
            hello(&Client::connect(PORT).get("/hello"));
        });
        assert!(task.stderr().contains("wasm trap: wasm `unreachable`"), "{}", task.stderr());
    });
}

#[test]
fn a_request_that_takes_too_long_is_answered_with_504() {
    with_server_of(
        |order| on_one_processor(order.annotation(TIMEOUT, "1s")),
        |task| {
            task.within(|| {
                for path in ["/spin", "/sleep?60000"] {
                    let begin = Instant::now();
                    let mut slow: Vec<_> = (0..3).map(|_| asked(path)).collect();
                    // One thread has them all, and answers others meanwhile.
                    let mut client = Client::connect(PORT);
                    let mut answered = 0;
                    while begin.elapsed() < Duration::from_millis(800) {
                        hello(&client.get("/hello"));
                        answered += 1;
                    }
                    assert!(answered >= 2, "{answered} requests were answered beside {path}");
                    for client in &mut slow {
                        let answer = client.answer();
                        assert!(answer.status == 504 && answer.complete, "{path}: {answer:?}");
                    }
                    let took = begin.elapsed();
                    assert!((Duration::from_secs(1)..SOON).contains(&took), "{path}: {took:?}");
                }
                hello(&Client::connect(PORT).get("/hello"));
            });
            // No guest computes any more.
            let before = procfs::ticks(task.pid());
            std::thread::sleep(Duration::from_secs(1));
            assert!(procfs::ticks(task.pid()) - before <= 5, "a guest spins on");
        },
    );
}

#[test]
fn a_client_that_goes_away_takes_its_guest_along() {
    let one = "catamaran.wasm/http-max-concurrent-requests";
    with_annotated_server(one, "1", |task| {
        task.within(|| {
            for path in ["/sleep?60000", "/spin"] {
                let client = asked(path);
                std::thread::sleep(Duration::from_millis(300));
                drop(client);
                // Its place is free again, long before its deadline.
                let mut client = Client::connect(PORT);
                wait_until(SOON, path, || (client.get("/hello").status == 200).then_some(()));
            }
        });
    });
}

#[test]
fn without_a_timeout_a_request_may_take_its_time() {
    let node = Node::start();
    let task = server(&node, "server").annotation(TIMEOUT, "none").spawn();
    assert_eq!(get(&task, "/sleep?1500").text(), "slept\n");
    hello(&get(&task, "/hello"));
    // Only the container's end stops a guest in an endless loop.
    let client = task.within(|| asked("/spin"));
    task.kill("TERM");
    assert!(task.try_wait(Duration::from_secs(2)).is_err(), "it waits for what is under way");
    task.kill("TERM");
    assert_eq!(task.wait(SOON).code, 143);
    drop(client);
    task.delete();
    node.finish();
}

#[test]
fn an_instance_is_reused_up_to_its_limit() {
    let node = Node::start();
    let counts = |id: &str, reuse: Option<&str>| {
        let server = server(&node, id);
        let server =
            reuse.into_iter().fold(server, |c, reuse| c.annotation("catamaran.wasm/http-instance-reuse", reuse));
        let task = server.spawn();
        let counts: Vec<_> = task.within(|| {
            let mut client = Client::connect(PORT);
            (0..7).map(|_| client.get("/counter").text().trim().parse::<u32>().unwrap()).collect()
        });
        task.discard();
        counts
    };
    assert_eq!(counts("fresh", None), [1; 7]);
    assert_eq!(counts("reused", Some("3")), [1, 2, 3, 1, 2, 3, 1]);
    node.finish();
}

#[test]
fn an_instance_that_trapped_is_not_used_again() {
    with_annotated_server("catamaran.wasm/http-instance-reuse", "1000", |task| {
        task.within(|| {
            let mut client = Client::connect(PORT);
            assert_eq!(client.get("/counter").text(), "1\n");
            assert_eq!(client.get("/counter").text(), "2\n");
            assert_eq!(client.get("/trap").status, 500);
            assert_eq!(client.get("/counter").text(), "1\n");
            // Two concurrent requests have an instance each.
            let mut slow = asked("/sleep?500");
            hello(&client.get("/hello"));
            assert_eq!(slow.answer().text(), "slept\n");
        });
    });
}

#[test]
fn nothing_is_left_of_a_request_in_the_next_ones_memory() {
    with_annotated_server("catamaran.wasm/http-max-concurrent-requests", "1", |task| {
        task.within(|| {
            let mut client = Client::connect(PORT);
            for _ in 0..5 {
                assert_eq!(client.get("/fill?20").text(), "filled\n");
                assert_eq!(client.get("/counter").text(), "1\n");
            }
        });
    });
}

#[test]
fn an_instance_cannot_exceed_its_memory_limit() {
    let node = Node::start();
    let limited = server(&node, "limited").annotation("catamaran.wasm/http-instance-memory", "4Mi").spawn();
    assert_eq!(get(&limited, "/grow?100").text(), "refused\n", "6.25 MiB are more");
    assert_eq!(get(&limited, "/grow?10").text(), "grown\n");
    assert_eq!(get(&limited, "/fill?8").text(), "refused\n");
    assert_eq!(get(&limited, "/fill?2").text(), "filled\n");
    limited.discard();
    let free = server(&node, "free").spawn();
    assert_eq!(get(&free, "/grow?1000").text(), "grown\n");
    assert_eq!(get(&free, "/fill?8").text(), "filled\n");
    free.discard();
    node.finish();
}

#[test]
fn requests_above_the_limit_are_answered_with_503_at_once_or_after_a_second() {
    with_annotated_server("catamaran.wasm/http-max-concurrent-requests", "2", |task| {
        task.within(|| {
            let mut running: Vec<_> = (0..2).map(|_| asked("/sleep?4000")).collect();
            std::thread::sleep(Duration::from_millis(500));
            let begin = Instant::now();
            let mut others: Vec<_> = (0..10).map(|_| asked("/hello")).collect();
            for other in &mut others {
                let answer = other.answer();
                assert!(answer.status == 503 && answer.complete, "{answer:?}");
                assert!(
                    answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()),
                    "{answer:?}"
                );
            }
            assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
            for client in &mut running {
                assert_eq!(client.answer().text(), "slept\n");
            }
            // A request that need not wait long is answered.
            let mut running: Vec<_> = (0..2).map(|_| asked("/sleep?300")).collect();
            std::thread::sleep(Duration::from_millis(100));
            hello(&asked("/hello").answer());
            running.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "slept\n"));
        });
    });
}

#[test]
fn a_server_that_exceeds_the_containers_memory_is_killed_by_the_kernel() {
    let node = Node::start();
    let events = node.events();
    let task = server(&node, "server").memory(64 * MIB).spawn();
    hello(&get(&task, "/hello"));
    let answer = task.within(|| asked("/fill?200").try_answer());
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(task.wait(SOON).code, 137);
    events.settle();
    assert_eq!(events.of("server")[..3], ["create", "start", "oom"]);
    task.delete();
    node.finish();
}

#[test]
fn a_flood_of_traps_and_endless_loops_costs_the_others_nothing() {
    with_annotated_server(TIMEOUT, "500ms", |task| {
        task.within(|| {
            std::thread::scope(|scope| {
                for path in ["/trap", "/late-trap", "/spin", "/unfinished"] {
                    scope.spawn(move || {
                        for _ in 0..10 {
                            drop(asked(path).try_answer());
                        }
                    });
                }
                for _ in 0..2 {
                    scope.spawn(|| {
                        let mut client = Client::connect(PORT);
                        for _ in 0..200 {
                            hello(&client.get("/hello"));
                        }
                    });
                }
            });
        });
    });
}
