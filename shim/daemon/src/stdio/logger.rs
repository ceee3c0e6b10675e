//! A logger: a program of the host that reads the container's output, from before Create answers until its input ends.
//!
//! ```text
//! start -> ready ... the worker ends: end of input -> ends by itself -> Delete
//!    '-> fails, or too late: refused      '-> does not: SIGTERM, SIGKILL at Delete
//! ```
//!
//! A logger gets the same as from containerd's own shim: nothing but CONTAINER_ID and CONTAINER_NAMESPACE in its environment, stdout as
//! descriptor 3, stderr as 4, and descriptor 5 to say that it is ready. Delete kills the rest of its process group.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use catamaran_host::child;
use catamaran_host::programs;
use catamaran_host::readable::readable;
use log::{info, warn};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use rustix::pipe::PipeFlags;
use rustix::process::PidfdFlags;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::process::{self, Spawn};
use super::uri::Program;
use crate::error::{Doing, Error, Result};

/// The longest wait for a logger to be ready, so that a logger that hangs does not hang the container's creation.
const LONGEST_START: Duration = Duration::from_secs(30);
/// The time that a logger has after the end of its input, to write or send the rest.
const LONGEST_END: Duration = Duration::from_secs(10);
/// The time that it has after SIGTERM. containerd's own shim waits as long as both together.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The same two times in `delete`, which containerd gives five seconds in all.
const LONGEST_END_IN_DELETE: Duration = Duration::from_secs(2);
const LAST_WORDS_IN_DELETE: Duration = Duration::from_secs(1);
/// The time that it has after SIGKILL. Only a process that hangs in the kernel takes longer.
const LONGEST_KILL: Duration = Duration::from_secs(1);
/// The most bytes of a reason that the client gets.
const MOST_WORDS: usize = 2048;

/// The container whose output a logger reads.
#[derive(Clone, Copy)]
pub(super) struct Container<'a> {
    pub(super) id: &'a str,
    pub(super) namespace: &'a str,
}

/// Identifies a logger's process: its number, and when it started, because numbers are used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pid: u32,
    started: u64,
}

impl Record {
    /// Whether the process exists and is still the same one.
    pub(crate) fn is_there(&self) -> bool {
        child::stat(self.pid).is_some_and(|stat| stat.started == self.started)
    }
}

/// How a logger says that it is ready.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Greeting {
    /// Closes the descriptor, perhaps after a byte.
    Closes,
    /// Writes a byte.
    Speaks,
    /// Writes a null byte, or the reason why it cannot log.
    Explains,
}

/// A logger that runs, or has ended and is not reaped yet, so that its pid is its own. Ending or dropping this reaps it.
pub(crate) struct Logger {
    /// For messages.
    name: String,
    record: Record,
    pidfd: OwnedFd,
    greeting: Greeting,
    /// The pipe for that, until the logger is ready.
    ready: Option<OwnedFd>,
    reaped: bool,
}

impl Logger {
    /// Starts a program that the client names, with the ends of stdout and stderr that it is to read.
    pub(super) fn program(container: Container<'_>, program: &Program, streams: [OwnedFd; 2]) -> Result<Self> {
        let variable = |name: &str, value: &str| CString::new(format!("{name}={value}"));
        let environment =
            [variable("CONTAINER_ID", container.id), variable("CONTAINER_NAMESPACE", container.namespace)];
        let environment: std::result::Result<Vec<_>, _> = environment.into_iter().collect();
        let environment = environment.doing(|| "writing the logger's environment".to_owned())?;
        let (ready, theirs) = ready()?;
        let [stdout, stderr] = streams;
        let spawn = Spawn {
            path: &program.path,
            name: CString::new(program.path.as_os_str().as_encoded_bytes()),
            arguments: program.arguments.clone(),
            environment,
            descriptors: [(stdout, 3), (stderr, 4), (theirs, 5)],
        };
        let pid = spawn.start().map_err(|e| {
            let place = format!("the logger {}", program.name());
            Error::refused(place, e.to_string(), "a program of the host that can be executed")
        })?;
        let greeting = if program.speaks { Greeting::Speaks } else { Greeting::Closes };
        Self::watched(container, program.name().into_owned(), pid, greeting, ready)
    }

    /// Starts the helper as a logger that appends to one or two files. Each file comes with the read end of its stream.
    pub(super) fn append(container: Container<'_>, files: Vec<(PathBuf, OwnedFd)>) -> Result<Self> {
        let paths: Vec<_> = files.iter().map(|(path, _)| path.clone()).collect();
        let mut names: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
        names.dedup();
        let name = names.join(", ");
        let doing = || format!("starting the logger of {name}");
        let mut arguments = vec![CString::new(programs::APPEND).doing(doing)?];
        for path in &paths {
            arguments.push(CString::new(path.as_os_str().as_encoded_bytes()).doing(doing)?);
        }
        let (ready, theirs) = ready()?;
        let mut readers = files.into_iter().map(|(_, reader)| reader);
        let mut next = || readers.next().map_or_else(super::null, Ok);
        let helper = programs::Program::open(programs::HELPER)?;
        let spawn = Spawn {
            path: &helper.link(),
            name: CString::new(programs::HELPER),
            arguments,
            environment: Vec::new(),
            descriptors: [(next()?, 0), (next()?, 1), (theirs, 2)],
        };
        let pid = spawn.start().doing(doing)?;
        Self::watched(container, name, pid, Greeting::Explains, ready)
    }

    fn watched(container: Container<'_>, name: String, pid: Pid, greeting: Greeting, ready: OwnedFd) -> Result<Self> {
        let pid = pid.as_raw().cast_unsigned();
        let pidfd = child::pidfd(pid)?;
        // The logger is not reaped yet, so that it has a stat.
        let started = child::stat(pid).map_or(0, |stat| stat.started);
        let logger = Self { name, record: Record { pid, started }, pidfd, greeting, ready: Some(ready), reaped: false };
        let watched = logger.pidfd.try_clone().doing(|| "watching a logger".to_owned())?;
        let (name, id) = (logger.name.clone(), container.id.to_owned());
        tokio::spawn(async move {
            if process::ended(&watched, None).await {
                match child::ended(&watched) {
                    Some(0) | None => info!("the logger {name} of container {id} has ended"),
                    Some(code) => warn!("the logger {name} of container {id} ended with {code}: output may be lost"),
                }
            }
        });
        Ok(logger)
    }

    pub(super) fn record(&self) -> Record {
        self.record.clone()
    }

    /// Waits until the logger says that it is ready. Kills a logger that does not.
    pub(super) async fn ready(&mut self) -> Result<()> {
        let Some(ready) = self.ready.take() else { return Ok(()) };
        let reason = match tokio::time::timeout(LONGEST_START, self.receive_greeting(ready)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(reason)) => reason,
            Err(_) => format!(
                "not ready after {LONGEST_START:?}: killed; a logger must close its descriptor 5 when it is ready"
            ),
        };
        self.signal(Signal::SIGKILL);
        Err(Error::Logger { logger: self.name.clone(), reason })
    }

    async fn receive_greeting(&self, ready: OwnedFd) -> std::result::Result<(), String> {
        let words = read_greeting(ready, self.greeting).await.map_err(|e| e.to_string())?;
        match (self.greeting, words.first()) {
            (Greeting::Explains, Some(0)) | (Greeting::Closes | Greeting::Speaks, Some(_)) => return Ok(()),
            (Greeting::Explains, Some(_)) => {
                let words = String::from_utf8_lossy(&words);
                return Err(words.trim_start_matches(programs::HELPER).trim_start_matches(": ").trim().to_owned());
            }
            (_, None) => {}
        }
        // A process that ends closes its descriptors too, which is not a greeting. The kernel marks it as ending before that.
        let ends = child::stat(self.record.pid).is_none_or(|stat| stat.ends);
        if ends {
            process::ended(&self.pidfd, Some(Instant::now() + LONGEST_KILL)).await;
            let code = child::ended(&self.pidfd).map_or_else(String::new, |code| format!(" with {code}"));
            return Err(format!("ended{code} before it was ready"));
        }
        match self.greeting {
            Greeting::Closes => Ok(()),
            _ => Err("closed its descriptor 5 without the byte that says that it is ready".to_owned()),
        }
    }

    /// Ends the logger and reaps it. Its time limit runs from `since`, when its input ended.
    pub(crate) async fn end(mut self, since: Instant) {
        if !process::ended(&self.pidfd, Some(since + LONGEST_END)).await {
            warn!("the logger {} did not end within {LONGEST_END:?} after its input: terminated", self.name);
            self.signal(Signal::SIGTERM);
            if !process::ended(&self.pidfd, Some(Instant::now() + LAST_WORDS)).await {
                warn!("the logger {} did not end on SIGTERM: killed", self.name);
            }
        }
        // Kills the process group, even if the logger has ended. Until the logger is reaped, its pid is the number of this group.
        self.signal(Signal::SIGKILL);
        if process::ended(&self.pidfd, Some(Instant::now() + LONGEST_KILL)).await {
            match waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED) {
                Ok(_) => self.reaped = true,
                Err(e) => warn!("reaping the logger {}: {e}", self.name),
            }
        }
    }

    /// Signals the process group. Call this only before the logger is reaped.
    fn signal(&self, signal: Signal) {
        // This cannot fail: the logger exists, at least as a zombie.
        let _ = killpg(Pid::from_raw(self.record.pid.cast_signed()), signal);
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        if !self.reaped {
            child::end_group(self.record.pid);
        }
    }
}

/// Makes the pipe on which a logger says that it is ready. The first end is ours, and does not block.
fn ready() -> Result<(OwnedFd, OwnedFd)> {
    let doing = || "making a pipe for a logger".to_owned();
    let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing(doing)?;
    rustix::io::ioctl_fionbio(&ours, true).doing(doing)?;
    Ok((ours, theirs))
}

/// Reads the first bytes of `pipe`. Reads on to its end if they may be the beginning of a reason.
async fn read_greeting(pipe: OwnedFd, greeting: Greeting) -> std::io::Result<Vec<u8>> {
    let pipe = readable(pipe)?;
    let mut words = Vec::new();
    loop {
        let mut ready = pipe.readable().await?;
        let mut buffer = [0; 512];
        match rustix::io::read(pipe.get_ref(), &mut buffer) {
            Ok(0) => return Ok(words),
            Ok(length) => words.extend_from_slice(&buffer[..length]),
            Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let explains = greeting == Greeting::Explains && words.first() != Some(&0);
        if !words.is_empty() && (!explains || words.len() >= MOST_WORDS) {
            return Ok(words);
        }
    }
}

/// Ends the loggers of containers whose shim is dead, all at the same time, because they share one time limit. Returns the first failure.
pub(crate) async fn end_recorded(records: impl IntoIterator<Item = Record>) -> Result<()> {
    let ending: Vec<_> = records.into_iter().map(|record| tokio::spawn(end(record))).collect();
    let mut outcome = Ok(());
    for end in ending {
        let ended = end.await.map_err(std::io::Error::other).doing(|| "ending a logger".to_owned());
        outcome = outcome.and(ended.flatten());
    }
    outcome
}

/// Ends the logger of a record, unless its pid is another process's by now. Its input has ended with the worker.
async fn end(record: Record) -> Result<()> {
    let doing = || format!("ending the logger {}", record.pid);
    let Some(pid) = rustix::process::Pid::from_raw(record.pid.cast_signed()) else { return Ok(()) };
    let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        // EINVAL: the logger is gone, but its process group is not.
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(()),
        opened => opened.doing(doing)?,
    };
    // Checked after the pidfd was opened: if the record's process is there now, the pidfd is that process's.
    let is_it = || record.is_there();
    let steps = [(None, LONGEST_END_IN_DELETE), (Some(Signal::SIGTERM), LAST_WORDS_IN_DELETE)];
    for (signal, limit) in steps.into_iter().chain([(Some(Signal::SIGKILL), LONGEST_KILL)]) {
        if !is_it() {
            return Ok(());
        }
        if let Some(signal) = signal {
            // The logger leads its group and has not ended, so that its pid is the number of the group.
            let _ = killpg(Pid::from_raw(record.pid.cast_signed()), signal);
        }
        if process::ended(&pidfd, Some(Instant::now() + limit)).await {
            return Ok(());
        }
    }
    Err(std::io::Error::from(std::io::ErrorKind::TimedOut)).doing(doing)
}
