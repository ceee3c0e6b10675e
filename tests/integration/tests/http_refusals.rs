//! Bytes that are no HTTP, too much of it, or ambiguous, and a server's answers to them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::time::{Duration, Instant};

use catamaran_harness::Node;
use catamaran_integration::http::{Client, PORT, server, with_server};
use serde_json::json;

/// A smuggled request: an answer to it is a failure.
const SMUGGLED: &str = "GET /hello HTTP/1.1\r\nhost: pod\r\n\r\n";

/// Sends the request and another one after it: the first must get one of these statuses, the second no answer.
fn refused(name: &str, request: impl AsRef<[u8]>, statuses: &[u16]) {
    let mut client = Client::connect(PORT);
    client.send(request);
    client.try_send(SMUGGLED).ok();
    let answer = client.try_answer().unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(statuses.contains(&answer.status), "{name}: {answer:?}");
    let rest = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(!rest.contains("hello from http"), "{name}: {answer:?}, and then {rest}");
}

#[test]
fn a_request_that_is_not_http_is_answered_with_400() {
    with_server(|task| {
        task.within(|| {
            for (name, request) in [
                ("TLS", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n".as_slice()),
                ("no words", b"\x00\x01\x02\x03\r\n\r\n"),
                ("one word", b"GET\r\n\r\n"),
                ("no version", b"GET /hello\r\nhost: pod\r\n\r\n"),
                ("a space too many", b"GET  /hello HTTP/1.1\r\nhost: pod\r\n\r\n"),
                ("a space in the path", b"GET /a b HTTP/1.1\r\nhost: pod\r\n\r\n"),
                ("a method that is no word", b"G@T /hello HTTP/1.1\r\nhost: pod\r\n\r\n"),
                ("a header without a colon", b"GET /hello HTTP/1.1\r\nhost: pod\r\nheader\r\n\r\n"),
                ("a header without a name", b"GET /hello HTTP/1.1\r\nhost: pod\r\n: value\r\n\r\n"),
                ("a header that goes on", b"GET /hello HTTP/1.1\r\nhost: pod\r\na: b\r\n c\r\n\r\n"),
                ("a NUL in a header", b"GET /hello HTTP/1.1\r\nhost: pod\r\na: b\x00c\r\n\r\n"),
                ("a bare CR in a header", b"GET /hello HTTP/1.1\r\nhost: pod\r\na: b\rc\r\n\r\n"),
                ("a space behind a name", b"GET /hello HTTP/1.1\r\nhost: pod\r\na : b\r\n\r\n"),
            ] {
                refused(name, request, &[400]);
            }
            refused("another version", "GET /hello HTTP/3.0\r\nhost: pod\r\n\r\n", &[400, 505]);
            // A valid request, but for another kind of server.
            let mut client = Client::connect(PORT);
            client.send("CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n");
            let answer = client.answer();
            assert!(matches!(answer.status, 400 | 405 | 501), "{answer:?}");
        });
    });
}

#[test]
fn a_request_without_exactly_one_valid_host_is_refused() {
    with_server(|task| {
        task.within(|| {
            for (name, hosts) in [
                ("none", ""),
                ("two", "host: pod\r\nhost: other\r\n"),
                ("two of one name", "host: pod\r\nhost: pod\r\n"),
                ("two names", "host: pod other\r\n"),
                ("a path", "host: pod/path\r\n"),
                ("a user", "host: user@pod\r\n"),
                ("no ASCII", "host: p\u{f6}d\r\n"),
            ] {
                let mut client = Client::connect(PORT);
                client.send(format!("GET /hello HTTP/1.1\r\n{hosts}\r\n"));
                assert_eq!(client.answer().status, 400, "{name}");
            }
        });
    });
}

#[test]
fn a_body_without_exactly_one_valid_length_is_refused() {
    with_server(|task| {
        task.within(|| {
            for (name, headers) in [
                ("two", "content-length: 5\r\ncontent-length: 6\r\n"),
                ("two in one", "content-length: 5, 6\r\n"),
                ("a sign", "content-length: +5\r\n"),
                ("less than nothing", "content-length: -1\r\n"),
                ("a word", "content-length: five\r\n"),
                ("hexadecimal", "content-length: 0x5\r\n"),
                ("none", "content-length:\r\n"),
                ("beyond 64 bits", "content-length: 99999999999999999999\r\n"),
                ("not chunked", "transfer-encoding: gzip\r\n"),
                ("chunked not last", "transfer-encoding: chunked, gzip\r\n"),
                ("nearly chunked", "transfer-encoding: xchunked\r\n"),
                ("a space before the colon", "transfer-encoding : chunked\r\n"),
            ] {
                refused(
                    name,
                    format!("POST /count HTTP/1.1\r\nhost: pod\r\n{headers}\r\n5\r\n12345\r\n0\r\n\r\n"),
                    &[400, 501],
                );
            }
            // The chunks may count if the server closes the connection after the answer (RFC 9112, 6.1).
            for headers in
                ["content-length: 5\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 5"]
            {
                let request = format!("POST /count HTTP/1.1\r\nhost: pod\r\n{headers}\r\n\r\n5\r\n12345\r\n0\r\n\r\n");
                refused(headers, request, &[400, 200]);
            }
            let old = "POST /count HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n";
            refused("chunks of HTTP/1.0", old, &[400]);
        });
    });
}

#[test]
fn a_broken_body_is_not_taken_for_a_shorter_one() {
    with_server(|task| {
        task.within(|| {
            for (name, body) in [
                ("no number", "xyz\r\n12345\r\n0\r\n\r\n"),
                ("no size", "\r\n12345\r\n0\r\n\r\n"),
                ("a sign", "-5\r\n12345\r\n0\r\n\r\n"),
                ("a prefix", "0x5\r\n12345\r\n0\r\n\r\n"),
                ("beyond 64 bits", "fffffffffffffffff\r\n12345\r\n0\r\n\r\n"),
                ("longer than its size", "5\r\n1234567\r\n0\r\n\r\n"),
                ("a bare LF behind the size", "5\n12345\r\n0\r\n\r\n"),
                ("a bare LF in an extension", "5;a\nb\r\n12345\r\n0\r\n\r\n"),
            ] {
                // The guest finds its body broken, and answers 400 itself.
                let request = format!("POST /count HTTP/1.1\r\nhost: pod\r\ntransfer-encoding: chunked\r\n\r\n{body}");
                refused(name, request, &[400]);
            }
            for (name, request) in [
                ("a length", "POST /count HTTP/1.1\r\nhost: pod\r\ncontent-length: 10\r\n\r\n12345"),
                ("chunks", "POST /count HTTP/1.1\r\nhost: pod\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n"),
            ] {
                let mut client = Client::connect(PORT);
                client.send(request);
                client.end();
                if let Ok(answer) = client.try_answer() {
                    assert_eq!(answer.status, 400, "{name}, cut off: {answer:?}");
                }
            }
        });
    });
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    with_server(|task| {
        task.within(|| {
            let mut client = Client::connect(PORT);
            // A cookie as large as browsers and proxies send.
            let cookie = "c".repeat(16 << 10);
            assert_eq!(client.request("GET", "/hello", &[("cookie", &cookie)], b"").status, 200);
            assert_eq!(client.get(&format!("/hello?{}", "q".repeat(3000))).status, 200);
            for (name, head, statuses) in [
                ("an address", format!("GET /{} HTTP/1.1\r\nhost: pod\r\n\r\n", "a".repeat(70_000)), [414, 431]),
                (
                    "a header",
                    format!("GET /hello HTTP/1.1\r\nhost: pod\r\na: {}\r\n\r\n", "a".repeat(50_000)),
                    [431, 431],
                ),
                (
                    "two",
                    format!(
                        "GET /hello HTTP/1.1\r\nhost: pod\r\n{}\r\n",
                        format!("a: {}\r\n", "b".repeat(20_000)).repeat(2)
                    ),
                    [431, 431],
                ),
                ("many", format!("GET /hello HTTP/1.1\r\nhost: pod\r\n{}\r\n", "a: b\r\n".repeat(2000)), [431, 431]),
            ] {
                let mut client = Client::connect(PORT);
                // The server may refuse it before all of it is sent.
                client.try_send(&head).ok();
                let answer = client.answer();
                assert!(statuses.contains(&answer.status), "{name}: {answer:?}");
            }
            // A hundred headers are taken, including the host's.
            for (others, status) in [(99, 200), (100, 431)] {
                let mut client = Client::connect(PORT);
                client.send(format!("GET /hello HTTP/1.1\r\nhost: pod\r\n{}\r\n", "a: b\r\n".repeat(others)));
                assert_eq!(client.answer().status, status, "{others} beside the host");
            }
            // A head without an end.
            let mut client = Client::connect(PORT);
            client.send("GET /hello HTTP/1.1\r\nhost: pod\r\n");
            let begin = Instant::now();
            while client.try_send("header: value\r\n").is_ok() {
                assert!(begin.elapsed() < Duration::from_secs(20), "a head without an end is read");
            }
        });
    });
}

#[test]
fn a_slow_head_is_answered_with_408() {
    with_server(|task| {
        task.within(|| {
            let begin = Instant::now();
            let mut client = Client::connect(PORT);
            client.send("GET /hello HTTP/1.1\r\nhost: ");
            // A byte a second is not fast enough either.
            let mut still = Client::connect(PORT);
            still.send("GET /hello HTTP/1.1\r\n");
            while still.is_silent(Duration::from_secs(1)) {
                still.try_send("a").ok();
                assert!(begin.elapsed() < Duration::from_secs(30), "the connection is kept");
            }
            for client in [&mut client, &mut still] {
                let answer = client.answer();
                assert!(answer.status == 408 && answer.closes(), "{answer:?}");
                assert_eq!(client.rest(), b"");
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
        });
    });
}

#[test]
fn connections_above_the_limit_are_answered_with_503() {
    let node = Node::start();
    // The limit of descriptors is one of connections, and a few for the worker itself.
    let task = server(&node, "server").spec(|spec| {
        spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 128, "soft": 128}]);
    });
    let task = task.spawn();
    task.within(|| {
        let mut clients: Vec<_> = (0..200).map(|_| Client::connect(PORT)).collect();
        let (mut answered, mut refused) = (0, 0);
        for client in &mut clients {
            // The server may close a refused connection before the request.
            client.try_send(SMUGGLED).ok();
            match client.try_answer() {
                Ok(answer) if answer.status == 503 => {
                    assert!(answer.header("retry-after").is_some() && answer.closes(), "{answer:?}");
                    refused += 1;
                }
                Ok(answer) => {
                    assert_eq!(answer.short(), (200, "hello from http\n".to_owned(), true));
                    answered += 1;
                }
                Err(_) => refused += 1,
            }
        }
        assert!(answered >= 32 && refused >= 72, "{answered} were answered and {refused} refused");
        drop(clients);
        // There is room again.
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(Client::connect(PORT).get("/hello").status, 200);
    });
    task.discard();
    node.finish();
}

#[test]
fn a_connection_above_the_limit_gets_the_reason() {
    let node = Node::start();
    let task = server(&node, "server").spec(|spec| {
        spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 128, "soft": 128}]);
    });
    let task = task.spawn();
    task.within(|| {
        // As many connections as the server takes.
        let mut held = Vec::new();
        loop {
            let mut client = Client::connect(PORT);
            // A request that the server does not read must not cost the client the answer.
            client.send(SMUGGLED);
            let answer = client.try_answer().unwrap_or_else(|error| panic!("behind {} others: {error}", held.len()));
            match answer.status {
                200 => held.push(client),
                status => break assert_eq!(status, 503, "{answer:?}"),
            }
        }
        assert_eq!(held.len(), 32, "of 128 descriptors 96 are for other things");
        for number in 0..100 {
            let mut client = Client::connect(PORT);
            client.send(SMUGGLED);
            let answer = client.try_answer().unwrap_or_else(|error| panic!("{number}: {error}"));
            assert!(answer.status == 503 && answer.closes() && answer.complete, "{number}: {answer:?}");
        }
        assert_eq!(held[0].get("/hello").status, 200);
    });
    task.discard();
    node.finish();
}
