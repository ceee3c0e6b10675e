//! The HTTP server: four pages, each a GET, about a node whose state another thread keeps.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};

use super::board::Board;
use super::metrics;
use crate::host::Host;

/// The most connections at a time; further clients wait.
const MOST_CONNECTIONS: usize = 64;
/// The time limit of a connection, which is one short request.
const LONGEST: Duration = Duration::from_secs(10);

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// Serves until `end` is ready.
pub(crate) async fn serve(listener: TcpListener, host: Host, board: Arc<Board>, end: impl Future<Output = ()>) {
    let (host, places) = (Rc::new(host), Arc::new(Semaphore::new(MOST_CONNECTIONS)));
    let accepting = async {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // The client has gone meanwhile, or there is no descriptor for a moment.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (host, board) = (host.clone(), board.clone());
            spawn_local(async move {
                let service = service_fn(|request: Request<hyper::body::Incoming>| {
                    let answer = answer(request.method(), request.uri().path(), &host, &board);
                    async { Ok::<_, Infallible>(answer) }
                });
                let connection = http1::Builder::new()
                    .keep_alive(false)
                    .timer(TokioTimer::new())
                    .header_read_timeout(LONGEST)
                    .serve_connection(TokioIo::new(stream), service);
                // A client may go away before the end.
                let _ = tokio::time::timeout(LONGEST, connection).await;
                drop(place);
            });
        }
    };
    let both = async {
        tokio::select! {
            () = accepting => {}
            () = end => {}
        }
    };
    LocalSet::new().run_until(both).await;
}

/// Binds the first address that works, and returns it.
pub(crate) async fn bind(addresses: &[SocketAddr]) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(addresses).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn answer(method: &Method, path: &str, host: &Host, board: &Board) -> Response<Full<Bytes>> {
    let page = || match path {
        "/healthz" => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => readiness(board),
        "/status" => (StatusCode::OK, JSON, serde_json::to_string(&board.told()).unwrap_or_default() + "\n"),
        "/metrics" => (StatusCode::OK, METRICS, metrics::text(host, board)),
        _ => (StatusCode::NOT_FOUND, TEXT, "there are /healthz, /readyz, /status and /metrics\n".to_owned()),
    };
    let (status, kind, body) = match *method == Method::GET {
        true => page(),
        false => (StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET alone is answered\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

fn readiness(board: &Board) -> (StatusCode, &'static str, String) {
    let told = board.told();
    match told.node_ready {
        true => (StatusCode::OK, TEXT, "ready\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, TEXT, told.message + "\n"),
    }
}

#[cfg(test)]
mod tests;
