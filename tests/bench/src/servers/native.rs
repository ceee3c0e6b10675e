//! A native server in Rust for comparison: hyper, one thread a processor, with those answers of tests/guests/http/server.c that the loads
//! request. A second one answers guests' outgoing requests.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command};
use std::thread;

use bytes::Bytes;
use catamaran_harness::PATIENCE;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};

use super::client;

/// The argument that makes this program the native server; the port follows it.
pub(crate) const WORD: &str = "native-server";

type Body = BoxBody<Bytes, hyper::Error>;

/// The native server as a process of its own. Dropping this kills it.
pub(crate) struct Upstream(Child);

impl Upstream {
    /// Starts it in the network namespace of the calling thread, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn start(port: u16) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let child = Command::new(program).arg(WORD).arg(port.to_string()).spawn();
        let upstream = Self(child.expect("cannot start the native server"));
        client::first_answer(port, PATIENCE);
        upstream
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Both fail only for a process that was already reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves until it is killed.
pub(crate) fn serve(port: u16) -> io::Result<()> {
    let more = thread::available_parallelism().map_or(0, |processors| processors.get() - 1);
    for _ in 0..more {
        thread::spawn(move || event_loop(port).expect("cannot serve on another thread"));
    }
    event_loop(port)
}

fn event_loop(port: u16) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = listen(port)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                // A client may break off.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    })
}

/// Makes a listener for one thread. The kernel spreads the connections among the threads' listeners.
fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    socket.listen(1024)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let query = request.uri().query().unwrap_or_default().parse::<usize>();
    Ok(match (request.uri().path(), query) {
        ("/hello", _) => Response::new(full("hello from http\n")),
        ("/echo", _) => Response::new(request.into_body().boxed()),
        ("/bytes", Ok(length)) => Response::new(full(vec![b'x'; length])),
        _ => {
            let mut response = Response::new(full("no such thing\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    })
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}
