//! Starting a logger, and looking at one.

use std::ffi::{CString, NulError};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use rustix::process::PidfdFlags;
use tokio::time::Instant;

use crate::error::{Doing, Result};
use crate::readable::readable;

/// Descriptors are handed over from numbers that none of them is to get.
const ABOVE: i32 = 16;

/// A program to be started in a process group of its own, with three descriptors beside the null device, and no others.
pub(super) struct Spawn<'a> {
    pub(super) path: &'a Path,
    /// What it is called by, as its first argument.
    pub(super) name: std::result::Result<CString, NulError>,
    pub(super) arguments: Vec<CString>,
    /// `NAME=value`.
    pub(super) environment: Vec<CString>,
    /// Each with the number that it is to have.
    pub(super) descriptors: [(OwnedFd, i32); 3],
}

impl Spawn<'_> {
    /// Starts it, by posix_spawn: the standard library's own command hands over no descriptor but the first three without
    /// a fork. An error is the program's that could not be executed.
    pub(super) fn start(self) -> io::Result<Pid> {
        let mut actions = PosixSpawnFileActions::init()?;
        let mut held = Vec::new();
        for (descriptor, number) in &self.descriptors {
            let high = rustix::io::fcntl_dupfd_cloexec(descriptor, ABOVE)?;
            actions.add_dup2(high.as_raw_fd(), *number)?;
            held.push(high);
        }
        let mut attributes = PosixSpawnAttr::init()?;
        // Rust programs ignore SIGPIPE, and what is ignored stays so in a program that is executed.
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

/// The pidfd of a child that was just started. Where there is none to be had, the child is ended: nobody could wait for it.
pub(super) fn pidfd(pid: Pid) -> Result<OwnedFd> {
    let opened = match rustix::process::Pid::from_raw(pid.as_raw()) {
        Some(pid) => rustix::process::pidfd_open(pid, PidfdFlags::empty()),
        None => Err(rustix::io::Errno::SRCH),
    };
    if opened.is_err() {
        // It cannot have been reaped, so that neither fails.
        let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED) == Err(Errno::EINTR) {}
    }
    opened.doing(|| "opening a child".to_owned())
}

/// Waits until a process has ended, be it reaped or not; false when it has not by `deadline`.
pub(super) async fn ended(pidfd: &OwnedFd, deadline: Option<Instant>) -> bool {
    let Ok(watched) = pidfd.try_clone().and_then(readable) else { return false };
    let ended = async { watched.readable().await.is_ok() };
    match deadline {
        None => ended.await,
        Some(deadline) => tokio::time::timeout_at(deadline, ended).await.unwrap_or(false),
    }
}

/// What `/proc/PID/stat` says of a process (proc_pid_stat(5)).
pub(super) struct Stat {
    /// Whether it has begun to end: said before its descriptors are closed.
    pub(super) ends: bool,
    /// In ticks since the machine's start.
    pub(super) started: u64,
}

/// None when there is no such process.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    /// linux/sched.h.
    const PF_EXITING: u64 = 4;
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, the second field, may have spaces and parentheses in it; the third is the first behind it.
    let (_, fields) = text.rsplit_once(") ")?;
    let number = |field: usize| fields.split(' ').nth(field - 3)?.parse::<u64>().ok();
    Some(Stat { ends: number(9)? & PF_EXITING != 0, started: number(22)? })
}
