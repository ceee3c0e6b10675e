//! The body of a response, and the run of the guest that makes it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use wasmtime::{Error, Result};
use wasmtime_wasi_http::WasiBody;

use crate::admission::Permit;
use crate::exchange::{Exchange, Failure};
use crate::report::Report;
use crate::tasks;
use crate::ticker::Ticking;

/// The dispatcher's result for a guest that has returned: a response of WASI 0.3, since it sees none of 0.2's.
type Ended = Result<wasmtime_wasi_http::handler::Response>;

/// A guest that handles a request, until it has returned. Dropping this before then leaves the guest to itself.
///
/// A guest of WASI 0.3 returns with the head of its response, and goes on after it: from then on its instance says how the guest is.
pub(crate) struct Run {
    /// None once it was ready.
    pub(crate) future: Option<Pin<Box<dyn Future<Output = Ended> + Send>>>,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) report: Arc<Report>,
    pub(crate) _permit: Permit,
    pub(crate) _ticking: Option<Ticking>,
}

/// How a guest that had set its response has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Returned,
    /// It trapped, or was ended, as the container's standard error says.
    Failed,
}

impl Run {
    /// Polls the guest until it has returned. Pending for ever once it has.
    pub(crate) fn poll_returned(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let Some(future) = &mut self.future else { return Poll::Pending };
        let ended = std::task::ready!(future.as_mut().poll(cx));
        self.future = None;
        Poll::Ready(ended)
    }

    /// Polls for the guest's end, after the head.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let error = match self.future {
            Some(_) => std::task::ready!(self.poll_returned(cx)).err(),
            None => None,
        };
        Poll::Ready(self.end(error))
    }

    /// Waits until the guest has returned, or is ended.
    pub(crate) async fn end_of_guest(&mut self) {
        std::future::poll_fn(|cx| self.poll_end(cx).map(|_| ())).await;
    }

    fn end(&self, error: Option<Error>) -> End {
        match self.exchange.failure(error) {
            Some(Failure::New(error)) => {
                self.report.failed(&error);
                End::Failed
            }
            Some(Failure::Told) => End::Failed,
            None if self.exchange.is_overdone() => {
                self.report.computed_for_too_long();
                End::Failed
            }
            None if self.exchange.is_expired() => End::Failed,
            None => End::Returned,
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.exchange.finish();
    }
}

/// A body that a connection sends.
pub(crate) enum ResponseBody {
    /// The server's own text.
    Text(Full<Bytes>),
    Guest(GuestBody),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Text(text) => Pin::new(text).poll_frame(cx).map_err(|never| match never {}),
            Self::Guest(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_end_stream(),
            Self::Guest(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => text.size_hint(),
            Self::Guest(body) => body.inner.size_hint(),
        }
    }
}

/// The error of a body that has no end: its reader must not take it for complete.
#[derive(Debug, thiserror::Error)]
#[error("the component did not finish its response")]
pub(crate) struct Broken;

/// A guest's body, and the guest that is still at it.
pub(crate) struct GuestBody {
    inner: WasiBody,
    /// None once the guest has returned.
    run: Option<Run>,
    failed: bool,
    sent: Sent,
}

/// How much of a body its client has been given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The whole body.
    Whole,
    /// All but this many of the announced bytes. Once they are sent, hyper does not ask for the body's end.
    ButFor(u64),
    /// Its end was not seen.
    NotEnded,
}

impl Sent {
    fn add(&mut self, bytes: usize) {
        if let Sent::ButFor(left) = self {
            *left = left.saturating_sub(bytes as u64);
        }
    }

    fn is_whole(self) -> bool {
        matches!(self, Sent::Whole | Sent::ButFor(0))
    }
}

impl GuestBody {
    /// `ended` is how the guest has ended, if it has.
    pub(crate) fn new(inner: WasiBody, run: Option<Run>, ended: Option<End>, sent: Sent) -> Self {
        Self { inner, run, failed: ended == Some(End::Failed), sent }
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(None) => {}
            Poll::Ready(Some(Ok(frame))) => {
                self.sent.add(frame.data_ref().map_or(0, Bytes::len));
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(Broken))),
            Poll::Pending => {
                // The guest's bytes go out first; its end is found after them.
                return Poll::Pending;
            }
        }
        // A body ends when its guest has finished it, or when its instance is gone: the guest's own end says which. A guest that goes on
        // has finished it.
        if let Some(run) = &mut self.run
            && let Poll::Ready(end) = run.poll_end(cx)
        {
            self.failed |= end == End::Failed;
            self.run = None;
        }
        match self.failed {
            true => Poll::Ready(Some(Err(Broken))),
            false => {
                self.sent = Sent::Whole;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // Never a guess, because hyper does not ask for the end if this is true.
        !self.failed && self.run.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for GuestBody {
    /// A guest whose response is sent may have more to do: it keeps its place until it has returned, or until its time is over. A guest
    /// whose client is gone is ended. For WASI 0.3 the instance sees to both.
    fn drop(&mut self) {
        let Some(mut run) = self.run.take() else { return };
        if !self.sent.is_whole() {
            run.exchange.expire();
        }
        if run.future.is_none() {
            return;
        }
        let limit = run.report.limit;
        tasks::spawn(async move {
            let Some(limit) = limit else { return run.end_of_guest().await };
            if tokio::time::timeout(limit, run.end_of_guest()).await.is_err() {
                run.exchange.expire();
                run.end_of_guest().await;
            }
        });
    }
}
