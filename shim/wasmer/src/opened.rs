//! An open file of the guest's, as the kernel has it, and how it is found by the guest's descriptor.
//!
//! wasmer-wasix does not tell which file a descriptor is. So it is asked to seek to the end, which every descriptor of a file
//! may, and our file names itself instead.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self as at, OFlags, tell};

/// The state that all descriptors of one open share.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    /// The name that it was opened by.
    pub(crate) path: PathBuf,
    /// Whether it has a position: a pipe or a terminal has none.
    pub(crate) seekable: bool,
    /// Whether each write goes to the end (O_APPEND).
    appends: AtomicBool,
}

impl Opened {
    pub(crate) fn new(file: File, path: PathBuf, appends: bool) -> Arc<Self> {
        let seekable = tell(&file).is_ok();
        Arc::new(Self { file, path, seekable, appends: appends.into() })
    }

    /// Sets whether the kernel appends from now on, and whether it waits.
    pub(crate) fn set_flags(&self, append: bool, at_once: bool) -> rustix::io::Result<()> {
        let mut flags = at::fcntl_getfl(&self.file)?;
        flags.set(OFlags::APPEND, append);
        flags.set(OFlags::NONBLOCK, at_once);
        at::fcntl_setfl(&self.file, flags)?;
        self.appends.store(append, Ordering::Relaxed);
        Ok(())
    }

    /// Notes where a write ended, if it was an append: the kernel chose the place.
    pub(crate) fn written(&self) {
        if self.appends.load(Ordering::Relaxed)
            && let Ok(end) = tell(&self.file)
        {
            APPENDED.set(Some(end));
        }
    }
}

thread_local! {
    /// Some while this thread asks which file a descriptor is; within it, the answer.
    static WHICH: RefCell<Option<Option<Arc<Opened>>>> = const { RefCell::new(None) };
    /// The end of the last append in this thread's call.
    static APPENDED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes `call`, a seek of wasmer-wasix's, and returns the file in which it was about to seek.
pub(crate) fn file_of<T>(call: impl FnOnce() -> T) -> (T, Option<Arc<Opened>>) {
    // A signal's handler may ask within another call.
    let outer = WHICH.replace(Some(None));
    let answer = call();
    (answer, WHICH.replace(outer).flatten())
}

/// If this thread only asks which file it is, notes the answer and fails: nothing is done.
pub(crate) fn is_asked(file: &Arc<Opened>) -> io::Result<()> {
    WHICH.with_borrow_mut(|asking| match asking {
        Some(told) => {
            *told = Some(file.clone());
            Err(io::ErrorKind::Other.into())
        }
        None => Ok(()),
    })
}

/// Makes `call`, a seek of the guest's own and no question.
pub(crate) fn not_asked<T>(call: impl FnOnce() -> T) -> T {
    let outer = WHICH.take();
    let answer = call();
    WHICH.set(outer);
    answer
}

/// Makes `call`, a write, and returns where it ended if it was an append.
pub(crate) fn appending<T>(call: impl FnOnce() -> T) -> (T, Option<u64>) {
    let outer = APPENDED.take();
    let answer = call();
    (answer, APPENDED.replace(outer))
}
