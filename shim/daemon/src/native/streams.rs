//! The three streams of a native process.

use std::os::fd::OwnedFd;

/// What a process in a container has for its streams.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}
