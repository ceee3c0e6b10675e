//! A thread's knowledge of itself: which of the guest's threads it is, and of which of the guest's processes.

use std::cell::{Cell, RefCell};

use wasmer_wasix::WasiThread;

/// The most threads of all the guest's processes together. A server with a thread for each connection gets by with it, and a
/// kubelet that allows a pod 1024 processes (the lowest of common defaults) has as many left for the pod's other containers.
pub(crate) const MOST_THREADS: usize = 512;

thread_local! {
    /// Whether this thread belongs to the container's first process.
    static FIRST: Cell<bool> = const { Cell::new(false) };
    /// wasmer-wasix's handle of this thread.
    static THREAD: RefCell<Option<WasiThread>> = const { RefCell::new(None) };
}

/// wasmer-wasix's handle of this thread, if it is a guest's.
pub(crate) fn thread() -> Option<WasiThread> {
    THREAD.with_borrow(Clone::clone)
}

/// The number of this thread's process among the guest's; 0 for a thread of the worker's own.
pub(crate) fn process() -> u32 {
    THREAD.with_borrow(|thread| thread.as_ref().map_or(0, |thread| thread.pid().raw()))
}

/// Whether this thread belongs to the container's first process, whose end is the container's.
pub(crate) fn of_the_first_process() -> bool {
    FIRST.get()
}

/// Notes whether this thread belongs to the container's first process.
pub(crate) fn note_process(first: bool) {
    FIRST.set(first);
}

/// Notes wasmer-wasix's handle of this thread.
pub(crate) fn note(thread: WasiThread) {
    THREAD.set(Some(thread));
}

/// Forgets wasmer-wasix's handle of this thread.
pub(crate) fn forget() {
    THREAD.take();
}
