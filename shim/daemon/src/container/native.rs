//! Native containers: created like Wasm containers, with runc in place of a worker.
//!
//! ```text
//! state file written -> root file system mounted -> runc create -> the container's process is the shim's child
//! Start: runc start     Delete: runc delete, unmount     exec: runc exec     signals: the shim's own, by pidfd
//! ```

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use catamaran_cgroup::Cgroup;
use catamaran_files::outline::Outline;
use catamaran_host::unless::unless;
use catamaran_host::{child, hold, orphans};
use log::{info, warn};
use nix::libc;
use oci_spec::runtime::LinuxResources;

use super::create::Leftovers;
use super::exec::Exec;
use super::freeze::Freeze;
use super::{Body, Container, Inner, Process, Request, check_terminal};
use crate::cleanup::state::{Folder, State};
use crate::container::line::{Event, Field, Line};
use crate::engine::options::Policy;
use crate::error::{Doing, Error, Result};
use crate::native::{self, Console, Io, Record, Runtime, Streams};
use crate::search;
use crate::spec::hooks::Stage;
use crate::stdio::{self, Kept, Stdio};

/// How long `runc start` may run on after the process that it started has ended.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// The pause between two kills of all processes that are left in the cgroup, and the time limit for all kills.
const PAUSE: Duration = Duration::from_millis(5);
const TO_END: Duration = Duration::from_secs(2);

/// What the shim keeps of a native container, beside its process.
pub(super) struct Native {
    pub(super) record: Record,
    /// Whether the container has a pid namespace of its own, where the kernel kills all others when the first process ends. Otherwise the
    /// shim kills them.
    own_pids: bool,
}

/// A process that runc has made: a child of the shim.
struct Made {
    pid: u32,
    pidfd: OwnedFd,
    /// The master of its terminal, if it has one.
    master: Option<OwnedFd>,
}

impl Container {
    /// Makes a native container, whose process waits for Start.
    pub(super) async fn create_native(
        request: Request,
        outline: Outline,
        policy: &Policy,
        found: search::Native,
        begin: Instant,
    ) -> Result<Self> {
        let search::Native { what, tree } = found;
        if !policy.native {
            return Err(forbidden(policy, &what));
        }
        let program = native::find(&policy.runtime, &policy.place)?;
        check_terminal("config.json: process.terminal", outline.process.terminal, &request.stdio)?;
        // The plan gives the folders that runc will make of the same path. runc sets the limits.
        let cgroup = Cgroup::plan(outline.cgroup()?, None)?;
        let rootfs = tree.is_some().then(|| request.bundle.join("rootfs"));
        let runtime = Runtime { program, root: request.state.runc(&request.id)?, systemd: outline.is_scope() };
        let record = Record { runtime, rootfs };
        let streams = stdio::open(&request.stdio, &request.id, &request.namespace)?;
        let mut state = State::of_native(cgroup.folders().to_vec(), record.clone());
        state.logger = streams.kept.logger();
        request.state.write(&request.id, &state)?;
        let process = make(&request, &record, tree, &cgroup, streams, &mut state).await?;
        Line::new(Event::Created, &request.id)
            .with_quoted(Field::Native, what)
            .with(Field::Runtime, record.runtime.program.display())
            .with(Field::Pid, process.pid())
            .with(Field::Milliseconds, begin.elapsed().as_millis())
            .log();
        Ok(Self {
            request,
            body: Body::Native(Native { record, own_pids: outline.has_own_pids() }),
            process,
            cgroup,
            kills: AtomicU64::new(0),
            poststart: Stage::default(),
            turn: tokio::sync::Mutex::default(),
            inner: Mutex::new(Inner { state, freeze: Freeze::Off, poststop: Stage::default() }),
            execs: Mutex::new(HashMap::default()),
        })
    }

    /// Has runc start the process. If the process ends meanwhile, gives runc [`LAST_WORDS`] more.
    pub(super) async fn start_native(&self, native: &Native) -> Result<()> {
        self.process.check_startable()?;
        let doing = || format!("watching {}", self.id());
        let pidfd = self.process.pidfd().ok_or(std::io::ErrorKind::NotFound).doing(doing)?.try_clone().doing(doing)?;
        let over = async {
            // If watching fails, the time limit still holds.
            let _ = child::wait_unreaped(pidfd).await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        match unless(over, native.record.runtime.start(self.id())).await {
            Some(started) => started.map(|()| self.process.was_started()),
            None => Err(Error::Transition { id: self.id().to_owned(), state: "ending", wanted: "started" }),
        }
    }

    /// Starts an exec. Fails with runc's message if the program cannot be found.
    pub(super) async fn start_native_exec(&self, native: &Native, exec: &Exec, mut streams: Stdio) -> Result<()> {
        self.record_logger(streams.kept.logger())?;
        streams.ready().await?;
        let (io, console) = io(&streams, exec.process.terminal(), &self.request.state)?;
        let pid_file = self.request.bundle.join(format!("exec.{}.pid", exec.id));
        let held = hold::hold();
        let ran = native.record.runtime.exec(self.id(), &exec.text, &pid_file, io).await;
        // If this fails, the file goes with the bundle.
        let _ = std::fs::remove_file(&pid_file);
        let made = Made::open(ran?, console).await?;
        drop(held);
        // The client may have given up and deleted the exec. Or the container may have ended, whose exit must be the last event.
        let wanted = exec.process.check_startable();
        let alive = || self.process.alive().map(drop).ok_or_else(|| self.ending("executed in"));
        if let Err(e) = wanted.and_then(|()| alive()) {
            return Err(made.end(e));
        }
        let (pid, pidfd, kept) = made.kept(streams, &exec.process.stdio)?;
        exec.process.lives(pid, pidfd, None, kept);
        exec.process.was_started();
        Ok(())
    }

    /// Kills the container's other processes after its own process has ended, before the exit is made known.
    pub(super) async fn after_native_end(&self, native: &Native) {
        // Waits for a Start under way, whose answer must precede the exit.
        drop(self.turn.lock().await);
        if native.own_pids {
            return;
        }
        let deadline = tokio::time::Instant::now() + TO_END;
        while self.cgroup.pids().is_ok_and(|pids| !pids.is_empty()) && tokio::time::Instant::now() < deadline {
            if let Err(e) = self.cgroup.kill() {
                return warn!("container {}: {e}", self.id());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends a signal to the container's own process, or to all of its processes.
    pub(crate) fn signal(&self, signal: u32, all: bool) -> Result<()> {
        self.process.kill(signal)?;
        if signal == libc::SIGKILL as u32 {
            self.let_die();
        }
        if !matches!(self.body, Body::Native(_)) {
            return Ok(());
        }
        match signal.cast_signed() {
            libc::SIGKILL if all => Ok(self.cgroup.kill()?),
            signal if all => Ok(self.cgroup.signal_others(self.process.pid(), signal)?),
            _ => Ok(()),
        }
    }

    /// Changes the limits of a native container that `resources` names.
    pub(super) async fn update_native(native: &Native, id: &str, resources: &LinuxResources) -> Result<()> {
        native.record.runtime.update(id, resources).await
    }
}

fn forbidden(policy: &Policy, what: &str) -> Error {
    Error::unavailable(
        format!("{}: native_containers", policy.place),
        format!("false, and config.json's process.args[0] is {what}"),
        "a Wasm module, or a pod of another runtime class; only the node's administrator can allow native containers in this \
         one (native_containers = true)",
    )
}

/// Makes the container that the state file names. Removes everything again if that fails, or if no client waits any more.
async fn make(
    request: &Request,
    record: &Record,
    tree: Option<OwnedFd>,
    cgroup: &Cgroup,
    mut streams: Stdio,
    state: &mut State,
) -> Result<Process> {
    let made =
        unless(request.given_up.notified(), make_once(request, record, tree, cgroup, (&mut streams, state))).await;
    let (e, logger) = match made {
        Some(Ok(made)) => match made.kept(streams, &request.stdio) {
            Ok((pid, pidfd, kept)) => {
                let process = Process::new(request.id.clone(), request.stdio.clone());
                process.lives(pid, pidfd, None, kept);
                return Ok(process);
            }
            Err(e) => (e, None),
        },
        Some(Err(e)) => (e, streams.discard()),
        None => {
            info!("container {} was given up while it was created", request.id);
            (Error::NotFound(format!("container {}", request.id)), streams.discard())
        }
    };
    let logger = logger.map(|logger| (logger, tokio::time::Instant::now()));
    let (states, id, cgroups) = (&request.state, request.id.as_str(), cgroup.folders());
    Leftovers { states, id, native: Some(record), cgroups, logger }.remove_or_warn(Stage::default).await;
    Err(e)
}

async fn make_once(
    request: &Request,
    record: &Record,
    tree: Option<OwnedFd>,
    cgroup: &Cgroup,
    (streams, state): (&mut Stdio, &mut State),
) -> Result<Made> {
    orphans::take_in()?;
    streams.ready().await?;
    if let (Some(tree), Some(at)) = (&tree, &record.rootfs) {
        native::mount(tree, at)?;
    }
    let (io, console) = io(streams, request.stdio.terminal, &request.state)?;
    let _held = hold::hold();
    let pid = record.runtime.create(&request.id, &request.bundle, io).await?;
    let made = Made::open(pid, console).await?;
    cgroup.adopt(pid)?;
    state.pid = pid;
    request.state.write(&request.id, state)?;
    Ok(made)
}

/// Returns the streams that runc gives a new process: those that a worker would have, or a terminal that runc makes.
fn io(streams: &Stdio, terminal: bool, state: &Folder) -> Result<(Io, Option<Console>)> {
    if terminal {
        let console = Console::open(state.private("tty")?)?;
        return Ok((Io::Console(console.path()), Some(console)));
    }
    let clone = |end: &OwnedFd| end.try_clone().doing(|| "handing over the streams".to_owned());
    let (stdin, stdout, stderr) = (clone(&streams.stdin)?, clone(&streams.stdout)?, clone(&streams.stderr)?);
    Ok((Io::Streams(Streams { stdin, stdout, stderr }), None))
}

impl Made {
    /// Opens the process `pid`, which became the shim's child when runc ended. Kills it if its terminal does not arrive.
    async fn open(pid: u32, console: Option<Console>) -> Result<Self> {
        let own = std::process::id();
        if child::stat(pid).is_none_or(|stat| stat.parent != own) {
            let strange = std::io::Error::other(format!("process {pid} is not a child of the shim"));
            return Err(strange).doing(|| "taking over the process that runc has made".to_owned());
        }
        let pidfd = child::pidfd(pid)?;
        let master = match console {
            None => Ok(None),
            Some(console) => console.master().await.map(Some),
        };
        match master {
            Ok(master) => Ok(Self { pid, pidfd, master }),
            Err(e) => Err(Self { pid, pidfd, master: None }.end(e)),
        }
    }

    /// Kills the process, and returns the reason.
    fn end(self, reason: Error) -> Error {
        // Only the next line reaps the process, so that this signal reaches no other one.
        let _ = child::signal(&self.pidfd, libc::SIGKILL);
        child::reap(self.pidfd);
        reason
    }

    /// Returns the process's pid and pidfd, and the ends of its streams that the shim keeps.
    fn kept(mut self, streams: Stdio, paths: &stdio::Paths) -> Result<(u32, OwnedFd, Kept)> {
        let kept = match self.master.take() {
            None => streams.kept,
            Some(master) => match streams.attach(master, paths) {
                Ok(kept) => kept,
                Err(e) => return Err(self.end(e)),
            },
        };
        Ok((self.pid, self.pidfd, kept))
    }
}

impl Native {
    /// Returns the record of everything that has to be removed beside the cgroup.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }
}
