//! Counts the instances of WASI 0.3 that are at work, for a request or after its response: the server waits for them before it ends, and
//! its clock goes on for them.

use tokio::sync::watch;

use crate::ticker::{Ticker, Ticking};

pub(crate) struct Work {
    /// Each instance that is at work has a receiver.
    begun: watch::Sender<()>,
    ticker: Option<Ticker>,
}

/// An instance that is at work, until it is dropped.
pub(crate) struct AtWork {
    _counted: watch::Receiver<()>,
    _ticking: Option<Ticking>,
}

impl Work {
    pub(crate) fn new(ticker: Option<Ticker>) -> Self {
        Self { begun: watch::Sender::new(()), ticker }
    }

    pub(crate) fn begin(&self) -> AtWork {
        AtWork { _counted: self.begun.subscribe(), _ticking: self.tick() }
    }

    /// Keeps the clock going, where there is one.
    pub(crate) fn tick(&self) -> Option<Ticking> {
        self.ticker.as_ref().map(Ticker::begin)
    }

    /// Waits until no instance is at work.
    pub(crate) async fn all_ended(&self) {
        self.begun.closed().await;
    }
}
