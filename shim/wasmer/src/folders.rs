//! Which folder a descriptor of the guest's is. wasmer-wasix tells nobody, so it is asked to read the folder, and the path is
//! taken where it would.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use virtual_fs::FsError;

thread_local! {
    /// Where this thread is asking which folder a descriptor is: what it is told.
    static WHERE: RefCell<Option<Option<PathBuf>>> = const { RefCell::new(None) };
}

/// Makes `call`, a readdir of wasmer-wasix's, and answers which folder it was about to read.
pub(crate) fn folder_of<T>(call: impl FnOnce() -> T) -> (T, Option<PathBuf>) {
    // A signal's handler may read within another call.
    let outer = WHERE.replace(Some(None));
    let answer = call();
    (answer, WHERE.replace(outer).flatten())
}

/// Whether this thread only asks which folder it is: then it is told, and reads nothing.
pub(crate) fn is_asked(folder: &Path) -> virtual_fs::Result<()> {
    WHERE.with_borrow_mut(|asking| match asking {
        Some(told) => {
            *told = Some(folder.to_owned());
            Err(FsError::IOError)
        }
        None => Ok(()),
    })
}
