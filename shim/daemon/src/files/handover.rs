//! Descriptors on their way to a worker.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use catamaran_worker::job::Fd;

/// Descriptors for a worker, numbered in the order in which they are added.
#[derive(Default)]
pub(crate) struct Handover(Vec<OwnedFd>);

impl Handover {
    /// Of descriptors that are numbered already.
    pub(crate) fn of(descriptors: Vec<OwnedFd>) -> Self {
        Self(descriptors)
    }

    pub(crate) fn into_all(self) -> Vec<OwnedFd> {
        self.0
    }

    pub(crate) fn add(&mut self, descriptor: OwnedFd) -> Fd {
        self.0.push(descriptor);
        Fd(self.0.len() - 1)
    }

    /// All of them, in their order.
    pub(crate) fn lent(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd).collect()
    }

    /// A descriptor that was added here.
    pub(crate) fn get(&self, fd: Fd) -> Option<BorrowedFd<'_>> {
        self.0.get(fd.0).map(AsFd::as_fd)
    }
}
