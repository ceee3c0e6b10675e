//! One connection: its requests, each within its time.
//!
//! hyper refuses what is no HTTP (400), a long address (414) and a large head (431). It has one time for a slow head and for a
//! connection between two requests, and says nothing when it is over; so both are told apart here.

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
/// A connection that is told to end has so long for a request that is on its way.
pub(crate) const LONGEST_FAREWELL: Duration = Duration::from_secs(1);

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
            // Moved forward only: where nothing is wrong it is armed once in ten seconds of traffic.
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            while timer.as_mut().poll(cx).is_ready() && deadline > Instant::now() {
                timer.as_mut().reset(deadline);
            }
            match overdue {
                _ if deadline > Instant::now() => return Poll::Pending,
                // Its client is told.
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
        // Told to close, a connection between two requests holds up no end.
        None => stream.take_rest(closed_by.is_none(), LONGEST_REST).await,
    }
}

/// Since when a connection is as it is.
struct Clock<'a> {
    progress: &'a Progress,
    state: State,
    since: Instant,
    /// Since when it is to end.
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

    /// It is to end.
    fn close(&mut self) {
        self.closing = Some(Instant::now());
    }

    fn is_closing(&self) -> bool {
        self.closing.is_some()
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
            State::Idle if let Some(closing) = self.closing => {
                (Overdue::Idle, self.since.max(closing) + LONGEST_FAREWELL)
            }
            // Of one that is busy its request has a time of its own.
            State::Idle | State::Busy => (Overdue::Idle, self.since + LONGEST_IDLE),
        }
    }
}
