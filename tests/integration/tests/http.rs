//! Components that serve HTTP: requests and answers as users of HTTP/1.1 expect them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::time::Duration;

use catamaran_harness::{Node, guests, wait_until};
use catamaran_integration::component;
use catamaran_integration::http::{Client, PORT, get, image, server, with_server};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_first_request_after_start_is_answered() {
    let node = Node::start();
    for n in 0..3 {
        let task = server(&node, &format!("server-{n}")).spawn();
        let answer = get(&task, "/hello");
        assert_eq!(answer.short(), (200, "hello from http\n".to_owned(), true));
        assert_eq!(answer.header("content-length"), Some("16"), "{answer:?}");
        assert!(answer.version == "HTTP/1.1" && answer.header("date").is_some(), "{answer:?}");
        task.discard();
    }
    node.finish();
}

#[test]
fn a_server_has_its_containers_environment_files_and_output() {
    let node = Node::start();
    let image = image("server").file("/etc/motd", "of the image\n");
    let task = node.container("server").image(&image).env("NAME", "of the container").spawn();
    assert_eq!(get(&task, "/env?NAME").text(), "of the container");
    for (name, value) in [("HOME", "/"), ("CATAMARAN_ENGINE", "wasmtime")] {
        assert_eq!(get(&task, &format!("/env?{name}")).text(), value);
    }
    assert_eq!(get(&task, "/file?/etc/motd").text(), "of the image\n");
    assert_eq!(get(&task, "/file?/nothing").status, 404);
    assert_eq!(get(&task, "/file?/proc/self/status").status, 404, "there is no procfs");
    assert_eq!(get(&task, "/print?some-words").text(), "printed\n");
    task.expect_stdout("some-words\n");
    wait_until(SOON, "its stderr", || task.stderr().contains("some-words\n").then_some(()));
    task.discard();
    node.finish();
}

#[test]
fn a_connection_is_kept_for_further_requests() {
    with_server(|task| {
        task.within(|| {
            let mut client = Client::connect(PORT);
            for _ in 0..3 {
                let answer = client.get("/hello");
                assert!(
                    answer.short() == (200, "hello from http\n".to_owned(), true) && !answer.closes(),
                    "{answer:?}"
                );
            }
            // Errors of the guest and of the server keep the connection too, and so does a body that the guest leaves unread.
            assert_eq!(client.get("/status?418").status, 418);
            assert_eq!(client.get("/elsewhere").status, 404);
            assert_eq!(client.request("POST", "/ignore", &[], &[b'x'; 1000]).text(), "ignored\n");
            assert_eq!(client.get("/hello").status, 200);
            let last = client.request("GET", "/hello", &[("connection", "close")], b"");
            assert_eq!(last.status, 200);
            assert_eq!(client.rest(), b"");
        });
    });
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    with_server(|task| {
        task.within(|| {
            let mut client = Client::connect(PORT);
            // The first request takes the longest.
            let paths = ["/sleep?500", "/hello", "/bytes?10", "/status?418", "/chunked?100000", "/hello"];
            let requests: Vec<_> =
                paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nhost: pod\r\n\r\n")).collect();
            client.send(requests.concat());
            let answers: Vec<_> = paths.iter().map(|_| client.answer()).collect();
            let short: Vec<_> =
                answers.iter().map(|answer| (answer.status, answer.body.len(), answer.complete)).collect();
            let expected = [(200, 6), (200, 16), (200, 10), (418, 9), (200, 100_000), (200, 16)];
            assert_eq!(short, expected.map(|(status, length)| (status, length, true)));
        });
    });
}

#[test]
fn head_has_the_heads_of_get_and_no_body() {
    with_server(|task| {
        task.within(|| {
            let mut client = Client::connect(PORT);
            let answer = client.request("HEAD", "/hello", &[], b"");
            assert_eq!((answer.status, answer.header("content-length")), (200, Some("16")), "{answer:?}");
            // The guest writes a body all the same; the server sends nothing of it.
            for path in ["/bytes?1000000", "/chunked?1000000"] {
                assert_eq!(client.request("HEAD", path, &[], b"").status, 200);
            }
            assert_eq!(client.get("/hello").text(), "hello from http\n", "the connection is in step");
            for status in [204, 304] {
                let answer = client.get(&format!("/status?{status}"));
                assert!(answer.status == status && answer.header("transfer-encoding").is_none(), "{answer:?}");
            }
            assert_eq!(client.get("/hello").text(), "hello from http\n", "the connection is in step");
        });
    });
}

#[test]
fn a_guest_is_told_what_was_asked() {
    with_server(|task| {
        task.within(|| {
            let mut client = Client::connect(PORT);
            let headers = [
                ("forwarded", "for=192.0.2.60;proto=https;host=example.org"),
                ("x-forwarded-for", "192.0.2.60, 198.51.100.7"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "example.org"),
                ("x-twice", "one"),
                ("x-twice", "two"),
            ];
            let told = client.request("GET", "/request?a=b&c=%20d", &headers, b"").text();
            for (name, value) in headers {
                assert!(told.lines().any(|line| line == format!("{name}: {value}")), "{name}: {told}");
            }
            for line in ["method GET", "path /request?a=b&c=%20d", "scheme http", "authority pod"] {
                assert!(told.lines().any(|known| known == line), "{line}: {told}");
            }
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"] {
                let told = client.request(method, "/request", &[], b"").text();
                assert!(told.starts_with(&format!("method {method}\n")), "{told}");
            }
            // The whole address in place of the path, as to a proxy: its host counts (RFC 9112, 3.2.2).
            client.send("GET http://web.example:81/request?x HTTP/1.1\r\nhost: pod\r\n\r\n");
            let told = client.answer().text();
            assert!(told.contains("\nauthority web.example:81\n") && told.contains("path /request?x\n"), "{told}");
            client.send("GET /request HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n");
            let told = client.answer().text();
            assert!(told.contains("\nauthority [2001:db8::1]:8080\n"), "{told}");
        });
    });
}

#[test]
fn a_client_of_http_1_0_is_served() {
    with_server(|task| {
        task.within(|| {
            // Without Host, which HTTP/1.0 does not have.
            let mut client = Client::connect(PORT);
            client.send("GET /hello HTTP/1.0\r\n\r\n");
            let answer = client.answer();
            assert_eq!(answer.short(), (200, "hello from http\n".to_owned(), true));
            assert_eq!(client.rest(), b"");
            // No chunks: the body ends with the connection.
            let mut client = Client::connect(PORT);
            client.send("GET /chunked?100000 HTTP/1.0\r\nhost: pod\r\n\r\n");
            let answer = client.answer();
            assert!(
                answer.header("transfer-encoding").is_none() && answer.body.len() == 100_000,
                "{:?}",
                answer.headers
            );
            // The connection may be kept if the client asks for it and the length is known.
            let mut client = Client::connect(PORT);
            client.send("GET /hello HTTP/1.0\r\nhost: pod\r\nconnection: keep-alive\r\n\r\n");
            let answer = client.answer();
            assert_eq!(answer.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("keep-alive"));
            client.send("GET /hello HTTP/1.0\r\nhost: pod\r\n\r\n");
            assert_eq!(client.answer().status, 200);
        });
    });
}

#[test]
fn a_body_that_waits_for_100_continue_is_asked_for() {
    with_server(|task| {
        task.within(|| {
            let mut client = Client::connect(PORT);
            client.send("POST /count HTTP/1.1\r\nhost: pod\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n");
            assert_eq!(client.head().status, 100);
            client.send("12345");
            assert_eq!(client.answer().text(), "5\n");
            // A guest that does not read the body requests none: the answer comes at once.
            let mut client = Client::connect(PORT);
            client.send("POST /ignore HTTP/1.1\r\nhost: pod\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n");
            let answer = client.answer();
            assert_eq!((answer.status, answer.text().as_str()), (200, "ignored\n"));
            // The server cannot know whether the body or a request follows: it takes no further request, or waits for the body. Both are
            // right (RFC 9110, 10.1.1).
            client.try_send("12345").ok();
        });
    });
}

#[test]
fn trailers_go_both_ways() {
    with_server(|task| {
        task.within(|| {
            let mut client = Client::connect(PORT);
            client.send("POST /trailers HTTP/1.1\r\nhost: pod\r\nte: trailers\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n");
            client.send("3\r\nabc\r\n2;name=value\r\nde\r\n0\r\nx-sum: 42\r\n\r\n");
            let answer = client.answer();
            assert_eq!(answer.text(), "abcdea body\n");
            let mut trailers = answer.trailers.clone();
            trailers.sort();
            let expected = [("x-guest", "behind the body"), ("x-sum", "42")];
            assert_eq!(trailers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())), "{answer:?}");
            // A length may have come with the chunks, and been ignored.
            assert!(answer.closes() && client.rest().is_empty(), "{answer:?}");
        });
    });
}

#[test]
fn a_guest_of_an_older_wasi_0_2_runs_too() {
    let node = Node::start();
    for version in ["0.2.0", "0.2.3"] {
        let image = component("older", guests::http_of("server", version));
        let task = node.container(&format!("older-{version}").replace('.', "-")).image(&image).spawn();
        assert_eq!(get(&task, "/hello").text(), "hello from http\n", "{version}");
        task.discard();
    }
    node.finish();
}

#[test]
fn a_component_of_two_worlds_is_a_command_unless_an_annotation_says_otherwise() {
    let node = Node::start();
    let image = image("both");
    let command = node.container("command").image(&image).run();
    assert_eq!((command.code, command.stdout.as_str()), (0, "run as a command\n"), "{command:?}");
    for (key, annotation) in [("pod", "catamaran.wasm/world"), ("own", "catamaran.wasm/world.web")] {
        let container = node.container(key).image(&image).annotation(annotation, "http");
        let task = container.annotation("io.kubernetes.cri.container-name", "web").spawn();
        assert_eq!(get(&task, "/hello").text(), "hello from http\n", "{annotation}");
        task.discard();
    }
    let refused = node.container("refused").image(&image).annotation("catamaran.wasm/world", "wasi").try_create();
    let refused = refused.map(drop).unwrap_err();
    for word in ["catamaran.wasm/world", "wasi", "command", "http"] {
        assert!(refused.message.contains(word), "{word}: {refused}");
    }
    node.finish();
}

#[test]
fn a_world_that_the_component_has_not_is_refused() {
    let node = Node::start();
    let server =
        server(&node, "server").annotation("catamaran.wasm/world", "command").try_create().map(drop).unwrap_err();
    assert!(server.message.contains("wasi:http/incoming-handler"), "{server}");
    let hello = component("hello", catamaran_integration::adapted(&guests::wat("hello")));
    let command = node.container("command").image(&hello).annotation("catamaran.wasm/world", "http").try_create();
    let command = command.map(drop).unwrap_err();
    assert!(command.message.contains("wasi:http/incoming-handler"), "{command}");
    node.finish();
}

#[test]
fn a_further_program_in_a_servers_container_is_a_command() {
    let node = Node::start();
    let image = image("server").file("/hello.wasm", guests::wat("hello"));
    let task = node.container("server").image(&image).spawn();
    let hello = task.exec("hello", ["/hello.wasm"]);
    assert_eq!((hello.code, hello.stdout.as_str()), (0, "hello from wasm\n"), "{hello:?}");
    let server = task.exec("server", ["/server.wasm"]);
    assert!(server.code != 0 && server.stderr.contains("wasi:http/incoming-handler"), "{server:?}");
    assert_eq!(get(&task, "/hello").text(), "hello from http\n");
    task.discard();
    node.finish();
}
