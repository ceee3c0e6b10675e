//! Finds out which folder a descriptor of the guest's is. wasmer-wasix does not tell, so it is asked to read the folder, and
//! our file system notes the path instead.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use virtual_fs::FsError;

thread_local! {
    /// Some while this thread asks which folder a descriptor is; within it, the answer.
    static WHERE: RefCell<Option<Option<PathBuf>>> = const { RefCell::new(None) };
}

/// Makes `call`, a readdir of wasmer-wasix's, and returns the folder that it was about to read.
pub(crate) fn folder_of<T>(call: impl FnOnce() -> T) -> (T, Option<PathBuf>) {
    // A signal's handler may read within another call.
    let outer = WHERE.replace(Some(None));
    let answer = call();
    (answer, WHERE.replace(outer).flatten())
}

/// If this thread only asks which folder it is, notes the answer and fails: nothing is read.
pub(crate) fn is_asked(folder: &Path) -> virtual_fs::Result<()> {
    WHERE.with_borrow_mut(|asking| match asking {
        Some(told) => {
            *told = Some(folder.to_owned());
            Err(FsError::IOError)
        }
        None => Ok(()),
    })
}
