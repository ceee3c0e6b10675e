//! The three streams of a native process.

use std::os::fd::OwnedFd;

/// The standard streams of a process in a container.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}
