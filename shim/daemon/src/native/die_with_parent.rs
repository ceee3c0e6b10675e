//! One command of runc's: a process that ends with the shim, as a worker does. One that went on would make a container whose
//! pod `delete` has cleaned up already.
//!
//! ```text
//! shim --posix_spawn--> catamaran-helper as `die-with-parent`: the kernel is to kill it with its parent --exec--> runc
//! ```
//!
//! In between, and not by a fork of the shim: only a process can ask for itself to be killed so, and an exec keeps that.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use catamaran_host::programs::{self, Program};
use catamaran_host::{child, limits};
use nix::libc;
use nix::sys::wait::WaitStatus;
use rustix::fs::MemfdFlags;

use super::streams::Streams;
use crate::error::{Doing, Result};

/// So much of what runc writes where no container's streams are is told.
const MOST_WORDS: u64 = 2048;

/// Runs one command, with these streams or none, and for so long.
pub(super) struct RuncSpawner {
    streams: Mutex<Option<Streams>>,
    limit: Duration,
    words: Mutex<String>,
}

impl fmt::Debug for RuncSpawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuncSpawner").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// A command that runs. Dropped before its end, it is killed with its process group: nobody waits for it any more.
struct Running {
    pid: u32,
    pidfd: OwnedFd,
    ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            child::end_group(self.pid);
        }
    }
}

impl RuncSpawner {
    pub(super) fn new(streams: Option<Streams>, limit: Duration) -> Self {
        Self { streams: Mutex::new(streams), limit, words: Mutex::default() }
    }

    /// What the command wrote to its standard error, where that was no container's.
    pub(super) fn words(&self) -> String {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn run(&self, wanted: &Command) -> Result<(ExitStatus, u32)> {
        let doing = || format!("running {}", wanted.get_program().to_string_lossy());
        let memory = rustix::fs::memfd_create("runc", MemfdFlags::CLOEXEC).map(File::from).doing(doing)?;
        let mut running = {
            let mut command = die_with_parent(wanted)?;
            match self.streams.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(Streams { stdin, stdout, stderr }) => command.stdin(stdin).stdout(stdout).stderr(stderr),
                None => command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(memory.try_clone().doing(doing)?),
            };
            let pid = command.spawn().map_err(limits::of_processes).doing(doing)?.id();
            Running { pid, pidfd: child::pidfd(pid)?, ended: false }
        };
        let watched = running.pidfd.try_clone().doing(doing)?;
        let Ok(status) = tokio::time::timeout(self.limit, child::wait_unreaped(watched)).await else {
            let late =
                std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no end within {:?}: killed", self.limit));
            return Err(late).doing(doing);
        };
        let status = status?;
        child::reap_ended(&running.pidfd);
        running.ended = true;
        *self.words.lock().unwrap_or_else(PoisonError::into_inner) = words(memory);
        Ok((exit_status(status), running.pid))
    }
}

/// The command as the helper executes it.
fn die_with_parent(wanted: &Command) -> Result<Command> {
    let mut command = Program::open(programs::HELPER)?.command();
    command.arg(programs::DIE_WITH_PARENT).arg(std::process::id().to_string());
    command.arg(wanted.get_program()).args(wanted.get_args());
    // It is for services of systemd's: runc would tell it of the container.
    command.env_remove("NOTIFY_SOCKET").process_group(0);
    Ok(command)
}

fn words(mut memory: File) -> String {
    let mut text = Vec::new();
    let read = memory.rewind().and_then(|()| memory.take(MOST_WORDS).read_to_end(&mut text));
    // Nothing is told of what cannot be read: the exit code is.
    read.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&text).trim().to_owned())
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    ExitStatus::from_raw(match status {
        WaitStatus::Exited(_, code) => code << 8,
        WaitStatus::Signaled(_, signal, _) => signal as i32,
        // It was asked for its end alone.
        _ => libc::SIGKILL,
    })
}

#[async_trait]
impl runc::Spawner for RuncSpawner {
    async fn execute(&self, command: runc::Command) -> runc::Result<(ExitStatus, u32, String, String)> {
        let ran = self.run(command.as_std()).await;
        let (status, pid) =
            ran.map_err(|e| runc::error::Error::InvalidCommand(std::io::Error::other(e.to_string())))?;
        Ok((status, pid, String::new(), String::new()))
    }
}
