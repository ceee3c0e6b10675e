//! Work that goes on after its owner was dropped.

use std::future::Future;

use tokio::runtime::Handle;

/// Runs `work` on this thread's event loop. At the process's end there is no loop any more, and nothing left to do.
pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(event_loop) = Handle::try_current() {
        event_loop.spawn(work);
    }
}
