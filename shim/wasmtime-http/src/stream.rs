//! A connection's bytes, which tell whether a head is late, and whether a reader has stopped.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::Transport;

/// The progress of a connection. The tasks of the connection and of its requests write and read it, on the same thread.
#[derive(Default)]
pub(crate) struct Progress {
    in_head: AtomicBool,
    /// Requests that are handled, or whose response is on its way.
    requests: AtomicU32,
    /// There was a request.
    begun: AtomicBool,
    /// HTTP/2: several requests may be pending at once, and bytes that are no request's come at any time.
    multiplexed: AtomicBool,
    stalled: AtomicBool,
    /// Responses of HTTP/2 with a part that is not taken yet.
    given: AtomicU32,
    writes: AtomicU32,
}

impl Progress {
    pub(crate) fn multiplex(&self) {
        self.in_head.store(false, Ordering::Relaxed);
        self.multiplexed.store(true, Ordering::Relaxed);
    }

    /// Notes that a head is complete and its request begins.
    pub(crate) fn request(&self) {
        self.in_head.store(false, Ordering::Relaxed);
        self.begun.store(true, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a response is sent, or given up.
    pub(crate) fn response(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Notes that a part of a response is given to be sent.
    pub(crate) fn give(&self) {
        self.given.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that this part is on its way, or given up.
    pub(crate) fn take(&self) {
        self.given.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a request has come at all.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether a head has begun to come, and not ended.
    pub(crate) fn is_in_head(&self) -> bool {
        self.in_head.load(Ordering::Relaxed)
    }

    /// Whether a request is handled, or its response is on its way.
    pub(crate) fn is_busy(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    /// Returns how many writes have ended, if the client takes no more of a response; else None. A client of HTTP/2 may take one response
    /// and not another.
    pub(crate) fn stalled_at(&self) -> Option<u32> {
        let waits = || self.multiplexed.load(Ordering::Relaxed) && self.given.load(Ordering::Relaxed) > 0;
        (self.stalled.load(Ordering::Relaxed) || waits()).then(|| self.writes.load(Ordering::Relaxed))
    }

    fn note_read(&self) {
        if !self.is_busy() && !self.multiplexed.load(Ordering::Relaxed) {
            self.in_head.store(true, Ordering::Relaxed);
        }
    }
}

pub(crate) struct Stream {
    stream: Transport,
    /// Bytes that were read already, and are read again before further ones.
    ahead: Bytes,
    progress: Arc<Progress>,
}

impl Stream {
    pub(crate) fn new(stream: Transport, progress: Arc<Progress>) -> Self {
        Self { stream, ahead: Bytes::new(), progress }
    }

    /// Puts bytes back, to be read again.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        self.ahead = Bytes::copy_from_slice(bytes);
    }

    /// Sends what fits at once, to a client that has broken the rules and may be gone.
    pub(crate) fn send_at_once(&mut self, bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(_)) = Pin::new(&mut self.stream).poll_write(&mut cx, bytes) {
            let _ = Pin::new(&mut self.stream).poll_flush(&mut cx);
        }
    }

    /// Reads and drops the client's bytes, until they end or `limit` is over. Waits for a client that has sent nothing only if `waits`.
    pub(crate) async fn take_rest(mut self, mut waits: bool, limit: Duration) {
        let rest = std::future::poll_fn(|cx| {
            loop {
                let mut room = [0; 16 << 10];
                let mut buffer = ReadBuf::new(&mut room);
                match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => waits = true,
                    Poll::Pending if waits => return Poll::Pending,
                    _ => return Poll::Ready(()),
                }
            }
        });
        let _ = tokio::time::timeout(limit, rest).await;
    }

    fn note(&self, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.progress.stalled.store(wrote.is_pending(), Ordering::Relaxed);
        if wrote.is_ready() {
            self.progress.writes.fetch_add(1, Ordering::Relaxed);
        }
        wrote
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..length]);
            self.ahead.advance(length);
            self.progress.note_read();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.progress.note_read();
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
