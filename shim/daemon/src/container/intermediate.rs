//! An intermediate that has no job yet.
//!
//! Its program takes a millisecond until it can take a job. So Create starts the intermediate while the module is looked for, and sends
//! the job later. Until then the intermediate only waits, and it ends by itself if the shim ends.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;

use catamaran_host::programs::Program;
use catamaran_host::{child, limits};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::{Doing, Result};

/// The parameters of an intermediate's start.
pub(crate) struct Beginning<'a> {
    /// The executable, and its first argument if it has several actions.
    pub(crate) program: &'a Program,
    pub(crate) action: Option<&'a str>,
    /// The container's id, for `ps`.
    pub(crate) id: &'a str,
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
}

/// A process that waits for a job.
pub(crate) struct Intermediate {
    program: PathBuf,
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    /// The socket for the job.
    pub(super) control: OwnedFd,
}

impl Intermediate {
    pub(crate) fn start(beginning: &Beginning<'_>) -> Result<Self> {
        let Beginning { program, action, id, stdout, stderr } = beginning;
        let doing = || format!("starting {}", program.path().display());
        let (control, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .doing(doing)?;
        let child = program
            .command()
            .args(*action)
            .arg(id)
            .env_clear()
            // A worker's kill(0, ..) must not reach the shim: process groups cross pid namespaces.
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(stdout.try_clone_to_owned().doing(doing)?))
            .stderr(Stdio::from(stderr.try_clone_to_owned().doing(doing)?))
            .spawn()
            .map_err(limits::of_processes)
            .on(program.path())?;
        let (program, pid) = (program.path().to_owned(), child.id());
        Ok(Self { program, pid, pidfd: child::pidfd(pid)?, control })
    }

    /// Whether the intermediate is of this program.
    pub(crate) fn runs(&self, program: &Program) -> bool {
        self.program == program.path()
    }

    /// The program's path, for messages.
    pub(super) fn program(&self) -> std::path::Display<'_> {
        self.program.display()
    }

    /// Ends the intermediate without a job, by closing its socket.
    pub(crate) fn dismiss(self) {
        drop(self.control);
        child::reap(self.pidfd);
    }
}
