//! Delays the reaping of orphans while a child exists whose pid nobody here knows yet.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts the [`Hold`]s that exist.
static HELD: AtomicUsize = AtomicUsize::new(0);
/// Notified when the last of them is dropped.
static RELEASED: Notify = Notify::const_new();

/// Keeps [`crate::orphans`] from reaping, as long as this value exists.
#[must_use]
pub struct Hold(());

/// Take this before creating a child whose pid is not yet known; keep it until its pidfd is open or it has been waited for.
pub fn hold() -> Hold {
    HELD.fetch_add(1, Ordering::Relaxed);
    Hold(())
}

/// Whether any [`Hold`] exists.
pub fn is_held() -> bool {
    HELD.load(Ordering::Relaxed) > 0
}

/// Waits until the last [`Hold`] is dropped.
pub async fn released() {
    RELEASED.notified().await;
}

impl Drop for Hold {
    fn drop(&mut self) {
        if HELD.fetch_sub(1, Ordering::Relaxed) == 1 {
            RELEASED.notify_one();
        }
    }
}
