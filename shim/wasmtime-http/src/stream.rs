//! A connection's bytes, and what they tell: whether a head is late, and whether a reader has stopped.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What is under way on a connection. Its own task alone writes and reads it.
#[derive(Default)]
pub(crate) struct Progress {
    in_head: AtomicBool,
    busy: AtomicBool,
    stalled: AtomicBool,
    writes: AtomicU32,
}

impl Progress {
    /// A head is complete: its request begins.
    pub(crate) fn request(&self) {
        self.in_head.store(false, Ordering::Relaxed);
        self.busy.store(true, Ordering::Relaxed);
    }

    /// A response is sent, or as good as.
    pub(crate) fn response(&self) {
        self.busy.store(false, Ordering::Relaxed);
    }

    /// Whether bytes of a head have come, and no end of it.
    pub(crate) fn is_in_head(&self) -> bool {
        self.in_head.load(Ordering::Relaxed)
    }

    /// Whether a request is handled, or its response is on its way.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// The number of writes of which the client has taken something, while it takes no more.
    pub(crate) fn stalled_at(&self) -> Option<u32> {
        self.stalled.load(Ordering::Relaxed).then(|| self.writes.load(Ordering::Relaxed))
    }
}

pub(crate) struct Stream {
    stream: TcpStream,
    progress: Arc<Progress>,
}

impl Stream {
    pub(crate) fn new(stream: TcpStream, progress: Arc<Progress>) -> Self {
        Self { stream, progress }
    }

    /// Sends what fits at once, to a client that has broken the rules and may be gone.
    pub(crate) fn send_at_once(&self, bytes: &[u8]) {
        let _ = self.stream.try_write(bytes);
    }

    /// Reads and drops what the client sends, until it ends or for so long. A client of which nothing is there to be read is waited
    /// for only if `waits`.
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
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before && !self.progress.is_busy() {
            self.progress.in_head.store(true, Ordering::Relaxed);
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
