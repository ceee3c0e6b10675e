//! An open file of the guest's, as the kernel has it, and how it is found by the guest's descriptor.
//!
//! wasmer-wasix tells nobody which file a descriptor is. So it is asked to seek to the end, which every descriptor of a file may,
//! and the file is taken where it would.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self as at, OFlags, tell};

/// What all descriptors of one open share.
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

    /// Has the kernel append from now on or not, and wait or not.
    pub(crate) fn set_flags(&self, append: bool, at_once: bool) -> rustix::io::Result<()> {
        let mut flags = at::fcntl_getfl(&self.file)?;
        flags.set(OFlags::APPEND, append);
        flags.set(OFlags::NONBLOCK, at_once);
        at::fcntl_setfl(&self.file, flags)?;
        self.appends.store(append, Ordering::Relaxed);
        Ok(())
    }

    /// Notes where a write ended, if that is for the kernel to say.
    pub(crate) fn written(&self) {
        if self.appends.load(Ordering::Relaxed)
            && let Ok(end) = tell(&self.file)
        {
            APPENDED.set(Some(end));
        }
    }
}

thread_local! {
    /// Where this thread is asking which file a descriptor is: what it is told.
    static WHICH: RefCell<Option<Option<Arc<Opened>>>> = const { RefCell::new(None) };
    /// Where the last write to a file that is appended to ended, in the call that this thread is in.
    static APPENDED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes `call`, a seek of wasmer-wasix's, and answers in which file it was about to.
pub(crate) fn file_of<T>(call: impl FnOnce() -> T) -> (T, Option<Arc<Opened>>) {
    // A signal's handler may ask within another call.
    let outer = WHICH.replace(Some(None));
    let answer = call();
    (answer, WHICH.replace(outer).flatten())
}

/// Whether this thread only asks which file it is: then it is told, and nothing is done.
pub(crate) fn is_asked(file: &Arc<Opened>) -> io::Result<()> {
    WHICH.with_borrow_mut(|asking| match asking {
        Some(told) => {
            *told = Some(file.clone());
            Err(io::ErrorKind::Other.into())
        }
        None => Ok(()),
    })
}

/// Makes `call`, a seek of the guest's own.
pub(crate) fn not_asked<T>(call: impl FnOnce() -> T) -> T {
    let outer = WHICH.take();
    let answer = call();
    WHICH.set(outer);
    answer
}

/// Makes `call`, a write, and answers where it ended if that is for the kernel to say.
pub(crate) fn appending<T>(call: impl FnOnce() -> T) -> (T, Option<u64>) {
    let outer = APPENDED.take();
    let answer = call();
    (answer, APPENDED.replace(outer))
}
