//! Accepts the server's clients.
//!
//! When no descriptor is free, a connection cannot be accepted and stays in the queue. The server then pauses before it tries again:
//! otherwise its only thread would try for ever, and serve no container.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use log::warn;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Sleep;

/// The pause between two tries to accept a client.
const PAUSE: Duration = Duration::from_millis(250);

/// The connections of a listener, as a stream that never ends.
pub(crate) struct Clients {
    listener: UnixListener,
    pause: Option<Pin<Box<Sleep>>>,
    /// Whether a failure was logged since the last success.
    told: bool,
}

impl Clients {
    pub(crate) fn new(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener: UnixListener::from_std(listener)?, pause: None, told: false })
    }
}

impl Stream for Clients {
    type Item = io::Result<UnixStream>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(context)) {
                Ok((client, _)) => {
                    self.told = false;
                    return Poll::Ready(Some(Ok(client)));
                }
                Err(e) => {
                    if !std::mem::replace(&mut self.told, true) {
                        warn!("a client cannot be accepted now, trying again every {PAUSE:?}: {e}");
                    }
                    self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
                }
            }
        }
    }
}
