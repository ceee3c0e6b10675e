//! Waiting for a child process through its pidfd: no signal handler, and nobody else's status is taken.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Child;

use log::warn;
use nix::errno::Errno;
use nix::libc;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use crate::error::{Doing, Result};
use crate::readable::readable;

/// How a process ended, as Kubernetes counts it: its own code, or 128 + the signal that ended it.
pub(crate) fn exit_code(status: WaitStatus) -> u32 {
    match status {
        WaitStatus::Exited(_, code) => code as u32,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as u32,
        // waitid was asked for WEXITED alone.
        _ => 255,
    }
}

/// The pidfd of a child that was just spawned. Where there is none to be had, the child is ended: nobody could wait for it.
pub(crate) fn pidfd(mut child: Child) -> Result<OwnedFd> {
    let pid = rustix::process::Pid::from_child(&child);
    let opened = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
    if opened.is_err() {
        // It cannot have been reaped, so that neither fails.
        let _ = child.kill();
        let _ = child.wait();
    }
    opened.doing(|| "opening a child".to_owned())
}

/// Waits until the child ends, and reaps it.
pub(crate) async fn wait(pidfd: OwnedFd) -> Result<WaitStatus> {
    let watched = readable(pidfd).doing(|| "watching a child".to_owned())?;
    drop(watched.readable().await.doing(|| "watching a child".to_owned())?);
    waitid(Id::PIDFd(watched.get_ref().as_fd()), WaitPidFlag::WEXITED).doing(|| "reaping a child".to_owned())
}

/// Reaps a child whose end tells nothing more.
pub(crate) fn reap(pidfd: OwnedFd) {
    tokio::spawn(async move {
        if let Err(e) = wait(pidfd).await {
            warn!("{e}");
        }
    });
}

/// Sends a signal to a process that may have ended: ESRCH then.
pub(crate) fn signal(pidfd: &OwnedFd, signal: i32) -> nix::Result<()> {
    // By number, since real-time signals have no name in the safe libraries' types.
    signal_raw(pidfd.as_raw_fd(), signal)
}

#[allow(unsafe_code, reason = "pidfd_send_signal with any number has no safe form")]
fn signal_raw(pidfd: i32, signal: i32) -> nix::Result<()> {
    // SAFETY: the call reads its four numbers; a null siginfo stands for kill(2)'s (pidfd_send_signal(2)).
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, std::ptr::null::<libc::siginfo_t>(), 0) };
    Errno::result(sent).map(drop)
}
