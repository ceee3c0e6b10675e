//! Load: a number of connections, each of which sends its next request as soon as it has the answer to the last.
//!
//! One thread, hyper's client. It shares the machine's processors with the server, so requests per second depend on both; requests per
//! second of the server's own processor time depend on the server alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::PORT;
use super::rows::Work;

/// The result of a load.
#[derive(Default)]
pub(crate) struct Load {
    /// From the request's first byte to the answer's last, for answers with 200; sorted.
    pub(crate) answered: Vec<Duration>,
    /// The number of answers with 503.
    pub(crate) refused: usize,
    /// The number of other answers, and of missing ones.
    pub(crate) failed: usize,
    /// The first such failure.
    pub(crate) failure: Option<String>,
    /// From the first request to the last answer.
    pub(crate) took: Duration,
}

impl Load {
    pub(crate) fn per_second(&self) -> f64 {
        self.answered.len() as f64 / self.took.as_secs_f64()
    }

    /// The share of requests without a 200, in per cent.
    pub(crate) fn not_answered(&self) -> f64 {
        let not = self.refused + self.failed;
        100.0 * not as f64 / (not + self.answered.len()) as f64
    }

    /// The duration within which this share of the answers came.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        let last = self.answered.len().saturating_sub(1);
        self.answered.get((part * last as f64).round() as usize).copied().unwrap_or_default()
    }
}

/// Sends requests for this long.
///
/// # Panics
/// When nothing listens, or an answer with 200 is wrong.
pub(crate) fn load(work: Work, connections: usize, time: Duration) -> Load {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async {
        let mut all = Vec::new();
        for _ in 0..connections {
            all.push(connect().await);
        }
        let begin = Instant::now();
        let tasks: Vec<_> =
            all.into_iter().map(|connection| tokio::spawn(ask(connection, work, begin + time))).collect();
        let mut load = Load::default();
        for task in tasks {
            let one: Load = task.await.expect("a connection failed, see above");
            load.answered.extend(one.answered);
            load.refused += one.refused;
            load.failed += one.failed;
            load.failure = load.failure.or(one.failure);
        }
        load.took = begin.elapsed();
        load.answered.sort();
        load
    })
}

/// Waits until the server on this port has answered once, and returns when.
///
/// # Panics
/// When it does not.
pub(crate) fn first_answer(port: u16, patience: Duration) -> Instant {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async {
        let limit = Instant::now() + patience;
        loop {
            // A server that listens only some time after its start refuses until then.
            if let Ok(stream) = TcpStream::connect(address(port)).await {
                let mut connection = shake_hands(stream).await;
                assert_eq!(one(&mut connection, Work::Hello).await, Answer::Good, "the first answer");
                return Instant::now();
            }
            assert!(Instant::now() < limit, "nobody listens after {patience:?}");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    })
}

fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

async fn connect() -> SendRequest<Full<Bytes>> {
    shake_hands(TcpStream::connect(address(PORT)).await.expect("cannot connect")).await
}

async fn shake_hands(stream: TcpStream) -> SendRequest<Full<Bytes>> {
    stream.set_nodelay(true).expect("a socket of TCP");
    let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("cannot begin a connection");
    tokio::spawn(async {
        // The sender of a request gets the connection's error.
        let _ = connection.await;
    });
    sender
}

/// A request's outcome.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Good,
    Refused,
    Failed(String),
}

async fn ask(mut connection: SendRequest<Full<Bytes>>, work: Work, until: Instant) -> Load {
    let mut load = Load::default();
    while Instant::now() < until {
        let begin = Instant::now();
        match one(&mut connection, work).await {
            Answer::Good => load.answered.push(begin.elapsed()),
            Answer::Refused => load.refused += 1,
            Answer::Failed(how) => {
                load.failed += 1;
                load.failure.get_or_insert(how);
            }
        }
        // A server may close a connection after an answer.
        if connection.ready().await.is_err() {
            connection = connect().await;
        }
    }
    load
}

async fn one(connection: &mut SendRequest<Full<Bytes>>, work: Work) -> Answer {
    let (path, body) = work.request();
    let method = if body.is_empty() { "GET" } else { "POST" };
    let request = Request::builder().method(method).uri(path).header(HOST, "bench").body(Full::new(body));
    let answer = match connection.send_request(request.expect("a request")).await {
        Ok(answer) => answer,
        Err(e) => return Answer::Failed(format!("{e:?}")),
    };
    let status = answer.status();
    match (status, answer.into_body().collect().await) {
        (StatusCode::OK, Ok(body)) => {
            let body = body.to_bytes();
            assert!(work.is_answer(&body), "{path}: {} other bytes", body.len());
            Answer::Good
        }
        (StatusCode::SERVICE_UNAVAILABLE, Ok(_)) => Answer::Refused,
        (_, body) => Answer::Failed(format!("{status}: {body:?}")),
    }
}
