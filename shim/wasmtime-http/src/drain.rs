//! How a server ends: it says so to its clients for a while, then takes no further connection, then lets end what is under way.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// A connection's: it tells when the connection is to end, and that there is one.
pub(crate) type Alive = watch::Receiver<bool>;

pub(crate) struct Drain {
    /// Responses say that their connection is closed behind them.
    begun: AtomicBool,
    /// Whether connections are to end. Each connection has a receiver as long as it lives.
    closing: watch::Sender<bool>,
}

impl Drain {
    pub(crate) fn new() -> Self {
        Self { begun: AtomicBool::new(false), closing: watch::Sender::new(false) }
    }

    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// A new connection's.
    pub(crate) fn subscribe(&self) -> Alive {
        self.closing.subscribe()
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.closing.receiver_count()
    }

    /// Ends connections on which nothing is under way, and the others behind their response. Returns when the last one is gone.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        self.closing.closed().await;
    }
}
