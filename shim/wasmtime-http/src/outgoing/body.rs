//! The body of a response to a guest's request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::Error;

/// A body whose next part must come in time.
pub(super) struct Timed {
    inner: Incoming,
    between: Duration,
    /// Whether the timer runs: somebody waits for the next part.
    waits: bool,
    silence: Pin<Box<Sleep>>,
    /// The request is pending until its body is read.
    _permit: OwnedSemaphorePermit,
}

impl Timed {
    pub(super) fn new(inner: Incoming, between: Duration, permit: OwnedSemaphorePermit) -> Self {
        Self { inner, between, waits: false, silence: Box::pin(tokio::time::sleep(between)), _permit: permit }
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.waits = false;
                Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
            }
            Poll::Pending => {
                // The time that a guest takes to ask does not count.
                if !std::mem::replace(&mut this.waits, true) {
                    this.silence.as_mut().reset(Instant::now() + this.between);
                }
                std::task::ready!(this.silence.as_mut().poll(cx));
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
