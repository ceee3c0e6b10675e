//! What goes on behind something that was dropped.

use std::future::Future;

use tokio::runtime::Handle;

/// Runs it on this thread's event loop. At the process's end there is none any more, and nothing to go on with.
pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(event_loop) = Handle::try_current() {
        event_loop.spawn(work);
    }
}
