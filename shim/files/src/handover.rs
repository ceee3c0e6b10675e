//! Descriptors on their way to a worker.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use catamaran_worker::job::Fd;

/// Descriptors for a worker, numbered in the order in which they are added.
#[derive(Default)]
pub struct Handover(Vec<OwnedFd>);

impl Handover {
    /// Takes descriptors that are numbered already.
    pub fn new(descriptors: Vec<OwnedFd>) -> Self {
        Self(descriptors)
    }

    /// Returns all descriptors, in their order.
    pub fn into_all(self) -> Vec<OwnedFd> {
        self.0
    }

    /// Adds a descriptor, and returns its number.
    pub fn add(&mut self, descriptor: OwnedFd) -> Fd {
        self.0.push(descriptor);
        Fd(self.0.len() - 1)
    }

    /// Returns all descriptors, in their order.
    pub fn lent(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd).collect()
    }

    /// Returns a descriptor that was added here.
    pub fn get(&self, fd: Fd) -> Option<BorrowedFd<'_>> {
        self.0.get(fd.0).map(AsFd::as_fd)
    }
}
