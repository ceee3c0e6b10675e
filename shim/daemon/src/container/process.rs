//! A process that containerd knows: a container's own, or an exec.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use catamaran_cache::counters::{self, Count};
use catamaran_cache::engine::Engine;
use catamaran_cache::places;
use catamaran_host::child;
use catamaran_worker::EXIT_TRAPPED;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use log::warn;
use nix::libc;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::container::line::{Event, Field, Line};
use crate::error::{Doing, Error, Result};
use crate::stdio::{self, Kept, Logger};

/// How often the shim checks, after a process has ended, whether its last output was read, and the pause between two checks.
const MOST_PAUSES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(2);

/// How a process ended.
#[derive(Debug, Clone)]
pub(crate) struct Exit {
    pub(crate) code: u32,
    pub(crate) at: Timestamp,
}

impl Exit {
    /// Returns an exit at this moment.
    pub(crate) fn now(code: u32) -> Self {
        Self { code, at: Timestamp::now() }
    }
}

/// The phase of a process's life. A container's own process is paused with its container.
///
/// ```text
///            start            exit
/// Created ----------> Running -----> Stopped ---delete---> gone
///    |                 |   ^            ^
///    |           Pausing   |            |
///    |                 v   |   exit     |
///    |                Paused -----------+
///    '---- kill, or it dies ------------'
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Created,
    Running,
    Pausing,
    Paused,
    Stopped,
}

impl Phase {
    pub(super) fn word(self) -> &'static str {
        match self {
            Phase::Created => "created",
            Phase::Running => "running",
            Phase::Pausing => "pausing",
            Phase::Paused => "paused",
            Phase::Stopped => "stopped",
        }
    }
}

/// A process, before, during and after its life. Its phase is derived: Created until it is started, Stopped once it has an exit.
pub(crate) struct Process {
    /// The name in messages: the container's id, followed by the exec's id if there is one.
    name: String,
    pub(crate) stdio: stdio::Paths,
    /// Set as soon as the process exists: for a container at its creation, for an exec at its start.
    living: OnceLock<Living>,
    /// Set for a guest's worker only.
    engine: OnceLock<Engine>,
    /// Whether a client has asked for a SIGKILL.
    asked: AtomicBool,
    /// Never held across an await.
    inner: Mutex<Inner>,
    exit: watch::Sender<Option<Exit>>,
}

struct Living {
    pid: u32,
    pidfd: OwnedFd,
}

/// The descriptors that the shim holds open for a process, and its flags.
#[derive(Default)]
struct Inner {
    /// The process was started.
    started: bool,
    /// The deletion of the unstarted process has begun: it can no longer be started.
    doomed: bool,
    /// A worker's control socket, until the worker is started.
    control: Option<OwnedFd>,
    streams: Kept,
    /// A client has asked for CloseIO, perhaps before there were streams.
    stdin_closed: bool,
    /// When the streams were closed: the logger's time limit runs from then on.
    ended: Option<Instant>,
}

impl Process {
    /// Returns a process that does not exist yet.
    pub(super) fn new(name: String, stdio: stdio::Paths) -> Self {
        let (living, asked, inner) = (OnceLock::new(), AtomicBool::new(false), Mutex::default());
        Self { name, stdio, living, engine: OnceLock::new(), asked, inner, exit: watch::Sender::new(None) }
    }

    /// Records that the process exists, with the streams that the shim holds for it, and a worker's control socket. Called once.
    pub(super) fn lives(&self, pid: u32, pidfd: OwnedFd, control: Option<OwnedFd>, streams: Kept) {
        let mut inner = self.inner();
        inner.control = control;
        inner.streams = streams;
        if inner.stdin_closed {
            inner.streams.close_stdin();
        }
        if self.living.set(Living { pid, pidfd }).is_err() {
            warn!("{}: a second process for it: {pid}", self.name);
        }
    }

    /// Records the engine of a worker. Called once, when the process exists.
    pub(super) fn runs_on(&self, engine: Engine) {
        let _ = self.engine.set(engine);
    }

    /// Returns the engine of a worker; None for a holder or a native program.
    pub(crate) fn engine(&self) -> Option<Engine> {
        self.engine.get().copied()
    }

    /// Records that the process will never exist. `streams` are those that the reason was written to. Call [`Process::make_known`] next.
    pub(super) fn never_lives(&self, streams: Kept) {
        let mut inner = self.inner();
        inner.streams = streams;
        inner.started = true;
    }

    /// Returns pid and pidfd if the process exists and has not begun to end. Until the caller's next await, no other process can get
    /// the pid.
    pub(super) fn alive(&self) -> Option<(u32, &OwnedFd)> {
        let living = self.living.get().filter(|_| self.exit.borrow().is_none())?;
        // Only this shim reaps the process, and until then no other process can get its pid: the stat that is read here is its own.
        let there =
            || child::signal(&living.pidfd, 0).is_ok() && child::stat(living.pid).is_some_and(|stat| !stat.ends);
        there().then_some((living.pid, &living.pidfd))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the pid, or 0 before the process exists.
    pub(crate) fn pid(&self) -> u32 {
        self.living.get().map_or(0, |living| living.pid)
    }

    pub(crate) fn terminal(&self) -> bool {
        self.stdio.terminal
    }

    /// Returns the pidfd, by which an exec joins the process's namespaces.
    pub(super) fn pidfd(&self) -> Option<&OwnedFd> {
        self.living.get().map(|living| &living.pidfd)
    }

    pub(crate) fn phase(&self) -> Phase {
        if self.exit.borrow().is_some() {
            Phase::Stopped
        } else if self.inner().started {
            Phase::Running
        } else {
            Phase::Created
        }
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    pub(super) fn refuse(&self, wanted: &'static str) -> Error {
        Error::Transition { id: self.name.clone(), state: self.phase().word(), wanted }
    }

    /// Returns an error if the process was already started, or is being deleted.
    pub(super) fn check_startable(&self) -> Result<()> {
        if self.phase() != Phase::Created {
            return Err(self.refuse("started"));
        }
        match self.inner().doomed {
            true => Err(Error::Transition { id: self.name.clone(), state: "being deleted", wanted: "started" }),
            false => Ok(()),
        }
    }

    /// Begins the deletion: the process can no longer be started.
    pub(super) fn doom(&self) {
        self.inner().doomed = true;
    }

    /// Records that the process was started, without [`Process::start_worker`].
    pub(super) fn was_started(&self) {
        self.inner().started = true;
    }

    /// Starts a worker.
    pub(super) fn start_worker(&self) -> Result<()> {
        self.check_startable()?;
        let mut inner = self.inner();
        let Some(control) = &inner.control else {
            drop(inner);
            return Err(self.refuse("started"));
        };
        match catamaran_worker::control::send_start(control.as_fd()) {
            Ok(()) => {
                inner.control = None;
                inner.started = true;
                Ok(())
            }
            // The worker died a moment ago, and its exit is not recorded yet.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => {
                Err(Error::Transition { id: self.name.clone(), state: "ending", wanted: "started" })
            }
            Err(e) => Err(e).doing(|| format!("starting {}", self.name)),
        }
    }

    /// Waits for the end of the process, without reaping it. The pod calls this once, then [`Process::make_known`] and
    /// [`Process::reap`].
    pub(super) async fn ended(&self) -> Exit {
        let pidfd = self.pidfd().ok_or(std::io::ErrorKind::NotFound).and_then(|pidfd| {
            // This fails only if no descriptor is free.
            pidfd.try_clone().map_err(|e| e.kind())
        });
        let ended = match pidfd.doing(|| format!("watching {}", self.name)) {
            Ok(pidfd) => child::wait_unreaped(pidfd).await.map_err(Error::from),
            Err(e) => Err(e),
        };
        let code = ended.map_or_else(
            |e| {
                warn!("{}: its exit code is lost: {e}", self.name);
                child::LOST
            },
            child::exit_code,
        );
        Line::new(Event::Ended, &self.name).with(Field::Pid, self.pid()).with(Field::Code, code).log();
        if let (Some(engine), true) = (self.engine(), code == u32::from(EXIT_TRAPPED)) {
            counters::add(&places::root(), &[Count::Trap(engine)]);
        }
        Exit::now(code)
    }

    /// Whether the process has ended, even if its exit is not yet known to others.
    pub(super) fn ends(&self) -> bool {
        self.phase() == Phase::Stopped || self.pidfd().is_some_and(|pidfd| child::ended(pidfd).is_some())
    }

    /// Waits a moment until the client has read the last output, then closes the streams. containerd's clients drop a stream that they are
    /// still opening when they learn of the exit, and so would lose all output of a short guest.
    pub(super) async fn finish_output(&self) {
        let writers = self.inner().streams.writers_of_unread();
        for _ in 0..MOST_PAUSES {
            if !self.inner().streams.unread() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        // No process writes any more. Once the shim has closed its ends, the client reads the end of the streams.
        drop(writers);
        let mut inner = self.inner();
        inner.streams.close();
        inner.ended = Some(Instant::now());
        inner.control = None;
    }

    /// Makes the exit known to the callers that wait for it.
    pub(super) fn make_known(&self, exit: Exit) {
        self.exit.send_replace(Some(exit));
    }

    /// Reaps the process, which frees its pid.
    pub(super) fn reap(&self) {
        if let Some(pidfd) = self.pidfd() {
            child::reap_ended(pidfd);
        }
    }

    /// Waits for the exit. Returns NotFound if the process is deleted first: the returned future does not keep the process.
    pub(crate) fn wait(&self) -> impl Future<Output = Result<Exit>> + Send + use<> {
        let (mut exits, not_found) = (self.exit.subscribe(), self.not_found());
        async move {
            let ended = exits.wait_for(Option::is_some).await.map(|exit| exit.clone());
            ended.ok().flatten().ok_or(not_found)
        }
    }

    fn not_found(&self) -> Error {
        Error::NotFound(format!("process of container {}", self.name))
    }

    /// Sends a signal. Returns NotFound once the process has ended: to containerd that is a kill that came too late.
    pub(crate) fn kill(&self, signal: u32) -> Result<()> {
        // The kernel would accept a signal for a process that has ended and is not reaped yet.
        let living = self.pidfd().filter(|pidfd| self.exit.borrow().is_none() && child::ended(pidfd).is_none());
        let pidfd = living.ok_or_else(|| self.not_found())?;
        let number = i32::try_from(signal).ok().filter(|n| (0..=libc::SIGRTMAX()).contains(n));
        let Some(number) = number else {
            return Err(Error::refused("the request's signal", signal.to_string(), "a signal of Linux, 0 to 64"));
        };
        if number == libc::SIGKILL {
            self.asked.store(true, Ordering::Relaxed);
        }
        match child::signal(pidfd, number) {
            Err(nix::errno::Errno::ESRCH) => Err(self.not_found()),
            sent => sent.doing(|| format!("signalling {}", self.name)),
        }
    }

    /// Whether this shim has sent a SIGKILL.
    pub(super) fn kill_was_asked_for(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn close_stdin(&self) {
        let mut inner = self.inner();
        inner.stdin_closed = true;
        inner.streams.close_stdin();
    }

    /// Sets the size of its terminal's window, in characters.
    pub(crate) fn resize(&self, width: u32, height: u32) -> Result<()> {
        // A stopped process ignores a new size. Before its start an exec has no terminal, so that this is an error.
        match self.phase() {
            Phase::Stopped => Ok(()),
            _ => self.inner().streams.resize(width, height),
        }
    }

    /// Takes the logger of the process's output, and the time at which the logger's input ended.
    pub(super) fn take_logger(&self) -> Option<(Logger, Instant)> {
        let mut inner = self.inner();
        let ended = inner.ended.unwrap_or_else(Instant::now);
        inner.streams.take_logger().map(|logger| (logger, ended))
    }
}
