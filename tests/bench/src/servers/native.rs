//! A native server in Rust that the others are held against: hyper, one thread a processor, with the answers of
//! tests/guests/http/server.c that are asked for here.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};

use super::PORT;

/// The word that this program is called with to be this server.
pub(crate) const WORD: &str = "native-server";

type Body = BoxBody<Bytes, hyper::Error>;

/// Serves until it is killed.
pub(crate) fn serve() -> io::Result<()> {
    let more = thread::available_parallelism().map_or(0, |processors| processors.get() - 1);
    for _ in 0..more {
        thread::spawn(|| event_loop().expect("it served on one thread already"));
    }
    event_loop()
}

fn event_loop() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = listen()?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                // A client that breaks off is its own affair.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    })
}

/// One listener a thread, between which the kernel spreads the connections.
fn listen() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)))?;
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
