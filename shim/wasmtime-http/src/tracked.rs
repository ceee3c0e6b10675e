//! Tells a connection how far the responses that it sends are.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::response::{Broken, ResponseBody};
use crate::stream::Progress;

/// A response that is not sent yet.
pub(crate) struct Sent {
    progress: Arc<Progress>,
    /// A part of it is given to be sent, and the next one was not asked for.
    given: bool,
}

impl Sent {
    pub(crate) fn begin(progress: &Arc<Progress>) -> Self {
        progress.request();
        Self { progress: Arc::clone(progress), given: false }
    }

    fn give(&mut self) {
        self.given = true;
        self.progress.give();
    }

    fn take(&mut self) {
        if std::mem::take(&mut self.given) {
            self.progress.take();
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.take();
        self.progress.response();
    }
}

/// A body that tells how far it is sent, or that it was given up.
pub(crate) struct Tracked {
    body: ResponseBody,
    sent: Sent,
}

impl Tracked {
    pub(crate) fn new(body: ResponseBody, sent: Sent) -> Self {
        Self { body, sent }
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        this.sent.take();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = frame {
            this.sent.give();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
