//! A server of WASI 0.3: its answers, several requests at once in one instance, and the effect of one's end on the others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use catamaran_harness::{Container, Node, Task, guests, wait_until};
use catamaran_integration::component;
use catamaran_integration::http::{Client, PORT, get, image};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);
const TIMEOUT: &str = "catamaran.wasm/http-request-timeout";
const REUSE: &str = "catamaran.wasm/http-instance-reuse";

/// The order for a container of the guest, on one thread, so that all requests come to the same instances.
fn service<'n>(node: &'n Node, world: &str) -> Container<'n> {
    let image = component(&format!("{world}-3"), guests::http_3(world, "0.3.0"));
    let one = |spec: &mut serde_json::Value| {
        spec["linux"]["resources"]["cpu"] = json!({"quota": 100_000, "period": 100_000});
    };
    node.container(world).image(&image).spec(one)
}

/// Sends a request, and does not wait for its answer yet.
fn asked(path: &str) -> Client {
    let mut client = Client::connect(PORT);
    client.send(format!("GET {path} HTTP/1.1\r\nhost: pod\r\n\r\n"));
    client
}

fn says(path: &str, text: &str) {
    assert_eq!(Client::connect(PORT).get(path).short(), (200, text.to_owned(), true), "{path}");
}

#[test]
fn a_server_of_wasi_0_3_answers() {
    let node = Node::start();
    let task = service(&node, "service").env("GREETING", "good morning").spawn();
    task.within(|| {
        says("/hello", "hello from wasi 0.3\n");
        says("/chunked", "hello from wasi 0.3\n");
        says("/env?GREETING", "good morning\n");
        says("/empty", "");
        says("/outgoing", "refused\n");
        // A file of the container's own tree.
        let file = Client::connect(PORT).get("/file?service-3.wasm");
        assert!(file.complete && file.body == guests::http_3("service", "0.3.0"), "{:?}", file.status);
        assert_eq!(Client::connect(PORT).get("/file?nothing").status, 404);
        assert_eq!(Client::connect(PORT).get("/unknown").status, 404);
        assert_eq!(Client::connect(PORT).get("/error").status, 500);
    });
    wait_until(SOON, "its stderr", || task.stderr().contains("the guest answered with an error").then_some(()));
    task.discard();
    node.finish();
}

#[test]
fn a_body_is_streamed_in_both_directions_while_it_comes() {
    let node = Node::start();
    let task = service(&node, "service").spawn();
    task.within(|| {
        for path in ["/echo", "/pass"] {
            let mut client = Client::connect(PORT);
            client.send(format!("POST {path} HTTP/1.1\r\nhost: pod\r\ntransfer-encoding: chunked\r\n\r\n"));
            for (at, part) in ["one ", "two ", "three"].into_iter().enumerate() {
                client.send(format!("{:x}\r\n{part}\r\n", part.len()));
                if at == 0 {
                    assert_eq!(client.head().status, 200, "{path}");
                }
                // The first part comes back before the rest is sent.
                assert_eq!(client.some_chunks(part.len()), part.as_bytes(), "{path}");
            }
            client.send("0\r\n\r\n");
            assert_eq!(client.rest(), b"0\r\n\r\n", "{path}");
            let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
            let mut client = Client::connect(PORT);
            let mut stream = client.stream().try_clone().unwrap();
            let head = format!("POST {path} HTTP/1.1\r\nhost: pod\r\ncontent-length: {}\r\n\r\n", large.len());
            let sent = [head.as_bytes(), &large].concat();
            let answer = std::thread::scope(|scope| {
                scope.spawn(move || stream.write_all(&sent).unwrap());
                client.answer()
            });
            assert!(answer.complete && answer.body == large, "{path}: {} bytes", answer.body.len());
        }
    });
    task.discard();
    node.finish();
}

#[test]
fn an_instance_has_several_requests_at_once_and_as_many_in_all_as_its_author_says() {
    let node = Node::start();
    let task = service(&node, "service").annotation(REUSE, "4").spawn();
    task.within(|| {
        // Each answer says how many requests its instance had at once.
        let mut slow: Vec<_> = (0..4)
            .map(|_| {
                let client = asked("/sleep?1000");
                std::thread::sleep(Duration::from_millis(100));
                client
            })
            .collect();
        let at_once: Vec<_> = slow.iter_mut().map(|client| client.answer().text()).collect();
        assert_eq!(at_once, ["4 at once\n"; 4]);
        for expected in ["1\n", "2\n", "3\n", "4\n", "1\n"] {
            says("/counter", expected);
        }
    });
    task.discard();
    node.finish();
}

#[test]
fn a_trap_ends_all_requests_of_its_instance_and_none_is_taken_for_whole() {
    let node = Node::start();
    let task = service(&node, "service").spawn();
    task.within(|| {
        let mut waiting = asked("/sleep?60000");
        // Until its instance takes the next request too: while a guest computes, another instance takes it.
        std::thread::sleep(Duration::from_millis(300));
        let mut begun = asked("/begin");
        assert_eq!(begun.head().status, 200);
        assert_eq!(begun.some_chunks(7), b"a part\n");
        std::thread::sleep(Duration::from_millis(300));
        let answer = Client::connect(PORT).get("/trap");
        assert!(answer.status == 500 && answer.complete && !answer.closes(), "{answer:?}");
        let answer = waiting.answer();
        assert!(answer.status == 500 && answer.complete, "{answer:?}");
        assert!(!begun.rest().ends_with(b"0\r\n\r\n"), "a response that was broken off looks whole");
        let mut late = asked("/late-trap");
        let answer = late.answer();
        assert_eq!(answer.short(), (200, "a part\n".to_owned(), false));
        says("/hello", "hello from wasi 0.3\n");
        assert_eq!(Client::connect(PORT).get("/nothing").status, 500);
        says("/hello", "hello from wasi 0.3\n");
    });
    let stderr = task.stderr();
    assert_eq!(stderr.matches("wasm trap: wasm `unreachable`").count(), 2, "each is told once: {stderr}");
    task.discard();
    node.finish();
}

#[test]
fn a_request_that_takes_too_long_ends_no_other_and_one_that_computes_ends_with_its_instance() {
    let node = Node::start();
    let task = service(&node, "service").annotation(TIMEOUT, "2s").spawn();
    task.within(|| {
        let mut late = asked("/sleep?60000");
        std::thread::sleep(Duration::from_millis(800));
        // In the same instance, and answered after the other's deadline.
        let mut other = asked("/sleep?1700");
        let answer = late.answer();
        assert!(answer.status == 504 && answer.complete, "{answer:?}");
        assert_eq!(other.answer().short(), (200, "2 at once\n".to_owned(), true));
        // Work for a client that is gone is ended, and its instance with it.
        std::thread::sleep(Duration::from_millis(1500));
        says("/counter", "1\n");
        let begin = Instant::now();
        let mut spinning = asked("/spin");
        let answer = spinning.answer();
        assert!(answer.status == 504 && answer.complete, "{answer:?}");
        assert!(begin.elapsed() < SOON);
        let mut late = asked("/late-spin");
        let answer = late.answer();
        assert_eq!(answer.short(), (200, "a part\n".to_owned(), false));
        says("/hello", "hello from wasi 0.3\n");
    });
    // No guest computes any more.
    let before = ticks(&task);
    std::thread::sleep(Duration::from_secs(1));
    assert!(ticks(&task) - before <= 5, "a guest spins on");
    task.discard();
    node.finish();
}

/// The worker's processor time so far, in hundredths of a second.
fn ticks(task: &Task<'_>) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", task.pid())).unwrap();
    let words: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap()
}

#[test]
fn a_client_that_goes_takes_its_guest_along_and_no_other() {
    let node = Node::start();
    let one = "catamaran.wasm/http-max-concurrent-requests";
    let task = service(&node, "service").annotation(one, "2").spawn();
    task.within(|| {
        for path in ["/sleep?60000", "/begin"] {
            let mut other = asked("/sleep?2000");
            std::thread::sleep(Duration::from_millis(300));
            let client = asked(path);
            std::thread::sleep(Duration::from_millis(300));
            drop(client);
            assert_eq!(other.answer().short(), (200, "2 at once\n".to_owned(), true), "{path}");
            std::thread::sleep(Duration::from_millis(1500));
            says("/counter", "1\n");
            // A guest alone in its instance is ended with it at once.
            drop(asked(path));
            std::thread::sleep(Duration::from_millis(300));
            says("/counter", "1\n");
        }
    });
    // The guest's background work is over, and does not delay the end.
    task.kill("TERM");
    assert_eq!(task.wait(SOON).code, 0);
    task.delete();
    node.finish();
}

#[test]
fn a_stopping_server_waits_for_what_its_guest_does_after_the_response() {
    let node = Node::start();
    let task = service(&node, "service").spawn();
    task.within(|| says("/after?1500", "soon\n"));
    task.kill("TERM");
    assert_eq!(task.wait(SOON).code, 0);
    assert_eq!(task.delete().stdout, "after\n");
    node.finish();
}

#[test]
fn host_names_are_resolved_for_a_server_that_imports_the_lookup() {
    let node = Node::start();
    let task = service(&node, "asking").spawn();
    task.within(|| says("/resolve?localhost", "found\n"));
    task.discard();
    node.finish();
}

#[test]
fn a_later_version_of_wasi_0_3_is_accepted() {
    let node = Node::start();
    let image = component("later", guests::http_3("service", "0.3.2"));
    let task = node.container("later").image(&image).spawn();
    assert_eq!(get(&task, "/hello").short(), (200, "hello from wasi 0.3\n".to_owned(), true));
    task.discard();
    node.finish();
}

#[test]
fn a_node_without_wasi_0_3_refuses_it_by_the_name_of_its_option() {
    let node = Node::start();
    // With machine code in the cache.
    service(&node, "service").spawn().discard();
    let file = node.dir().join("options.toml");
    fs::write(&file, "wasi_p3 = false\n").unwrap();
    let options = ["--runtime-config-path", file.to_str().unwrap()];
    let refused = service(&node, "service").flag(options).try_create().map(drop).unwrap_err();
    for words in ["`wasi:", "which is of WASI 0.3", "the option wasi_p3 to false", "build the component for WASI 0.2"] {
        assert!(refused.message.contains(words), "{words}: {refused}");
    }
    // Components of 0.2 run there.
    let older = node.container("older").image(&image("server")).flag(options).spawn();
    assert_eq!(get(&older, "/hello").status, 200);
    older.discard();
    node.finish();
}
