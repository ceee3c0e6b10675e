//! One connection: its requests, each within its time.
//!
//! hyper refuses bytes that are no HTTP (400), a long address (414) and a large head (431). It has one timeout for a slow head and for a
//! connection between two requests, and answers nothing when that is over; so the two are told apart here.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio::time::Instant;
use wasmtime_wasi_http::handler::ProxyHandler;

use crate::drain::Alive;
use crate::instances::Instances;
use crate::protocol::Protocol;
use crate::service::Service;
use crate::stream::{Progress, Stream};
use crate::tracked::{Sent, Tracked};
use crate::transport::Transport;

/// How long a head may take from its first byte to its last.
pub(crate) const LONGEST_HEAD: Duration = Duration::from_secs(10);
/// How long a connection may be without a request: longer than with the load balancers of the large clouds (600 s at most), so that none of
/// their requests meets a connection's end.
pub(crate) const LONGEST_IDLE: Duration = Duration::from_secs(620);
/// How long a client may take nothing of a response before it counts as gone, because its guest waits for it and keeps a place.
pub(crate) const LONGEST_STALL: Duration = Duration::from_secs(60);
/// How long the server reads on after its last response: a socket that is closed with bytes unread resets the connection, and a client that
/// is still sending loses the response (RFC 9112, section 9.6).
pub(crate) const LONGEST_REST: Duration = Duration::from_secs(2);
/// How long a connection that is told to end waits for a request that is on its way.
pub(crate) const LONGEST_FAREWELL: Duration = Duration::from_secs(1);

const TOO_LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Why a connection is ended before its client or its last response ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overdue {
    Head,
    Idle,
    Stalled,
}

/// Serves the connection to its end. While `alive` exists the server counts the connection, and waits for it; a clone would count too.
pub(crate) async fn serve(
    stream: TcpStream,
    mut alive: Alive,
    service: Arc<Service>,
    handler: ProxyHandler<Instances>,
) {
    // Without this option the second write of a response waits for the client's acknowledgement of the first.
    let _ = stream.set_nodelay(true);
    let transport = match &service.tls {
        None => Transport::Plain(stream),
        Some(tls) => {
            let farewell = async {
                drop(alive.wait_for(|closing| *closing).await);
                tokio::time::sleep(LONGEST_FAREWELL).await;
            };
            match select(pin!(tls.accept(stream)), pin!(farewell)).await {
                Either::Left((Some(stream), _)) => Transport::Tls(Box::new(stream)),
                Either::Left((None, _)) | Either::Right(_) => return,
            }
        }
    };
    let progress = Arc::new(Progress::default());
    let stream = Stream::new(transport, Arc::clone(&progress));
    let (noted, most) = (Arc::clone(&progress), service.settings.most_requests);
    let call = service_fn(move |request: Request<Incoming>| {
        let sent = Sent::begin(&noted);
        let answer = Arc::clone(&service).call(handler.clone(), request);
        async move { Ok::<_, Infallible>(answer.await?.map(|body| Tracked::new(body, sent))) }
    });
    let mut connection = Protocol::new(stream, call, Arc::clone(&progress), most);
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
            connection.close();
            clock.close();
        }
        loop {
            if connection.poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            let (overdue, deadline) = clock.next();
            // A later deadline is set only when the timer fires: if nothing is wrong it is armed once in ten seconds of traffic.
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            while timer.as_mut().poll(cx).is_ready() && deadline > Instant::now() {
                timer.as_mut().reset(deadline);
            }
            match overdue {
                _ if deadline > Instant::now() => return Poll::Pending,
                // The client is told first.
                Overdue::Idle if connection.is_http2() && !clock.is_closing() => {
                    connection.close();
                    clock.close();
                }
                _ => return Poll::Ready(Some(overdue)),
            }
        }
    })
    .await;
    let Some(mut stream) = connection.into_stream() else { return };
    match overdue {
        Some(Overdue::Head) => stream.send_at_once(TOO_LATE),
        Some(Overdue::Idle | Overdue::Stalled) => {}
        // A connection between two requests that was told to close must not hold up the server's end.
        None => stream.take_rest(closed_by.is_none(), LONGEST_REST).await,
    }
}

/// A connection's state, and since when it is in that state.
struct Clock<'a> {
    progress: &'a Progress,
    state: State,
    since: Instant,
    /// Since when the connection is to end.
    closing: Option<Instant>,
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
        Self { progress, state: State::Idle, since: Instant::now(), closing: None }
    }

    /// Notes that the connection is to end.
    fn close(&mut self) {
        self.closing = Some(Instant::now());
    }

    fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Returns what is going to be late, and when.
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
            State::Idle if let Some(closing) = self.closing => {
                (Overdue::Idle, self.since.max(closing) + LONGEST_FAREWELL)
            }
            // The request of a busy connection has a timeout of its own.
            State::Idle | State::Busy => (Overdue::Idle, self.since + LONGEST_IDLE),
        }
    }
}
