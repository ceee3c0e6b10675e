//! One connection: requests one after the other, each within its time.
//!
//! hyper refuses what is no HTTP (400), a long address (414) and a large head (431). It has one time for a slow head and for a
//! connection between two requests, and says nothing when it is over; so both are told apart here.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use wasmtime_wasi_http::handler::ProxyHandler;

use crate::drain::Alive;
use crate::instances::Instances;
use crate::response::ResponseBody;
use crate::service::Service;
use crate::stream::{Progress, Stream};

/// From the first byte of a head to its last.
pub(crate) const LONGEST_HEAD: Duration = Duration::from_secs(10);
/// A connection without a request is closed after this: later than the load balancers of the large clouds close theirs (600 s at
/// most), so that none of their requests meets the end.
pub(crate) const LONGEST_IDLE: Duration = Duration::from_secs(620);
/// A client that takes nothing of a response for so long is gone: its guest waits for it, in one of the places that there are.
pub(crate) const LONGEST_STALL: Duration = Duration::from_secs(60);
/// What a client sends behind its last response is read for so long: a socket that is closed with bytes unread resets the connection, and
/// a client that is still sending loses the response (RFC 9112, section 9.6).
pub(crate) const LONGEST_REST: Duration = Duration::from_secs(2);
/// Bytes of a head.
pub(crate) const LARGEST_HEAD: usize = 32 << 10;
/// Bytes that are read ahead, and written behind.
const BUFFER: usize = 128 << 10;

const TOO_LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Why a connection is ended before its client or its last response ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overdue {
    Head,
    Idle,
    Stalled,
}

/// Serves it to its end. As long as `alive` is here the server counts the connection, and waits for it; a clone would be counted too.
pub(crate) async fn serve(
    stream: TcpStream,
    mut alive: Alive,
    service: Arc<Service>,
    handler: ProxyHandler<Instances>,
) {
    // Without it a response of two writes waits for the client's acknowledgement of the first.
    let _ = stream.set_nodelay(true);
    let progress = Arc::new(Progress::default());
    let io = TokioIo::new(Stream::new(stream, Arc::clone(&progress)));
    let noted = Arc::clone(&progress);
    let call = service_fn(move |request: Request<Incoming>| {
        noted.request();
        let sent = Sent(Arc::clone(&noted));
        let answer = Arc::clone(&service).call(handler.clone(), request);
        async move { Ok::<_, Infallible>(answer.await?.map(|body| Tracked { body, _sent: sent })) }
    });
    let mut connection = builder().serve_connection(io, call);
    let mut closing = pin!(async move {
        drop(alive.wait_for(|closing| *closing).await);
        alive
    });
    let mut closed_by = None;
    let mut clock = Clock::new(&progress);
    let mut timer = pin!(tokio::time::sleep(LONGEST_HEAD));
    let overdue = std::future::poll_fn(|cx| {
        if closed_by.is_none()
            && let Poll::Ready(alive) = closing.as_mut().poll(cx)
        {
            closed_by = Some(alive);
            Pin::new(&mut connection).graceful_shutdown();
        }
        // What ended it, a client that went or a broken head, hyper has answered as far as it can be.
        if Pin::new(&mut connection).poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        let (overdue, deadline) = clock.next();
        // Moved forward only: where nothing is wrong it is armed once in ten seconds of traffic.
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if deadline <= Instant::now() {
                return Poll::Ready(Some(overdue));
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    })
    .await;
    match overdue {
        Some(Overdue::Head) => parts(connection).send_at_once(TOO_LATE),
        Some(Overdue::Idle | Overdue::Stalled) => {}
        // Told to close, a connection between two requests holds up no end.
        None => parts(connection).take_rest(closed_by.is_none(), LONGEST_REST).await,
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    // Not `pipeline_flush`: hyper's own refusals would wait behind what follows a broken head, and never be sent.
    builder.header_read_timeout(None).max_header_size(LARGEST_HEAD).max_buf_size(BUFFER);
    builder
}

fn parts<S>(connection: Connection<TokioIo<Stream>, S>) -> Stream
where
    S: hyper::service::HttpService<Incoming, ResBody = Tracked>,
{
    connection.into_parts().io.into_inner()
}

/// Since when a connection is as it is.
struct Clock<'a> {
    progress: &'a Progress,
    state: State,
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    InHead,
    Busy,
    Stalled(u32),
}

impl<'a> Clock<'a> {
    fn new(progress: &'a Progress) -> Self {
        Self { progress, state: State::Idle, since: Instant::now() }
    }

    /// What is going to be late, and when.
    fn next(&mut self) -> (Overdue, Instant) {
        let state = match (self.progress.stalled_at(), self.progress.is_busy(), self.progress.is_in_head()) {
            (Some(writes), ..) => State::Stalled(writes),
            (None, true, _) => State::Busy,
            (None, false, true) => State::InHead,
            (None, false, false) => State::Idle,
        };
        if state != self.state || state == State::Busy {
            (self.state, self.since) = (state, Instant::now());
        }
        match state {
            State::Stalled(_) => (Overdue::Stalled, self.since + LONGEST_STALL),
            State::InHead => (Overdue::Head, self.since + LONGEST_HEAD),
            // Of one that is busy its request has a time of its own.
            State::Idle | State::Busy => (Overdue::Idle, self.since + LONGEST_IDLE),
        }
    }
}

/// A response that was not sent yet.
struct Sent(Arc<Progress>);

impl Drop for Sent {
    fn drop(&mut self) {
        self.0.response();
    }
}

/// A body that tells when it is sent, or given up.
pub(crate) struct Tracked {
    body: ResponseBody,
    _sent: Sent,
}

impl http_body::Body for Tracked {
    type Data = bytes::Bytes;
    type Error = crate::response::Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
