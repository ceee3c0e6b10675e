//! The control socket: a `SOCK_SEQPACKET` pair between the shim and one worker, which both close once the worker has started.
//!
//! Every function sends or receives one message: it blocks on a blocking socket, and returns `WouldBlock` on a non-blocking one.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::job::Job;
use crate::version;

/// The kernel takes no more descriptors than this in one message (`SCM_MAX_FD`).
pub const MAX_DESCRIPTORS: usize = 253;

/// The longest text that a worker reports; a longer one is cut. A character may grow sixfold in JSON.
const MAX_TEXT: usize = 8 * 1024;
const MAX_MESSAGE: usize = 64 * 1024;

/// The message that starts the guest.
const START: &[u8] = b"start";
/// The message that tells an intermediate that the hooks have run.
const HOOKED: &[u8] = b"hooked";

/// The messages to the shim, in this order: [`Report::Cloned`], then one of the others.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// From the intermediate: the worker exists. Carries the worker's pidfd, and behind it the reporting process's own if that
    /// process is a child of the shim that the shim does not know.
    Cloned {
        /// The worker's pid, as the shim sees it.
        pid: i32,
    },
    /// From the worker: confined, linked, waiting for Start. If the job has hooks, the intermediate has waited for them before.
    Ready {
        /// Failures that need not stop the container, for the log.
        warnings: Vec<String>,
    },
    /// From either: the container cannot be created.
    Failed {
        /// Whose fault it is.
        cause: Cause,
        /// For the user.
        text: String,
    },
}

/// Whose fault a failed Create is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The artifact does not fit the engine: compile again.
    Artifact,
    /// The module cannot run on this engine.
    Module,
    /// The server cannot listen on its address.
    Address,
    /// A namespace, mount, limit or credential of the spec could not be set up.
    Confinement,
}

/// Sends the job and its descriptors to a new worker.
pub fn send_job(socket: BorrowedFd<'_>, job: &Job, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_in_memory(socket, job, descriptors)
}

/// Sends a value that may be larger than one message, in a memfd, and descriptors with it.
pub fn send_in_memory<T: Serialize>(
    socket: BorrowedFd<'_>,
    value: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut text = File::from(rustix::fs::memfd_create("catamaran-job", MemfdFlags::CLOEXEC)?);
    text.write_all(&serde_json::to_vec(value)?)?;
    text.rewind()?;
    let mut all = vec![text.as_fd()];
    all.extend_from_slice(descriptors);
    if all.len() > MAX_DESCRIPTORS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} descriptors, more than the {MAX_DESCRIPTORS} that fit in one message", all.len()),
        ));
    }
    send(socket, version::VERSION.as_bytes(), &all)
}

/// Receives the job, in the intermediate.
pub(crate) fn receive_job(socket: BorrowedFd<'_>) -> io::Result<(Job, Descriptors)> {
    let (job, descriptors) = receive_in_memory(socket)?;
    Ok((job, Descriptors(descriptors.into_iter().map(Some).collect())))
}

/// Receives a value that [`send_in_memory`] sent. Fails with `UnexpectedEof` if the other side is gone, with
/// [`version::OtherVersion`] if it is of another version.
pub fn receive_in_memory<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<(T, Vec<OwnedFd>)> {
    let (sender, mut descriptors) = receive(socket)?;
    if sender.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other side sent nothing"));
    }
    version::compare(version::first_line(&sender))?;
    if descriptors.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other side sent nothing"));
    }
    let mut text = Vec::new();
    File::from(descriptors.remove(0)).read_to_end(&mut text)?;
    Ok((serde_json::from_slice(&text)?, descriptors))
}

/// Reports to the shim; `pidfds` go with [`Report::Cloned`].
///
/// Without pidfds it is a plain write, because the worker's filter of system calls has no sendmsg.
pub(crate) fn report(socket: BorrowedFd<'_>, report: &Report, pidfds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = version::write(report)?;
    match pidfds {
        [_, ..] => send(socket, &bytes, pidfds),
        [] => rustix::io::retry_on_intr(|| rustix::io::write(socket, &bytes)).map(drop).map_err(Into::into),
    }
}

/// Returns a report as its message's bytes, for a program that cannot make them itself: the holder.
pub(crate) fn written(report: &Report) -> io::Result<Vec<u8>> {
    version::write(report)
}

/// Receives one report, in the shim. Fails with `UnexpectedEof` if the worker is gone, with [`version::OtherVersion`] if it is
/// of another version.
pub fn receive_report(socket: BorrowedFd<'_>) -> io::Result<(Report, Vec<OwnedFd>)> {
    let (bytes, descriptors) = receive(socket)?;
    if bytes.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the worker ended without a word"));
    }
    Ok((version::read(&bytes)?, descriptors))
}

/// Starts the guest, in the shim, and closes the shim's end for reading first: the kernel then refuses anything that a worker
/// taken over by its guest sends on a copy of its end.
pub fn send_start(socket: BorrowedFd<'_>) -> io::Result<()> {
    rustix::net::shutdown(socket, rustix::net::Shutdown::Read)?;
    send(socket, START, &[])
}

/// Waits for Start, in the worker. Returns false if the shim is gone.
pub(crate) fn await_start(socket: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(heard(socket)? == START)
}

/// Tells the intermediate that the hooks have run, in the shim.
pub fn send_hooked(socket: BorrowedFd<'_>) -> io::Result<()> {
    send(socket, HOOKED, &[])
}

/// Waits until the hooks have run, in the intermediate.
pub(crate) fn await_hooked(socket: BorrowedFd<'_>) -> io::Result<()> {
    if heard(socket)? == HOOKED {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the shim is gone"))
    }
}

/// Reads a message of the shim by read(2), because the worker's filter of system calls has no recvmsg. Empty if the shim is gone.
fn heard(socket: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 1 + START.len().max(HOOKED.len())];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut bytes))?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Cuts a text to [`MAX_TEXT`], between two characters.
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// The descriptors of a job, each taken once.
#[derive(Debug)]
pub(crate) struct Descriptors(Vec<Option<OwnedFd>>);

impl Descriptors {
    /// Takes the descriptor of this number in the job.
    pub(crate) fn take(&mut self, fd: crate::job::Fd) -> io::Result<OwnedFd> {
        self.0.get_mut(fd.0).and_then(Option::take).ok_or_else(|| Self::missing(fd))
    }

    /// Lends a descriptor that is taken later.
    pub(crate) fn lend(&self, fd: crate::job::Fd) -> io::Result<BorrowedFd<'_>> {
        self.0.get(fd.0).and_then(Option::as_ref).map(AsFd::as_fd).ok_or_else(|| Self::missing(fd))
    }

    fn missing(fd: crate::job::Fd) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("descriptor {} of the job is missing", fd.0))
    }
}

/// Sends a value in one message, and descriptors with it.
pub fn send_with<T: Serialize>(socket: BorrowedFd<'_>, value: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    send(socket, &version::write(value)?, descriptors)
}

/// Receives a value that [`send_with`] sent. Fails with `UnexpectedEof` if the other side is gone, with
/// [`version::OtherVersion`] if it is of another version.
pub fn receive_with<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<(T, Vec<OwnedFd>)> {
    let (bytes, descriptors) = receive(socket)?;
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((version::read(&bytes)?, descriptors))
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    debug_assert_eq!(sent, bytes.len(), "SOCK_SEQPACKET sends a message whole");
    Ok(())
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; MAX_MESSAGE];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut descriptors = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            descriptors.extend(received);
        }
    }
    // The buffer has room for all that a message may bring: the kernel leaves out descriptors beyond this process's limit.
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::MFILE.into());
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message on the control socket was cut"));
    }
    bytes.truncate(message.bytes);
    Ok((bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn a_report_carries_its_descriptor() {
        let (shim, worker) = pair();
        report(worker.as_fd(), &Report::Cloned { pid: 7 }, &[worker.as_fd()]).unwrap();
        let (received, descriptors) = receive_report(shim.as_fd()).unwrap();
        assert!(matches!(received, Report::Cloned { pid: 7 }));
        assert_eq!(descriptors.len(), 1);
    }

    #[test]
    fn a_worker_that_has_ended_is_an_error() {
        let (shim, worker) = pair();
        drop(worker);
        assert_eq!(receive_report(shim.as_fd()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_shim_that_has_ended_does_not_start_the_guest() {
        let (shim, worker) = pair();
        send_start(shim.as_fd()).unwrap();
        assert!(await_start(worker.as_fd()).unwrap());
        let late = report(worker.as_fd(), &Report::Ready { warnings: Vec::new() }, &[]);
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::BrokenPipe, "nothing is said after Start");
        drop(shim);
        assert!(!await_start(worker.as_fd()).unwrap());
    }

    #[test]
    fn a_job_and_a_report_of_another_version_are_refused() {
        let (shim, worker) = pair();
        let memory = rustix::fs::memfd_create("job", MemfdFlags::CLOEXEC).unwrap();
        send(shim.as_fd(), b"0.0.9-0", &[memory.as_fd()]).unwrap();
        let e = receive_job(worker.as_fd()).unwrap_err();
        assert!(version::other(&e).is_some(), "{e}");
        // The other version's worker answers in its own form.
        send(worker.as_fd(), b"0.0.9-0\n{\"Refused\":{\"because\":\"of the version\"}}", &[]).unwrap();
        let e = receive_report(shim.as_fd()).unwrap_err();
        assert!(version::other(&e).is_some(), "{e}");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let text = cut("ä".repeat(MAX_TEXT));
        assert!(text.len() <= MAX_TEXT && text.chars().all(|c| c == 'ä'));
    }
}
