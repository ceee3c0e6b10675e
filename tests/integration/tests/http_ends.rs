//! The end of a server: requests under way are answered, new ones are refused, and the log says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use catamaran_harness::{Node, wait_until};
use catamaran_integration::http::{Client, PORT, get, server};

const SOON: Duration = Duration::from_secs(10);
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);
const LAME_DUCK: &str = "catamaran.wasm/http-lame-duck";

#[test]
fn requests_under_way_are_answered_after_any_stop_signal() {
    let node = Node::start();
    for signal in ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2"] {
        let task = server(&node, &format!("by-{}", signal.to_lowercase())).spawn();
        task.within(|| {
            let mut idle = Client::connect(PORT);
            assert_eq!(idle.get("/hello").status, 200);
            let mut slow = Client::connect(PORT);
            slow.send("GET /sleep?1500 HTTP/1.1\r\nhost: pod\r\n\r\n");
            let mut stream = Client::connect(PORT);
            stream.send("GET /drip?15 HTTP/1.1\r\nhost: pod\r\n\r\n");
            assert_eq!(stream.head().status, 200);
            assert_eq!(stream.some_chunks(7), b"line 1\n");
            task.kill(signal);
            // Idle connections are closed at once, and no new ones are taken.
            assert_eq!(idle.rest(), b"", "{signal}");
            wait_until(SOON, "the listener to be gone", || Client::try_connect(SERVER).is_err().then_some(()));
            let answer = slow.answer();
            assert_eq!(answer.short(), (200, "slept\n".to_owned(), true), "{signal}");
            assert!(answer.closes(), "{signal}: {answer:?}");
            assert_eq!(slow.rest(), b"", "{signal}");
            let rest = String::from_utf8(stream.rest()).unwrap();
            assert!(rest.contains("line 15\n") && rest.ends_with("0\r\n\r\n"), "{signal}: {rest}");
        });
        assert_eq!(task.wait(SOON).code, 0, "{signal}: {}", task.stderr());
        assert_eq!(task.delete().stderr, "", "{signal}");
    }
    node.finish();
}

#[test]
fn instances_that_wait_for_requests_hold_up_no_end() {
    let node = Node::start();
    let task = server(&node, "server").annotation("catamaran.wasm/http-instance-reuse", "100").spawn();
    task.within(|| {
        let mut client = Client::connect(PORT);
        assert_eq!(client.get("/counter").text(), "1\n");
        assert_eq!(client.get("/print?words").status, 200);
        assert_eq!(client.get("/counter").text(), "3\n", "the instance waits for its next request");
    });
    task.kill("TERM");
    assert_eq!(task.wait(SOON).code, 0);
    assert_eq!(task.delete().stdout, "words\n");
    node.finish();
}

#[test]
fn a_server_with_nothing_to_do_ends_at_once() {
    let node = Node::start();
    for asked in [false, true] {
        let task = server(&node, "server").spawn();
        if asked {
            assert_eq!(get(&task, "/hello").status, 200);
        }
        let begin = Instant::now();
        task.kill("TERM");
        assert_eq!(task.wait(SOON).code, 0);
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        task.delete();
    }
    node.finish();
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let node = Node::start();
    for (signals, code) in [(["TERM", "TERM"], 143), (["TERM", "INT"], 130), (["INT", "HUP"], 129)] {
        let task = server(&node, "server").spawn();
        let mut client = task.within(|| Client::connect(PORT));
        client.send("GET /sleep?60000 HTTP/1.1\r\nhost: pod\r\n\r\n");
        task.kill(signals[0]);
        assert!(task.try_wait(Duration::from_secs(1)).is_err(), "it waits for what is under way");
        task.kill(signals[1]);
        assert_eq!(task.wait(SOON).code, code, "{signals:?}");
        task.delete();
    }
    // SIGKILL waits for no request.
    let task = server(&node, "killed").spawn();
    task.kill("KILL");
    assert_eq!(task.wait(SOON).code, 137);
    task.delete();
    node.finish();
}

#[test]
fn a_lame_duck_goes_on_for_a_while_and_says_so() {
    let node = Node::start();
    let task = server(&node, "server").annotation(LAME_DUCK, "3s").spawn();
    task.within(|| {
        let mut kept = Client::connect(PORT);
        assert!(!kept.get("/hello").closes());
        let begin = Instant::now();
        task.kill("TERM");
        std::thread::sleep(Duration::from_millis(500));
        // Clients that do not know of the stop yet are served: on a new connection, and for the last time on an existing one.
        let mut answered = 0;
        while begin.elapsed() < Duration::from_secs(2) {
            let mut client = Client::connect(PORT);
            let answer = client.get("/hello");
            assert!(answer.status == 200 && answer.closes(), "{answer:?}");
            assert_eq!(client.rest(), b"");
            answered += 1;
        }
        assert!(answered > 2, "{answered} were answered");
        let last = kept.get("/hello");
        assert!(last.status == 200 && last.closes(), "{last:?}");
        assert_eq!(task.wait(SOON).code, 0);
        assert!(begin.elapsed() > Duration::from_millis(2900), "{:?}", begin.elapsed());
    });
    task.delete();
    node.finish();
}

#[test]
fn a_request_that_was_on_its_way_is_answered() {
    let node = Node::start();
    let task = server(&node, "server").spawn();
    task.within(|| {
        // The signal comes after half of a body.
        let mut client = Client::connect(PORT);
        client.send("POST /count HTTP/1.1\r\nhost: pod\r\ncontent-length: 10\r\n\r\n12345");
        std::thread::sleep(Duration::from_millis(300));
        task.kill("TERM");
        std::thread::sleep(Duration::from_millis(300));
        client.send("67890");
        let answer = client.answer();
        assert_eq!(answer.short(), (200, "10\n".to_owned(), true));
    });
    assert_eq!(task.wait(SOON).code, 0);
    task.delete();
    node.finish();
}

#[test]
fn a_request_that_never_ends_is_over_at_its_timeout() {
    let node = Node::start();
    let task = server(&node, "server").annotation("catamaran.wasm/http-request-timeout", "2s").spawn();
    let mut client = task.within(|| Client::connect(PORT));
    client.send("GET /spin HTTP/1.1\r\nhost: pod\r\n\r\n");
    std::thread::sleep(Duration::from_millis(300));
    task.kill("TERM");
    assert_eq!(client.answer().status, 504);
    assert_eq!(task.wait(SOON).code, 0);
    task.delete();
    node.finish();
}

#[test]
fn a_connection_without_a_request_holds_up_no_end() {
    let node = Node::start();
    let task = server(&node, "server").spawn();
    let mut quiet = task.within(|| Client::connect(PORT));
    let mut late = task.within(|| Client::connect(PORT));
    std::thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    task.kill("TERM");
    std::thread::sleep(Duration::from_millis(300));
    // Its request was under way.
    late.send("GET /hello HTTP/1.1\r\nhost: pod\r\n\r\n");
    let answer = late.answer();
    assert!(answer.status == 200 && answer.closes(), "{answer:?}");
    assert_eq!(quiet.rest(), b"");
    assert_eq!(task.wait(SOON).code, 0);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    task.delete();
    node.finish();
}
