//! Answers the kubelet's probes.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::args::Listen;
use crate::error::{Error, Result};

/// The time limit of a connection, which carries one probe.
const CONNECTION: Duration = Duration::from_secs(10);
/// The most connections at a time.
const CONNECTIONS: usize = 32;
/// The pause after an error of accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);

/// The readiness of the program.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Whether all nodes have been checked once, and all patches succeeded.
    is_ready: AtomicBool,
}

impl Health {
    pub(crate) fn set_ready(&self) {
        self.is_ready.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    fn answer(&self, method: &Method, path: &str) -> (StatusCode, &'static str) {
        match path {
            _ if ![Method::GET, Method::HEAD].contains(method) => {
                (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n")
            }
            "/healthz" => (StatusCode::OK, "ok\n"),
            "/readyz" if self.is_ready() => (StatusCode::OK, "ok\n"),
            "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "not all nodes have been checked yet; the log says why\n"),
            _ => (StatusCode::NOT_FOUND, "not found: only /healthz and /readyz are answered\n"),
        }
    }
}

pub(crate) fn listen(at: &Listen) -> Result<TcpListener> {
    let listening = match *at {
        Listen::At(address) => bind(address),
        // The IPv6 address accepts IPv4 too. Without IPv6 in the kernel, binding it fails.
        Listen::Everywhere(port) => {
            bind((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|_| bind((Ipv4Addr::UNSPECIFIED, port).into()))
        }
    };
    listening.map_err(|source| match at {
        Listen::At(address) => Error::Listen { address: address.to_string(), source },
        Listen::Everywhere(port) => Error::Listen { address: format!(":{port}"), source },
    })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Answers probes. Never returns.
pub(crate) async fn serve(listener: TcpListener, health: Arc<Health>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let health = health.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let _ended = timeout(CONNECTION, answer(stream, health)).await;
        });
    }
}

async fn answer(stream: TcpStream, health: Arc<Health>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (status, text) = health.answer(request.method(), request.uri().path());
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        std::future::ready(Ok::<_, Infallible>(response))
    });
    // A client may close the connection at any time.
    let _ended = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn get(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text.lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn probes_are_answered() {
        let listener = listen(&Listen::At("127.0.0.1:0".parse().unwrap())).unwrap();
        let address = listener.local_addr().unwrap();
        let health = Arc::new(Health::default());
        let serving = tokio::spawn(serve(listener, health.clone()));
        assert_eq!(get(address, "GET /healthz").await, "HTTP/1.1 200 OK");
        assert_eq!(get(address, "GET /readyz").await, "HTTP/1.1 503 Service Unavailable");
        health.set_ready();
        assert_eq!(get(address, "GET /readyz").await, "HTTP/1.1 200 OK");
        assert_eq!(get(address, "GET /").await, "HTTP/1.1 404 Not Found");
        assert_eq!(get(address, "POST /healthz").await, "HTTP/1.1 405 Method Not Allowed");
        serving.abort();
    }

    #[tokio::test]
    async fn a_port_in_use_is_reported() {
        let taken = listen(&Listen::Everywhere(0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let e = listen(&Listen::Everywhere(port)).unwrap_err().to_string();
        assert!(e.contains(&format!("listening at :{port}: Address already in use")), "{e}");
    }
}
