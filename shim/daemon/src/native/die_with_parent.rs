//! Runs a command of runc in a process that dies with the shim, as a worker does. A command that outlived the shim could make a container
//! after `delete` has cleaned up its pod.
//!
//! ```text
//! shim --posix_spawn--> catamaran-helper as `die-with-parent`: asks the kernel to be killed with its parent --exec--> runc
//! ```
//!
//! The helper spares the shim a fork: only the process itself can ask to be killed with its parent, and an exec keeps that.

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

/// The most bytes of runc's standard error that are reported.
const MOST_WORDS: u64 = 2048;

/// Runs one command, with a container's streams or none, within a time limit.
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

/// A running command. Dropping this before the command's end kills its process group.
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

    /// Returns the command's standard error; nothing if the command had a container's streams.
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

/// Returns the command that has the helper execute `wanted`.
fn die_with_parent(wanted: &Command) -> Result<Command> {
    let mut command = Program::open(programs::HELPER)?.command();
    command.arg(programs::DIE_WITH_PARENT).arg(std::process::id().to_string());
    command.arg(wanted.get_program()).args(wanted.get_args());
    // With this variable, which systemd gives to its services, runc would notify systemd about the container.
    command.env_remove("NOTIFY_SOCKET").process_group(0);
    Ok(command)
}

fn words(mut memory: File) -> String {
    let mut text = Vec::new();
    let read = memory.rewind().and_then(|()| memory.take(MOST_WORDS).read_to_end(&mut text));
    // If the text cannot be read, the exit code alone is reported.
    read.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&text).trim().to_owned())
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    ExitStatus::from_raw(match status {
        WaitStatus::Exited(_, code) => code << 8,
        WaitStatus::Signaled(_, signal, _) => signal as i32,
        // waitid was asked for WEXITED alone.
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
