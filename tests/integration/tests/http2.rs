//! HTTP/2 by prior knowledge, on the same port as HTTP/1; and gRPC over it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::future::Future;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use catamaran_harness::{Node, Task, guests, wait_until};
use catamaran_integration::http::{Client, PORT, get, server, with_annotated_server, with_server};
use catamaran_integration::{component, rust_guest};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request, Version};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(10);
/// How long a step of a test may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `ask` with a connection of HTTP/2 to the task's server, in its network namespace.
fn ask<T, F>(task: &Task<'_>, ask: impl FnOnce(SendRequest<Bytes>) -> F + Send) -> T
where
    T: Send,
    F: Future<Output = T>,
{
    task.within(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).await.unwrap();
            let (client, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            tokio::time::timeout(LIMIT, ask(client)).await.expect("it takes too long")
        })
    })
}

fn request(method: Method, path: &str) -> Request<()> {
    let builder = Request::builder().method(method).uri(format!("http://pod{path}")).version(Version::HTTP_2);
    builder.body(()).unwrap()
}

async fn send(client: &mut SendRequest<Bytes>, request: Request<()>) -> ResponseFuture {
    *client = client.clone().ready().await.unwrap();
    client.send_request(request, true).unwrap().0
}

/// Reads a whole body as its client takes it, and its trailers.
async fn whole(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        bytes.extend(part);
    }
    Ok((bytes, body.trailers().await?))
}

async fn answer(response: ResponseFuture) -> (u16, String) {
    let response = response.await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let status = response.status().as_u16();
    (status, String::from_utf8(whole(response.into_body()).await.unwrap().0).unwrap())
}

async fn say(client: &mut SendRequest<Bytes>, path: &str) -> (u16, String) {
    answer(send(client, request(Method::GET, path)).await).await
}

fn hello() -> (u16, String) {
    (200, "hello from http\n".to_owned())
}

#[test]
fn one_connection_has_many_requests_at_once() {
    with_server(|task| {
        ask(task, |mut client| async move {
            assert_eq!(say(&mut client, "/hello").await, hello());
            let begin = Instant::now();
            let mut slow = Vec::new();
            for _ in 0..20 {
                slow.push(send(&mut client, request(Method::GET, "/sleep?1000")).await);
            }
            assert_eq!(say(&mut client, "/hello").await, hello(), "none waits for another one");
            for response in slow {
                assert_eq!(answer(response).await, (200, "slept\n".to_owned()));
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
            let head = send(&mut client, request(Method::HEAD, "/hello")).await;
            assert_eq!(answer(head).await, (200, String::new()));
            assert_eq!(say(&mut client, "/no-such-path").await.0, 404);
        });
        // And clients of HTTP/1 are still served, on the same port.
        assert_eq!(get(task, "/hello").version, "HTTP/1.1");
    });
}

#[test]
fn a_body_is_streamed_in_both_directions() {
    with_server(|task| {
        ask(task, |mut client| async move {
            let (response, mut body) = client.send_request(request(Method::POST, "/echo"), false).unwrap();
            let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
            let whole_of_it = sent.clone();
            let sending = async move {
                let mut left = Bytes::from(whole_of_it);
                while !left.is_empty() {
                    body.reserve_capacity(left.len());
                    let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
                    body.send_data(left.split_to(room), left.is_empty()).unwrap();
                }
            };
            let receiving = async { whole(response.await.unwrap().into_body()).await.unwrap().0 };
            let (received, ()) = futures_util::join!(receiving, sending);
            assert!(received == sent, "{} bytes", received.len());
        });
    });
}

#[test]
fn a_trap_ends_its_own_request_and_no_other_of_the_connection() {
    with_server(|task| {
        ask(task, |mut client| async move {
            let slow = send(&mut client, request(Method::GET, "/sleep?1000")).await;
            for _ in 0..5 {
                assert_eq!(say(&mut client, "/trap").await.0, 500);
            }
            // An answer that has begun breaks off: its client must not take it for complete.
            let late = send(&mut client, request(Method::GET, "/late-trap")).await.await.unwrap();
            assert_eq!(late.status(), 200);
            let broken = whole(late.into_body()).await.unwrap_err();
            assert_eq!(broken.reason(), Some(Reason::INTERNAL_ERROR));
            assert_eq!(answer(slow).await, (200, "slept\n".to_owned()));
        });
    });
}

#[test]
fn invalid_requests_are_answered_with_their_status() {
    with_annotated_server("catamaran.wasm/http-max-request-body", "1000", |task| {
        ask(task, |mut client| async move {
            let with = |name: &'static str, value: &str| {
                let mut request = request(Method::GET, "/hello");
                request.headers_mut().insert(name, value.parse().unwrap());
                request
            };
            let refused = send(&mut client, with("host", "another")).await;
            assert_eq!(answer(refused).await, (400, "a Host header of another host than :authority\n".to_owned()));
            let same = send(&mut client, with("host", "pod")).await;
            assert_eq!(answer(same).await, hello());
            let large = send(&mut client, with("x-large", &"x".repeat(40 << 10))).await;
            assert_eq!(answer(large).await.0, 431);
            let connect = Request::builder().method(Method::CONNECT).uri("pod:443").version(Version::HTTP_2);
            let connect = send(&mut client, connect.body(()).unwrap()).await;
            assert_eq!(answer(connect).await.0, 501);
            let (response, mut body) = client.send_request(request(Method::POST, "/echo"), false).unwrap();
            body.send_data(Bytes::from(vec![0; 2000]), true).unwrap();
            assert_eq!(response.await.unwrap().status(), 413);
            assert_eq!(say(&mut client, "/hello").await, hello(), "the connection goes on");
        });
        task.within(|| {
            // Bytes that only begin like HTTP/2.
            let mut client = Client::connect(PORT);
            client.send("PRI * HTTP/2.0\r\n\r\nno preface\r\n\r\n");
            assert_eq!(client.answer().status, 400);
        });
    });
}

#[test]
fn a_client_that_gives_up_a_request_ends_its_guest() {
    with_annotated_server("catamaran.wasm/http-max-concurrent-requests", "1", |task| {
        ask(task, |mut client| async move {
            for _ in 0..3 {
                let (response, mut stream) = client.send_request(request(Method::GET, "/sleep?600000"), true).unwrap();
                tokio::time::sleep(Duration::from_millis(200)).await;
                stream.send_reset(Reason::CANCEL);
                drop(response);
                // There is one place, which must be free again.
                let mut answer = say(&mut client, "/hello").await;
                let begin = Instant::now();
                while answer.0 == 503 && begin.elapsed() < SOON {
                    answer = say(&mut client, "/hello").await;
                }
                assert_eq!(answer, hello());
            }
        });
    });
}

#[test]
fn a_server_that_ends_says_so_and_answers_what_is_under_way() {
    let node = Node::start();
    let task = server(&node, "server").spawn();
    ask(&task, |mut client| {
        let task = &task;
        async move {
            assert_eq!(say(&mut client, "/hello").await, hello());
            let slow = send(&mut client, request(Method::GET, "/sleep?1500")).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            // The harness's client has an event loop of its own, which must not run within this one.
            std::thread::scope(|scope| drop(scope.spawn(|| task.kill("TERM"))));
            // GOAWAY: this connection takes no further request.
            let begin = Instant::now();
            let refused = loop {
                match client.clone().ready().await {
                    Ok(mut ready) => {
                        let sent = ready.send_request(request(Method::GET, "/hello"), true);
                        if let Err(e) = sent {
                            break e;
                        }
                    }
                    Err(e) => break e,
                }
                assert!(begin.elapsed() < SOON, "it goes on");
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            assert_eq!(refused.reason(), Some(Reason::NO_ERROR), "{refused}");
            assert_eq!(answer(slow).await, (200, "slept\n".to_owned()));
        }
    });
    assert_eq!(task.wait(SOON).code, 0, "{}", task.stderr());
    assert_eq!(task.delete().stderr, "");
    node.finish();
}

/// One message of gRPC: not compressed, its length, its bytes.
fn message(bytes: &[u8]) -> Bytes {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], &length[..], bytes].concat().into()
}

#[test]
fn grpc_is_streamed_both_ways_and_ends_with_its_status() {
    let node = Node::start();
    let task = node.container("server").image(&component("wasi3-server", rust_guest("wasi3-server"))).spawn();
    ask(&task, |mut client| async move {
        let call = |path| {
            let mut request = request(Method::POST, path);
            request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
            request.headers_mut().insert("te", "trailers".parse().unwrap());
            request
        };
        let (response, mut stream) = client.send_request(call("/grpc.echo.Echo/Stream"), false).unwrap();
        stream.send_data(message(b"one"), false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"application/grpc".parse().unwrap())
        );
        let mut body = response.into_body();
        let mut received = body.data().await.unwrap().unwrap();
        // Each comes back before the next one is sent.
        for words in [&b"two"[..], b"three"] {
            assert_eq!(received, message(if words == b"two" { b"one" } else { b"two" }));
            stream.send_data(message(words), false).unwrap();
            received = body.data().await.unwrap().unwrap();
        }
        stream.send_data(Bytes::new(), true).unwrap();
        let (rest, trailers) = whole(body).await.unwrap();
        assert_eq!((received, rest), (message(b"three"), Vec::new()));
        assert_eq!(trailers.unwrap()["grpc-status"], "0");

        let (response, mut stream) = client.send_request(call("/grpc.health.v1.Health/Check"), false).unwrap();
        stream.send_data(message(b""), true).unwrap();
        let (body, trailers) = whole(response.await.unwrap().into_body()).await.unwrap();
        assert_eq!((Bytes::from(body), trailers.unwrap()["grpc-status"].to_str().unwrap()), (message(&[8, 1]), "0"));
    });
    task.discard();
    node.finish();
}

#[test]
fn a_guest_of_wasi_0_3_sees_the_request_as_its_client_sent_it() {
    let node = Node::start();
    let task = node.container("server").image(&component("wasi3-server", rust_guest("wasi3-server"))).spawn();
    let about = |words: &str| format!("GET Some(Scheme::Http) Some(\"{words}\") /about none\n");
    let (_, text) = ask(&task, |mut client| async move { say(&mut client, "/about").await });
    assert_eq!(text, about("pod"));
    assert_eq!(get(&task, "/about").text(), about("pod"));
    let older = task.within(|| {
        let mut client = Client::connect(PORT);
        client.send("GET /about HTTP/1.0\r\n\r\n");
        client.answer().text()
    });
    assert_eq!(older, about("[::]:8080"), "a request without a host is for where the server listens");
    task.discard();
    node.finish();
}

/// One client never takes the bytes of its response.
#[test]
fn a_client_that_does_not_take_its_response_holds_up_no_other() {
    let node = Node::start();
    let task = node.container("server").image(&component("service", guests::http_3("service", "0.3.0"))).spawn();
    ask(&task, |mut client| async move {
        let (response, mut body) = client.send_request(request(Method::POST, "/echo"), false).unwrap();
        body.send_data(Bytes::from(vec![1; 60_000]), false).unwrap();
        let kept = response.await.unwrap();
        for _ in 0..10 {
            assert_eq!(say(&mut client, "/hello").await.1, "hello from wasi 0.3\n");
        }
        drop(kept);
    });
    wait_until(SOON, "its end", || task.within(|| Client::connect(PORT).get("/hello").status == 200).then_some(()));
    task.discard();
    node.finish();
}
