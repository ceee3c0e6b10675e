//! Starts a logger, and waits for its end.

use std::ffi::{CString, NulError};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use catamaran_host::readable::readable;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;
use tokio::time::Instant;

/// Descriptors are copied above this number first, so that no copy takes another one's final number.
const ABOVE: i32 = 16;

/// A program to be started in a process group of its own, with three descriptors. Those of 0 to 2 that are not among them are the shim's
/// own, which is the null device.
pub(super) struct Spawn<'a> {
    pub(super) path: &'a Path,
    /// The program's name, as its first argument.
    pub(super) name: Result<CString, NulError>,
    pub(super) arguments: Vec<CString>,
    /// `NAME=value`.
    pub(super) environment: Vec<CString>,
    /// Each with its number in the program.
    pub(super) descriptors: [(OwnedFd, i32); 3],
}

impl Spawn<'_> {
    /// Starts the program by posix_spawn, because the standard library hands over descriptors beyond the first three only after a fork.
    /// Also fails if the program cannot be executed.
    pub(super) fn start(self) -> io::Result<Pid> {
        let mut actions = PosixSpawnFileActions::init()?;
        let mut held = Vec::new();
        for (descriptor, number) in &self.descriptors {
            let high = rustix::io::fcntl_dupfd_cloexec(descriptor, ABOVE)?;
            actions.add_dup2(high.as_raw_fd(), *number)?;
            held.push(high);
        }
        let mut attributes = PosixSpawnAttr::init()?;
        // Rust programs ignore SIGPIPE, and a program that they execute would ignore it too.
        attributes.set_flags(
            PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
                | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
                | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
        )?;
        attributes.set_pgroup(Pid::from_raw(0))?;
        attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
        attributes.set_sigmask(&SigSet::empty())?;
        let mut words = vec![self.name?];
        words.extend(self.arguments);
        Ok(posix_spawn(self.path, &actions, &attributes, &words, &self.environment)?)
    }
}

/// Waits until a process has ended, reaped or not. Returns false if the process has not ended by `deadline`.
pub(super) async fn ended(pidfd: &OwnedFd, deadline: Option<Instant>) -> bool {
    let Ok(watched) = pidfd.try_clone().and_then(readable) else { return false };
    let ended = async { watched.readable().await.is_ok() };
    match deadline {
        None => ended.await,
        Some(deadline) => tokio::time::timeout_at(deadline, ended).await.unwrap_or(false),
    }
}
