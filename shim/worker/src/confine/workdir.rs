//! The spec's working directory: it exists when the guest begins, and the guest's user can enter it, as with every other runtime.
//! The process itself works in the container's root; its engine decides how to use the directory.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::mountpoint::make_folder;
use super::{ConfineError, step};
use crate::quote::cut;

/// Makes the missing folders of the directory, with root's rights and for root, before anything is made read-only: a
/// `readOnlyRootFilesystem` has it too.
pub(super) fn make(root: BorrowedFd<'_>, cwd: &str) -> Result<(), ConfineError> {
    step(doing("making the working directory", cwd), make_folder(root, cwd))
}

/// Goes there and back to `/`, which is the container's. Returns false if this process may not: a file system that keeps root out
/// may let the container's user in.
pub(super) fn try_to_enter(cwd: &str) -> Result<bool, ConfineError> {
    match go_to(cwd) {
        Err(Errno::ACCESS | Errno::PERM) => Ok(false),
        went => step(doing("entering the working directory", cwd), went.map_err(io::Error::from)).map(|()| true),
    }
}

/// Goes there and back to `/`.
pub(super) fn enter(cwd: &str) -> Result<(), ConfineError> {
    step(doing("entering the working directory", cwd), go_to(cwd).map_err(io::Error::from))
}

fn go_to(cwd: &str) -> rustix::io::Result<()> {
    rustix::process::chdir(cwd)?;
    rustix::process::chdir("/")
}

/// Names the directory by both its keys, the pod's and the spec's.
fn doing(what: &str, cwd: &str) -> String {
    format!("{what} {:?} (workingDir, process.cwd)", cut(cwd))
}
