//! A process that containerd knows of: a container's own, or one that was started in it later.

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
use log::{info, warn};
use nix::libc;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Doing, Error, Result};
use crate::stdio::{self, Kept, Logger};

/// How long an exit waits for its process's last words to be read.
const MOST_PAUSES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(2);

/// How a process ended.
#[derive(Debug, Clone)]
pub(crate) struct Exit {
    pub(crate) code: u32,
    pub(crate) at: Timestamp,
}

impl Exit {
    /// At this moment.
    pub(crate) fn now(code: u32) -> Self {
        Self { code, at: Timestamp::now() }
    }
}

/// Where a process is in its life; a container's own is paused with its container.
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

/// Its phase is derived: an exit makes it Stopped, and until it was let go it is Created.
pub(crate) struct Process {
    /// For messages: the container's id, and an exec's behind it.
    name: String,
    pub(crate) stdio: stdio::Paths,
    /// From the moment on at which it exists: a container's at once, an exec's from its start on.
    living: OnceLock<Living>,
    /// Of a guest's worker.
    engine: OnceLock<Engine>,
    /// A SIGKILL was sent to it on request.
    asked: AtomicBool,
    /// Never held across an await.
    inner: Mutex<Inner>,
    exit: watch::Sender<Option<Exit>>,
}

struct Living {
    pid: u32,
    pidfd: OwnedFd,
}

/// What the shim holds open for it.
#[derive(Default)]
struct Inner {
    /// It was let go.
    started: bool,
    /// Its deletion has begun, unstarted: it is not started any more.
    doomed: bool,
    /// Until a worker is let go.
    control: Option<OwnedFd>,
    streams: Kept,
    /// CloseIO was asked for, which a client may do before there are streams.
    stdin_closed: bool,
    /// When the streams ended: the logger's time runs from then on.
    ended: Option<Instant>,
}

impl Process {
    /// One that does not exist yet.
    pub(super) fn new(name: String, stdio: stdio::Paths) -> Self {
        let (living, asked, inner) = (OnceLock::new(), AtomicBool::new(false), Mutex::default());
        Self { name, stdio, living, engine: OnceLock::new(), asked, inner, exit: watch::Sender::new(None) }
    }

    /// It exists: with the streams that the shim holds for it, and the socket to let it go by where it has one. Called once.
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

    /// It is a worker of that engine. Called once, when it lives.
    pub(super) fn runs_on(&self, engine: Engine) {
        let _ = self.engine.set(engine);
    }

    /// The engine that it is a worker of; none of a holder and of a native program.
    pub(crate) fn engine(&self) -> Option<Engine> {
        self.engine.get().copied()
    }

    /// It will never exist, with the streams on which it was told why. Its end is still to be made known.
    pub(super) fn never_lives(&self, streams: Kept) {
        let mut inner = self.inner();
        inner.streams = streams;
        inner.started = true;
    }

    /// The process, if it is there and has not begun to end: as long as nobody awaits anything, its number is nobody else's.
    pub(super) fn alive(&self) -> Option<(u32, &OwnedFd)> {
        let living = self.living.get().filter(|_| self.exit.borrow().is_none())?;
        // Not reaped, by whom but this shim, it keeps its number, so that what is asked by that is about this process.
        let there =
            || child::signal(&living.pidfd, 0).is_ok() && child::stat(living.pid).is_some_and(|stat| !stat.ends);
        there().then_some((living.pid, &living.pidfd))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// 0 before it exists.
    pub(crate) fn pid(&self) -> u32 {
        self.living.get().map_or(0, |living| living.pid)
    }

    pub(crate) fn terminal(&self) -> bool {
        self.stdio.terminal
    }

    /// For joining its namespaces.
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

    /// An error where it is not to be started: it was before, or is being deleted.
    pub(super) fn check_startable(&self) -> Result<()> {
        if self.phase() != Phase::Created {
            return Err(self.refuse("started"));
        }
        match self.inner().doomed {
            true => Err(Error::Transition { id: self.name.clone(), state: "being deleted", wanted: "started" }),
            false => Ok(()),
        }
    }

    /// Its deletion begins: it is not started any more.
    pub(super) fn doom(&self) {
        self.inner().doomed = true;
    }

    /// It was let go by others.
    pub(super) fn was_started(&self) {
        self.inner().started = true;
    }

    /// Lets a worker go.
    pub(super) fn let_go(&self) -> Result<()> {
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
            // It died a moment ago; the exit is on its way.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => {
                Err(Error::Transition { id: self.name.clone(), state: "ending", wanted: "started" })
            }
            Err(e) => Err(e).doing(|| format!("starting {}", self.name)),
        }
    }

    /// Waits for the end of the process, and leaves its number to it. Called once, by the pod. [`Process::make_known`] and
    /// [`Process::reap`] are to follow.
    pub(super) async fn ended(&self) -> Exit {
        let pidfd = self.pidfd().ok_or(std::io::ErrorKind::NotFound).and_then(|pidfd| {
            // Nothing but descriptors can be lacking.
            pidfd.try_clone().map_err(|e| e.kind())
        });
        let ended = match pidfd.doing(|| format!("watching {}", self.name)) {
            Ok(pidfd) => child::wait_unreaped(pidfd).await.map_err(Error::from),
            Err(e) => Err(e),
        };
        let code = ended.map_or_else(
            |e| {
                warn!("{}: its exit code is lost: {e}", self.name);
                255
            },
            child::exit_code,
        );
        info!("ended id={} pid={} code={code}", self.name, self.pid());
        if let (Some(engine), true) = (self.engine(), code == u32::from(EXIT_TRAPPED)) {
            counters::add(&places::root(), &[Count::Trap(engine)]);
        }
        Exit::now(code)
    }

    /// Whether it has ended, told or not yet.
    pub(super) fn ends(&self) -> bool {
        self.phase() == Phase::Stopped || self.pidfd().is_some_and(|pidfd| child::ended(pidfd).is_some())
    }

    /// Waits until what it wrote last was read, for a moment: containerd's clients drop a stream that they are still opening
    /// when they hear of the exit, and a short guest's only words with it.
    pub(super) async fn last_words(&self) {
        for _ in 0..MOST_PAUSES {
            if !self.inner().streams.unread() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        // Written to nobody any more: the client's end of the streams shows their end.
        let mut inner = self.inner();
        inner.streams.close();
        inner.ended = Some(Instant::now());
        inner.control = None;
    }

    /// Makes the end known to those who wait for it.
    pub(super) fn make_known(&self, exit: Exit) {
        self.exit.send_replace(Some(exit));
    }

    /// Gives its number back.
    pub(super) fn reap(&self) {
        if let Some(pidfd) = self.pidfd() {
            child::reap_ended(pidfd);
        }
    }

    /// Waits for the end, if it has not come; NotFound where it is deleted before: who waits does not hold it.
    pub(crate) fn wait(&self) -> impl Future<Output = Result<Exit>> + Send + use<> {
        let (mut exits, gone) = (self.exit.subscribe(), self.gone());
        async move {
            let ended = exits.wait_for(Option::is_some).await.map(|exit| exit.clone());
            ended.ok().flatten().ok_or(gone)
        }
    }

    fn gone(&self) -> Error {
        Error::NotFound(format!("process of container {}", self.name))
    }

    /// Sends a signal; NotFound once it has ended, which is how containerd takes a kill that came too late.
    pub(crate) fn kill(&self, signal: u32) -> Result<()> {
        // One that has ended and is not reaped yet would take any signal.
        let living = self.pidfd().filter(|pidfd| self.exit.borrow().is_none() && child::ended(pidfd).is_none());
        let pidfd = living.ok_or_else(|| self.gone())?;
        let number = i32::try_from(signal).ok().filter(|n| (0..=libc::SIGRTMAX()).contains(n));
        let Some(number) = number else {
            return Err(Error::refused("the request's signal", signal.to_string(), "a signal of Linux, 0 to 64"));
        };
        if number == libc::SIGKILL {
            self.asked.store(true, Ordering::Relaxed);
        }
        match child::signal(pidfd, number) {
            Err(nix::errno::Errno::ESRCH) => Err(self.gone()),
            sent => sent.doing(|| format!("signalling {}", self.name)),
        }
    }

    /// Whether it was this shim that sent a SIGKILL.
    pub(super) fn kill_was_asked_for(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn close_stdin(&self) {
        let mut inner = self.inner();
        inner.stdin_closed = true;
        inner.streams.close_stdin();
    }

    /// The size of its terminal's window, in characters.
    pub(crate) fn resize(&self, width: u32, height: u32) -> Result<()> {
        // One that is no more needs no size, and one that is not there yet has no terminal to have it.
        match self.phase() {
            Phase::Stopped => Ok(()),
            _ => self.inner().streams.resize(width, height),
        }
    }

    /// The logger of its output, and when its input ended.
    pub(super) fn take_logger(&self) -> Option<(Logger, Instant)> {
        let mut inner = self.inner();
        let ended = inner.ended.unwrap_or_else(Instant::now);
        inner.streams.take_logger().map(|logger| (logger, ended))
    }
}
