//! How a server ends: for a while it tells its clients so, then it takes no further connection, then it lets pending requests end.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// A connection's receiver: it tells the connection when to end, and tells the server that there is one.
pub(crate) type Alive = watch::Receiver<bool>;

pub(crate) struct Drain {
    /// Whether responses say that their connection closes after them.
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

    /// Returns the receiver of a new connection.
    pub(crate) fn subscribe(&self) -> Alive {
        self.closing.subscribe()
    }

    /// Returns how many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.closing.receiver_count()
    }

    /// Ends connections without a pending request, and the others after their response. Returns when the last one is gone.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        self.closing.closed().await;
    }
}
