//! Waiting for a child process through its pidfd: no signal handler, and nobody else's status is taken.

use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use log::warn;
use nix::errno::Errno;
use nix::libc;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::error::{Doing, Result};
use crate::hold;
use crate::readable::readable;

/// How a process ended, as Kubernetes counts it: its own code, or 128 + the signal that ended it.
pub fn exit_code(status: WaitStatus) -> u32 {
    match status {
        WaitStatus::Exited(_, code) => code as u32,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as u32,
        // waitid was asked for WEXITED alone.
        _ => 255,
    }
}

/// The pidfd of a child that was just spawned. Where there is none to be had, the child is ended: nobody could wait for it.
pub fn pidfd(child: u32) -> Result<OwnedFd> {
    let opened = match rustix::process::Pid::from_raw(child.cast_signed()) {
        Some(pid) => rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()),
        None => Err(rustix::io::Errno::SRCH),
    };
    if opened.is_err() {
        // It cannot have been reaped, so that neither fails.
        let child = Pid::from_raw(child.cast_signed());
        let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
        while waitid(Id::Pid(child), WaitPidFlag::WEXITED) == Err(Errno::EINTR) {}
    }
    opened.doing(|| "opening a child".to_owned())
}

/// Waits until the child ends, and reaps it.
pub async fn wait(pidfd: OwnedFd) -> Result<WaitStatus> {
    end_of(pidfd, WaitPidFlag::WEXITED).await.doing(|| "reaping a child".to_owned())
}

/// Waits until the child ends, and leaves its number to it: [`reap_ended`] is to follow.
pub async fn wait_unreaped(pidfd: OwnedFd) -> Result<WaitStatus> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    end_of(pidfd, look).await.doing(|| "looking at a child that has ended".to_owned())
}

/// The end of a child. One that is traced is its tracer's first (ptrace(2)), which may be a process of a container and never
/// look: the thread does not wait for it.
async fn end_of(pidfd: OwnedFd, look: WaitPidFlag) -> std::io::Result<WaitStatus> {
    let watched = readable(pidfd)?;
    drop(watched.readable().await?);
    let mut pause = PAUSE;
    loop {
        match waitid(Id::PIDFd(watched.get_ref().as_fd()), look | WaitPidFlag::WNOHANG)? {
            WaitStatus::StillAlive => {
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(LONGEST_TRACED);
            }
            ended => return Ok(ended),
        }
    }
}

/// Reaps a child that has ended. One that was reaped before is none any more, and one that has not ended stays.
pub fn reap_ended(pidfd: &OwnedFd) {
    let _ = waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
}

/// The exit code of a child that has ended, which is not reaped by this; none while it runs.
pub fn ended(pidfd: &OwnedFd) -> Option<u32> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::PIDFd(pidfd.as_fd()), look) {
        Ok(WaitStatus::StillAlive) | Err(_) => None,
        Ok(status) => Some(exit_code(status)),
    }
}

/// Waits until the child ends, and reaps it; for processes that have nothing else to do.
pub fn wait_blocking(pidfd: &OwnedFd) -> Result<WaitStatus> {
    loop {
        match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED) {
            Err(Errno::EINTR) => {}
            waited => return waited.doing(|| "reaping a child".to_owned()),
        }
    }
}

/// Reaps a child whose end tells nothing more.
pub fn reap(pidfd: OwnedFd) {
    tokio::spawn(async move {
        if let Err(e) = wait(pidfd).await {
            warn!("{e}");
        }
    });
}

/// How often an ended process group is looked after until all of it is gone: less often for one that hangs in the kernel.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The same of one whose tracer has not looked at its end.
const LONGEST_TRACED: Duration = Duration::from_millis(500);

/// Kills and reaps a process group of children, named by its first member's pid, which must not have been reaped yet.
pub fn end_group(leader: u32) {
    let leader = Pid::from_raw(leader.cast_signed());
    // Members that have ended are no failure, and there is one at least.
    let _ = nix::sys::signal::killpg(leader, nix::sys::signal::Signal::SIGKILL);
    // Reaped by others, its number could become that of another group.
    let held = hold::hold();
    tokio::spawn(async move {
        let _held = held;
        let mut pause = PAUSE;
        // No await between a member that was reaped and the next look: the group's number cannot become another's.
        loop {
            match waitid(Id::PGid(leader), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
                Ok(WaitStatus::StillAlive) => {
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return,
                Err(e) => return warn!("reaping the process group {leader}: {e}"),
            }
        }
    });
}

/// What `/proc/PID/stat` says of a process (proc_pid_stat(5)).
pub struct Stat {
    /// The pid of its parent.
    pub parent: u32,
    /// When it started, in ticks since the boot; pids come again.
    pub started: u64,
    /// Whether it has begun to end: said before its descriptors are closed.
    pub ends: bool,
    /// Whether it has ended, and nobody has waited for it yet.
    ended: bool,
}

/// None when there is no such process. `self` is a process too.
pub fn stat(pid: impl Display) -> Option<Stat> {
    /// linux/sched.h.
    const PF_EXITING: u64 = 4;
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses, the second field, may hold anything; the third is the first behind it.
    let fields: Vec<_> = text.rsplit_once(") ")?.1.split(' ').collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let number = |field: Option<&str>| field?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(field(4))?).ok()?,
        started: number(field(22))?,
        ends: number(field(9))? & PF_EXITING != 0,
        ended: matches!(field(3), Some("Z" | "X")),
    })
}

/// When a process started. None for one that has ended, whether somebody has waited for it or not.
pub fn started(pid: impl Display) -> Option<u64> {
    stat(pid).filter(|stat| !stat.ended).map(|stat| stat.started)
}

/// Sends a signal to a process that may have ended: ESRCH then.
pub fn signal(pidfd: &OwnedFd, signal: i32) -> nix::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[test]
    #[allow(clippy::zombie_processes, reason = "that they are waited for is what is tested")]
    fn a_process_group_is_killed_and_reaped_with_unreported_members() {
        let sleep = |group: u32| Command::new("sleep").arg("100").process_group(group.cast_signed()).spawn().unwrap();
        // As an intermediate that was killed between its clone and its report: one child is known, one is not.
        let known = sleep(0);
        let unknown = sleep(known.id());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            end_group(known.id());
            for pid in [known.id(), unknown.id()] {
                let gone = || std::fs::metadata(format!("/proc/{pid}")).is_err();
                for _ in 0..500 {
                    if gone() {
                        break;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                assert!(gone(), "{pid} was not reaped");
            }
        });
    }
}
