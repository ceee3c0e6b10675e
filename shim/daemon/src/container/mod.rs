//! One container: its creation step by step, and its state.

mod creation;
mod freeze;
mod kills;
mod sandbox;
mod update;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::types::mount::Mount;
use log::{info, warn};
use nix::libc;
use tokio::sync::{MutexGuard, Notify, watch};

use crate::bundle::Bundle;
use crate::cache::Cache;
use crate::cgroup::{self, Cgroup};
use crate::choice::Choice;
use crate::error::{Doing, Error, Result};
use crate::hooks::Stage;
use crate::options::Policy;
use crate::spawn::{Handover, Worker};
use crate::state::{Ended, Folder, State};
use crate::stdio::{self, Kept, Logger, Stdio};
use crate::{child, holder, rootfs, stats};
use creation::{Creation, all_mounts, find_module, make_job, prepare_mounts, wanted};
use freeze::Freeze;

/// How long an exit waits for its container's last words to be read.
const MOST_PAUSES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// What containerd asks to be created.
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: Vec<Mount>,
    pub(crate) stdio: stdio::Paths,
    /// Its pod's, for `delete`.
    pub(crate) state: Folder,
    /// containerd's gRPC socket.
    pub(crate) address: String,
    /// The handler's.
    pub(crate) options: Any,
    /// Told when nobody waits for it any more.
    pub(crate) given_up: Arc<Notify>,
}

/// How a container ended.
#[derive(Debug, Clone)]
pub(crate) struct Exit {
    pub(crate) code: u32,
    pub(crate) at: Timestamp,
}

/// Where a container is in its life.
///
/// ```text
///            start            exit
/// Created ----------> Running -----> Stopped ---delete---> gone
///    |                 |   ^            ^
///    |           Pausing   |            |
///    |                 v   |   exit     |
///    |                Paused -----------+
///    '---- kill, or its process dies ---'
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
    fn word(self) -> &'static str {
        match self {
            Phase::Created => "created",
            Phase::Running => "running",
            Phase::Pausing => "pausing",
            Phase::Paused => "paused",
            Phase::Stopped => "stopped",
        }
    }
}

/// A container that was created. Its phase is derived: an exit makes it Stopped, an open control socket Created, its freezer
/// Pausing and Paused.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) pid: u32,
    pub(crate) stdio: stdio::Paths,
    /// It is the pod's sandbox container.
    pub(crate) keeps_pod: bool,
    pidfd: OwnedFd,
    cgroup: Cgroup,
    /// How many of the kernel's kills in the cgroup were seen.
    kills: AtomicU64,
    /// A SIGKILL was sent to it on request.
    asked: AtomicBool,
    poststart: Stage,
    /// The pod's, where the container's state is written down.
    states: Folder,
    /// Held while hooks of this container run, and while it is cleaned up: poststop comes after poststart, and is over when
    /// any deletion is.
    turn: tokio::sync::Mutex<()>,
    /// Never held across an await.
    held: Mutex<Held>,
    exit: watch::Sender<Option<Exit>>,
}

/// What the shim holds open for the container.
struct Held {
    /// As it is written down.
    state: State,
    /// Until Start.
    control: Option<OwnedFd>,
    /// Its deletion has begun, unstarted: it is not started any more.
    doomed: bool,
    freeze: Freeze,
    streams: Kept,
    /// Until it is run, by one of those who delete the container.
    poststop: Stage,
    /// When the streams ended: the logger's time runs from then on.
    ended: Option<tokio::time::Instant>,
}

impl Container {
    /// Does all the work: when it answers, the worker is confined and linked and waits for one byte.
    pub(crate) async fn create(request: Request) -> Result<Self> {
        let begin = Instant::now();
        let policy = Policy::of(&request.options)?;
        let bundle = Bundle::load(&request.bundle, &request.id, format!("/{}/{}", request.namespace, request.id))?;
        if holder::keeps(&bundle.spec) {
            return Self::create_sandbox(request, bundle, begin).await;
        }
        let choice = Choice::of(&bundle.spec, policy)?;
        let mut descriptors = Handover::default();
        let root = rootfs::prepare(&request.rootfs, &bundle.root(), &request.bundle.join("rootfs"))?;
        let root = descriptors.add(root);
        let prepared = prepare_mounts(&bundle, &mut descriptors)?;
        let sought = find_module(&bundle, &descriptors, root, &prepared)?;
        let cache = Cache::open(choice.engines(), bundle.owner(&request.namespace))?;
        let wanted = wanted(&cache, &request, sought).await?;
        let cgroup = Cgroup::plan(&bundle.cgroup, bundle.resources())?;
        let mut streams = stdio::open(&request.stdio, &request.id, &request.namespace)?;
        let mounts = all_mounts(prepared, &mut descriptors)?;
        let job = make_job(&bundle, &mut descriptors, root, mounts, &streams)?;
        let mut state = State::new(cgroup.folders().to_vec());
        state.logger = streams.kept.logger();
        request.state.write(&request.id, &state)?;
        let creation = Creation {
            id: &request.id,
            bundle: &bundle,
            cache: &cache,
            wanted: &wanted,
            cgroup: &cgroup,
            streams: &mut streams,
            states: &request.state,
            state: &mut state,
            given_up: &request.given_up,
        };
        let (worker, code) = match creation.run(job, descriptors).await {
            Ok(made) => made,
            Err(e) => {
                let logger = streams.discard().map(|logger| (logger, tokio::time::Instant::now()));
                // The reason is what the client needs; a leftover is told to the log, and found by `delete` again.
                let left = (&request.state, request.id.as_str());
                if let Err(e) = clean_up(left, cgroup.folders(), logger, || state.poststop).await {
                    warn!("container {}: {e}", request.id);
                }
                return Err(choice.explain(e));
            }
        };
        info!(
            "created id={} engine={} chosen={} module={:?} digest=sha256:{} artifact={} tier={} pid={} milliseconds={}",
            request.id,
            code.engine,
            choice.reason(code.engine),
            code.module,
            code.digest,
            code.origin,
            code.tier.word(),
            worker.pid,
            begin.elapsed().as_millis(),
        );
        Ok(Self::made(request, bundle, cgroup, streams, worker, state))
    }

    /// A container whose process waits for Start.
    fn made(request: Request, bundle: Bundle, cgroup: Cgroup, streams: Stdio, worker: Worker, state: State) -> Self {
        Self {
            id: request.id,
            bundle: request.bundle,
            pid: worker.pid,
            stdio: request.stdio,
            keeps_pod: holder::keeps(&bundle.spec),
            pidfd: worker.pidfd,
            cgroup,
            kills: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            poststart: bundle.hooks.poststart,
            states: request.state,
            turn: tokio::sync::Mutex::default(),
            held: Mutex::new(Held {
                state,
                control: Some(worker.control),
                doomed: false,
                freeze: Freeze::Off,
                streams: streams.kept,
                poststop: bundle.hooks.poststop,
                ended: None,
            }),
            exit: watch::Sender::new(None),
        }
    }

    /// Waits for the worker's end. Called once, by the pod, which then makes it known. [`Container::reap`] is to follow.
    pub(crate) async fn ended(&self) -> Exit {
        let ended = match self.pidfd.try_clone().doing(|| format!("watching {}", self.id)) {
            Ok(pidfd) => child::wait_unreaped(pidfd).await,
            Err(e) => Err(e),
        };
        let code = ended.map_or_else(
            |e| {
                warn!("container {}: its exit code is lost: {e}", self.id);
                255
            },
            child::exit_code,
        );
        info!("ended id={} pid={} code={code}", self.id, self.pid);
        let exit = Exit { code, at: Timestamp::now() };
        self.write_down(&exit);
        self.thaw_after_end();
        exit
    }

    /// Makes the end known to those who wait for it.
    pub(crate) async fn make_known(&self, exit: &Exit) {
        // containerd's clients drop a stream that they are still opening when they hear of the exit, and a short guest's
        // only words with it.
        for _ in 0..MOST_PAUSES {
            if !self.held().streams.unread() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        // Written to nobody any more: the client's end of the streams shows their end.
        let mut held = self.held();
        held.streams.close();
        held.ended = Some(tokio::time::Instant::now());
        held.control = None;
        drop(held);
        self.exit.send_replace(Some(exit.clone()));
    }

    /// Gives the worker's pid back, once no hook that was told of it runs any more.
    pub(crate) async fn reap(&self) {
        let _turn = self.turn.lock().await;
        child::reap_ended(&self.pidfd);
    }

    /// So that it is known if this shim is killed before containerd, which may be down, has heard of it.
    fn write_down(&self, exit: &Exit) {
        if !self.states.has(&self.id) {
            // By a `delete` that this shim did not answer: nobody will remove it again.
            return info!("cleaned up by others: id={}", self.id);
        }
        let mut held = self.held();
        held.state.ended = Some(Ended { code: exit.code, seconds: exit.at.seconds, nanos: exit.at.nanos });
        if let Err(e) = self.states.write(&self.id, &held.state) {
            warn!("container {}: {e}", self.id);
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn phase(&self) -> Phase {
        if self.exit.borrow().is_some() {
            return Phase::Stopped;
        }
        let held = self.held();
        if held.control.is_some() { Phase::Created } else { held.freeze.phase() }
    }

    /// Whether a `delete` has cleaned it up that this shim did not answer in time: containerd has forgotten it, and will not
    /// ask for its deletion.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.phase() == Phase::Stopped && !self.states.has(&self.id)
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    fn refuse(&self, wanted: &'static str) -> Error {
        Error::Transition { id: self.id.clone(), state: self.phase().word(), wanted }
    }

    /// To be had before [`Container::start`] and given to [`Container::after_start`]: no pid is given back in between.
    pub(crate) async fn turn_to_start(&self) -> Result<MutexGuard<'_, ()>> {
        match self.phase() {
            Phase::Created => Ok(self.turn.lock().await),
            _ => Err(self.refuse("started")),
        }
    }

    /// Lets the guest go.
    pub(crate) fn start(&self) -> Result<()> {
        if self.phase() != Phase::Created {
            return Err(self.refuse("started"));
        }
        let mut held = self.held();
        if held.doomed {
            return Err(Error::Transition { id: self.id.clone(), state: "being deleted", wanted: "started" });
        }
        let Some(control) = &held.control else {
            drop(held);
            return Err(self.refuse("started"));
        };
        match catamaran_worker::control::send_start(control.as_fd()) {
            Ok(()) => {
                held.control = None;
                Ok(())
            }
            // Its process died a moment ago; the exit is on its way.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => {
                Err(Error::Transition { id: self.id.clone(), state: "ending", wanted: "started" })
            }
            Err(e) => Err(e).doing(|| format!("starting {}", self.id)),
        }
    }

    /// What the spec wants to be run once the guest was let go. A container whose hook fails is killed.
    pub(crate) async fn after_start(&self, _turn: MutexGuard<'_, ()>) -> Result<()> {
        let ran = self.poststart.run(self.pid).await;
        if ran.is_err() {
            match self.kill(libc::SIGKILL as u32) {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(e) => warn!("container {}: {e}", self.id),
            }
        }
        ran
    }

    /// Waits for the end, if it has not come.
    pub(crate) async fn wait(&self) -> Result<Exit> {
        let mut exits = self.exit.subscribe();
        let ended = exits.wait_for(Option::is_some).await.map(|exit| exit.clone());
        ended.ok().flatten().ok_or_else(|| Error::NotFound(format!("container {}", self.id)))
    }

    /// Sends a signal; NotFound once the container has stopped, which is how containerd takes a kill that came too late.
    pub(crate) fn kill(&self, signal: u32) -> Result<()> {
        let gone = || Error::NotFound(format!("process of container {}", self.id));
        // One that has ended and is not reaped yet would take any signal.
        if self.phase() == Phase::Stopped || child::ended(&self.pidfd).is_some() {
            return Err(gone());
        }
        let number = i32::try_from(signal).ok().filter(|n| (0..=libc::SIGRTMAX()).contains(n));
        let Some(number) = number else {
            return Err(Error::refused("the request's signal", signal.to_string(), "a signal of Linux, 0 to 64"));
        };
        if number == libc::SIGKILL {
            self.asked.store(true, Ordering::Relaxed);
        }
        match child::signal(&self.pidfd, number) {
            Err(nix::errno::Errno::ESRCH) => return Err(gone()),
            sent => sent.doing(|| format!("signalling {}", self.id))?,
        }
        if number == libc::SIGKILL {
            self.let_die();
        }
        Ok(())
    }

    pub(crate) fn close_stdin(&self) {
        self.held().streams.close_stdin();
    }

    /// The processes; of a container that has stopped the one that it was. A containerd that restarts takes a task without
    /// processes for one that was never made, and deletes it with its exit code.
    pub(crate) fn pids(&self) -> Result<Vec<u32>> {
        let pids = self.cgroup.pids()?;
        Ok(if pids.is_empty() { vec![self.pid] } else { pids })
    }

    /// What the container has used so far: also when it has stopped, until it is deleted.
    pub(crate) fn stats(&self) -> Result<Any> {
        stats::of(&self.cgroup, self.kills.load(Ordering::Relaxed))
    }

    /// Undoes a creation that nobody waits for any more.
    pub(crate) async fn discard(&self) {
        let ended = self.kill(libc::SIGKILL as u32);
        let exit = self.ended().await;
        self.make_known(&exit).await;
        if let Err(e) = ended.and(self.clean_up().await) {
            warn!("container {}: {e}", self.id);
        }
    }

    async fn clean_up(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        child::reap_ended(&self.pidfd);
        let logger = {
            let mut held = self.held();
            let ended = held.ended.unwrap_or_else(tokio::time::Instant::now);
            held.streams.take_logger().map(|logger| (logger, ended))
        };
        let left = (&self.states, self.id.as_str());
        clean_up(left, self.cgroup.folders(), logger, || std::mem::take(&mut self.held().poststop)).await
    }

    /// Removes what lies outside the bundle. A container that was never started is ended first.
    pub(crate) async fn delete(&self) -> Result<Exit> {
        match self.phase() {
            Phase::Running | Phase::Pausing | Phase::Paused => return Err(self.refuse("deleted")),
            Phase::Created => {
                self.held().doomed = true;
                match self.kill(libc::SIGKILL as u32) {
                    Ok(()) | Err(Error::NotFound(_)) => {}
                    Err(e) => return Err(e),
                }
            }
            Phase::Stopped => {}
        }
        let exit = self.wait().await?;
        self.clean_up().await?;
        Ok(exit)
    }
}

/// Removes what lies outside the bundle, and then what told of it: until then `delete` can do it again. A logger comes with
/// the time at which its input ended.
async fn clean_up(
    left: (&Folder, &str),
    cgroups: &[PathBuf],
    logger: Option<(Logger, tokio::time::Instant)>,
    poststop: impl FnOnce() -> Stage,
) -> Result<()> {
    cgroup::remove(cgroups).await?;
    if let Some((logger, ended)) = logger {
        logger.end(ended).await;
    }
    poststop().run_all().await;
    let (states, id) = left;
    states.forget(id)
}
