//! Registers descriptors with the event loop.
#![allow(unsafe_code, reason = "registering a descriptor is unsafe by its nature; this module is its safe form")]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers `descriptor` for reading.
pub fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    registered(descriptor, Interest::READABLE)
}

/// Registers `descriptor` for `interest`.
pub fn registered(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open and names one file until it is dropped, and nothing gets at it inside the AsyncFd but
    // by shared reference.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}
