//! Whether a flush is the guest's: wasmer-wasix asks for one for its fsync and fdatasync, and for the same when a file is closed.

use std::cell::Cell;

thread_local! {
    static SYNCING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in a guest's fsync or fdatasync.
pub(crate) fn is_syncing() -> bool {
    SYNCING.get()
}

/// Makes `call`, a guest's fsync or fdatasync.
pub(crate) fn during<T>(call: impl FnOnce() -> T) -> T {
    SYNCING.set(true);
    let answer = call();
    SYNCING.set(false);
    answer
}
