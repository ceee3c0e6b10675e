//! The version of HTTP that a connection speaks, and hyper's server for it.
//!
//! A client of HTTP/2 begins with its preface, whether it knows beforehand that the server speaks it or has agreed on it within TLS
//! (RFC 9113, sections 3.3 and 3.4). A connection that begins in another way speaks HTTP/1.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, ReadBuf};

use crate::stream::{Progress, Stream};
use crate::tracked::Tracked;

const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The most bytes of a head.
pub(crate) const LARGEST_HEAD: usize = 32 << 10;
/// The most bytes that are read ahead, and that wait to be written.
const BUFFER: usize = 128 << 10;
/// The bytes that a client of HTTP/2 may send before they are read: of one request's body, and of all pending requests of a connection.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// The most bytes of one response that are taken from its guest before its client takes them.
const BEHIND: usize = 64 << 10;
/// The least (RFC 9113, section 6.5.2) and the most requests that one connection may have pending at once; each of them keeps memory.
pub(crate) const FEWEST_STREAMS: u32 = 100;
pub(crate) const MOST_STREAMS: u32 = 1000;

/// A connection with the service that its requests go to.
pub(crate) struct Protocol<S>
where
    S: HttpService<Incoming, ResBody = Tracked, Error = Infallible>,
{
    stage: Stage<S>,
    progress: Arc<Progress>,
    streams: u32,
    /// The connection is to end after its pending requests.
    told: bool,
    /// The client has been told so.
    said: bool,
}

#[expect(clippy::large_enum_variant, reason = "most connections become the largest")]
enum Stage<S>
where
    S: HttpService<Incoming, ResBody = Tracked, Error = Infallible>,
{
    /// The version is not known yet. None while the stage changes.
    Opening(Option<(Opening, S)>),
    Http1(http1::Connection<TokioIo<Stream>, S>),
    Http2(Box<http2::Connection<TokioIo<Stream>, S, TokioExecutor>>),
}

impl<S> Protocol<S>
where
    S: HttpService<Incoming, ResBody = Tracked, Error = Infallible> + Unpin,
    TokioExecutor: Http2ServerConnExec<S::Future, Tracked>,
{
    /// `most_requests` is how many the server handles at once.
    pub(crate) fn new(stream: Stream, service: S, progress: Arc<Progress>, most_requests: u32) -> Self {
        // As many requests wait as are handled.
        let streams = most_requests.saturating_mul(2).clamp(FEWEST_STREAMS, MOST_STREAMS);
        let opening = Opening { stream, read: [0; PREFACE.len()], length: 0 };
        Self { stage: Stage::Opening(Some((opening, service))), progress, streams, told: false, said: false }
    }

    /// Makes the connection end after its pending requests, or after its first one.
    pub(crate) fn close(&mut self) {
        self.told = true;
    }

    /// Runs until the connection is over: by its client, by a broken head, which hyper has answered as far as it can be, or by `close`.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let over = match &mut self.stage {
                Stage::Opening(opening) => {
                    let Some((known, _)) = opening else { return Poll::Ready(()) };
                    let version = ready!(known.poll(cx));
                    let (Some(version), Some((known, service))) = (version, opening.take()) else {
                        return Poll::Ready(());
                    };
                    self.stage = self.begin(version, known.into_stream(), service);
                    continue;
                }
                Stage::Http1(connection) => Pin::new(connection).poll(cx).is_ready(),
                Stage::Http2(connection) => Pin::new(connection.as_mut()).poll(cx).is_ready(),
            };
            if over {
                return Poll::Ready(());
            }
            if !self.told || self.said {
                return Poll::Pending;
            }
            match &mut self.stage {
                Stage::Http1(connection) => Pin::new(connection).graceful_shutdown(),
                // Before the first request hyper would end the connection without a word, and lose a request that is on its way.
                Stage::Http2(connection) if self.progress.has_begun() => {
                    Pin::new(connection.as_mut()).graceful_shutdown();
                }
                Stage::Http2(_) | Stage::Opening(_) => return Poll::Pending,
            }
            self.said = true;
        }
    }

    fn begin(&self, version: Version, stream: Stream, service: S) -> Stage<S> {
        let io = TokioIo::new(stream);
        match version {
            Version::Http1 => Stage::Http1(http1_builder().serve_connection(io, service)),
            Version::Http2 => {
                self.progress.multiplex();
                Stage::Http2(Box::new(http2_builder(self.streams).serve_connection(io, service)))
            }
        }
    }

    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.stage, Stage::Http2(_))
    }

    /// Returns the stream, whose next bytes the caller answers or drops; None for HTTP/2.
    pub(crate) fn into_stream(self) -> Option<Stream> {
        match self.stage {
            Stage::Opening(opening) => opening.map(|(opening, _)| opening.into_stream()),
            Stage::Http1(connection) => Some(connection.into_parts().io.into_inner()),
            Stage::Http2(_) => None,
        }
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Not `pipeline_flush`: hyper's own refusals would wait behind what follows a broken head, and never be sent.
    builder.header_read_timeout(None).max_header_size(LARGEST_HEAD).max_buf_size(BUFFER);
    builder
}

fn http2_builder(streams: u32) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .max_header_list_size(LARGEST_HEAD as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(BEHIND)
        .max_concurrent_streams(streams);
    builder
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// A connection whose first bytes are awaited.
struct Opening {
    stream: Stream,
    read: [u8; PREFACE.len()],
    length: usize,
}

impl Opening {
    /// Returns the version; None if the connection has ended without a byte.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Version>> {
        loop {
            if let Some(version) = version(&self.read[..self.length]) {
                return Poll::Ready(Some(version));
            }
            let mut buffer = ReadBuf::new(&mut self.read[self.length..]);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)).map(|()| buffer.filled().len());
            match read {
                Ok(0) if self.length > 0 => return Poll::Ready(Some(Version::Http1)),
                Ok(0) | Err(_) => return Poll::Ready(None),
                Ok(n) => self.length += n,
            }
        }
    }

    /// Returns the stream, with all that the client has sent.
    fn into_stream(mut self) -> Stream {
        self.stream.put_back(&self.read[..self.length]);
        self.stream
    }
}

/// Returns the version of a connection that begins with these bytes; None as long as it may be either.
fn version(bytes: &[u8]) -> Option<Version> {
    match (PREFACE.starts_with(bytes), bytes.len() == PREFACE.len()) {
        (true, true) => Some(Version::Http2),
        (true, false) => None,
        (false, _) => Some(Version::Http1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_alone_is_http_2() {
        for length in 0..PREFACE.len() {
            assert_eq!(version(&PREFACE[..length]), None, "{length}");
        }
        assert_eq!(version(&PREFACE), Some(Version::Http2));
        for begin in [&b"G"[..], b"PO", b"PRI * HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", b"\r\n"] {
            assert_eq!(version(begin), Some(Version::Http1), "{begin:?}");
        }
    }
}
