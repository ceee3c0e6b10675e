//! Waits for child processes by their pidfds, without a signal handler and without taking another child's status.

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

/// The exit code of a process that SIGKILL ended.
pub const KILLED: u32 = OF_SIGNALS + libc::SIGKILL as u32;
/// The exit code of a process whose own is not known.
pub const LOST: u32 = 255;
/// Added to a signal's number.
const OF_SIGNALS: u32 = 128;

/// Returns the exit code as Kubernetes counts it: the process's own code, or 128 + the signal that ended it.
pub fn exit_code(status: WaitStatus) -> u32 {
    match status {
        WaitStatus::Exited(_, code) => code as u32,
        WaitStatus::Signaled(_, signal, _) => OF_SIGNALS + signal as u32,
        // waitid was asked for WEXITED alone.
        _ => LOST,
    }
}

/// Opens the pidfd of a child that was just spawned. Kills the child if that fails, because nothing could wait for it.
pub fn pidfd(child: u32) -> Result<OwnedFd> {
    let opened = match rustix::process::Pid::from_raw(child.cast_signed()) {
        Some(pid) => rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()),
        None => Err(rustix::io::Errno::SRCH),
    };
    if opened.is_err() {
        // The child cannot have been reaped, so that neither call fails.
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

/// Waits until the child ends, without reaping it, so that it keeps its pid. Call [`reap_ended`] afterwards.
pub async fn wait_unreaped(pidfd: OwnedFd) -> Result<WaitStatus> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    end_of(pidfd, look).await.doing(|| "looking at a child that has ended".to_owned())
}

/// Waits for the end of a child, without blocking the thread: a traced child's end goes to its tracer first (ptrace(2)), which may be a
/// process of a container and never look at it.
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

/// Reaps a child that has ended. Does nothing if it was reaped before or has not ended.
pub fn reap_ended(pidfd: &OwnedFd) {
    let _ = waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
}

/// Returns the exit code of a child that has ended, without reaping it; None while it runs.
pub fn ended(pidfd: &OwnedFd) -> Option<u32> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::PIDFd(pidfd.as_fd()), look) {
        Ok(WaitStatus::StillAlive) | Err(_) => None,
        Ok(status) => Some(exit_code(status)),
    }
}

/// Waits until the child ends, and reaps it. Blocks, for processes that have nothing else to do.
pub fn wait_blocking(pidfd: &OwnedFd) -> Result<WaitStatus> {
    loop {
        match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED) {
            Err(Errno::EINTR) => {}
            waited => return waited.doing(|| "reaping a child".to_owned()),
        }
    }
}

/// Reaps a child whose status is of no interest, as soon as it ends.
pub fn reap(pidfd: OwnedFd) {
    tokio::spawn(async move {
        if let Err(e) = wait(pidfd).await {
            warn!("{e}");
        }
    });
}

/// The pause between two looks at a killed process group, which doubles up to the longest, for a group that hangs in the kernel.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause between two looks at a child whose tracer has not waited for its end.
const LONGEST_TRACED: Duration = Duration::from_millis(500);

/// Kills and reaps a process group of children. `leader` is the pid of its first member, which must not have been reaped yet.
pub fn end_group(leader: u32) {
    let leader = Pid::from_raw(leader.cast_signed());
    // This cannot fail: the group has one member at least, and members that have ended do not count as a failure.
    let _ = nix::sys::signal::killpg(leader, nix::sys::signal::Signal::SIGKILL);
    // If the orphans' reaper reaped the members, the group's number could become that of another group.
    let held = hold::hold();
    tokio::spawn(async move {
        let _held = held;
        let mut pause = PAUSE;
        // No await between the reaping of a member and the next look, so that the group's number cannot become another's.
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

/// Fields of a process's `/proc/PID/stat` (proc_pid_stat(5)).
pub struct Stat {
    /// The pid of its parent.
    pub parent: u32,
    /// When the process started, in ticks since the boot. With the pid it names one process, since pids are used again.
    pub started: u64,
    /// Whether the process has begun to end, which shows before its descriptors are closed.
    pub ends: bool,
    /// Whether the process has ended and is not reaped yet.
    ended: bool,
}

/// Reads the stat of a process, which may be `self`. Returns None if there is no such process.
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

/// Returns when a process started; None for a process that has ended, reaped or not.
pub fn started(pid: impl Display) -> Option<u64> {
    stat(pid).filter(|stat| !stat.ended).map(|stat| stat.started)
}

/// Sends a signal to a process. Returns ESRCH if the process has ended.
pub fn signal(pidfd: &OwnedFd, signal: i32) -> nix::Result<()> {
    // The signal is a number, because the safe libraries' types have no real-time signals.
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
        // Like an intermediate that was killed between its clone and its report: one child's pid is known, the other's is not.
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
