//! A container: its creation step by step, and its state.

mod create;
mod draft;
mod exec;
mod freeze;
pub(crate) mod holder;
mod intermediate;
pub(crate) mod line;
mod native;
mod oom_kills;
mod process;
mod sandbox;
pub(crate) mod spawn;
#[cfg(test)]
mod tests;
mod update;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use catamaran_cache::module::Largest;
use catamaran_cache::order::Purpose;
use catamaran_cgroup::Cgroup;
use catamaran_cgroup::stats;
use catamaran_files::outline::Outline;
use catamaran_files::search::Order;
use catamaran_host::unless::unless;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::types::mount::Mount;
use log::{info, warn};
use nix::libc;
use tokio::sync::{MutexGuard, Notify};

use crate::artifact::Cache;
use crate::cleanup::state::{Ended, Folder, State};
use crate::container::line::{Event, Field, Line};
use crate::container::spawn::Worker;
use crate::engine::alias;
use crate::engine::choice::Choice;
use crate::engine::options::Policy;
use crate::error::{Error, Result};
use crate::search::{self, Search};
use crate::spec::bundle::{self, Bundle};
use crate::spec::hooks::Stage;
use crate::spec::oci;
use crate::stdio::{self, Kept, Stdio};
use create::{Creation, Leftovers, Made, order_root};
pub(crate) use exec::{Exec, ExecRequest};
use freeze::Freeze;
pub(crate) use process::{Exit, Phase, Process};

/// How long a container's execs may take to end once its own process has ended.
const EXECS_TO_END: Duration = Duration::from_secs(2);

/// A container that containerd asks to be created.
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: Vec<Mount>,
    pub(crate) stdio: stdio::Paths,
    /// The pod's state folder, which `delete` reads.
    pub(crate) state: Folder,
    /// containerd's gRPC socket.
    pub(crate) address: String,
    /// The options of the runtime handler.
    pub(crate) options: Any,
    /// Notified when no client waits for this container any more.
    pub(crate) given_up: Arc<Notify>,
}

impl Request {
    /// Returns the result of `work`, or NotFound as soon as no client waits for the container any more.
    async fn unless_given_up<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        unless(self.given_up.notified(), work).await.unwrap_or_else(|| {
            info!("container {} was given up while it was created", self.id);
            Err(Error::NotFound(format!("container {}", self.id)))
        })
    }
}

/// The kind of a container's process, which decides what an exec starts.
enum Body {
    /// A holder, in the pod's sandbox container. Nothing else runs there.
    Holder,
    /// A worker. An exec starts another worker from the same request and bundle.
    Wasm,
    /// A native process, made by runc.
    Native(native::Native),
}

/// A container that was created. It has the phase of its process or, while the process runs, of its freezer.
pub(crate) struct Container {
    /// The request that it was created from.
    request: Request,
    body: Body,
    pub(crate) process: Process,
    cgroup: Cgroup,
    /// How many of the kernel's kills in the cgroup the shim has seen.
    kills: AtomicU64,
    poststart: Stage,
    /// Held while this container's hooks run and while it is cleaned up, so that poststop hooks run after poststart hooks, and before any
    /// deletion returns.
    turn: tokio::sync::Mutex<()>,
    /// Never held across an await.
    inner: Mutex<Inner>,
    /// The execs, started or not, by their ids. Never held across an await.
    execs: Mutex<HashMap<String, Arc<Exec>>>,
}

struct Inner {
    /// The content of the state file.
    state: State,
    freeze: Freeze,
    /// The hooks of the deletion; the first deletion that runs them takes them.
    poststop: Stage,
}

impl Container {
    /// Does all the work of a start: afterwards the worker is confined and linked, and waits for one message.
    pub(crate) async fn create(request: Request) -> Result<Self> {
        let begin = Instant::now();
        let policy = Policy::parse(&request.options, alias::of_this_program())?;
        let text = bundle::text(&request.bundle)?;
        let outline = Outline::parse(&text)?;
        let load =
            || Bundle::load(&request.bundle, &text, &request.id, format!("/{}/{}", request.namespace, request.id));
        if holder::is_asked_for(&outline.annotations) {
            let bundle = load()?;
            return Self::create_sandbox(request, bundle, begin).await;
        }
        let cgroup = outline.cgroup_or(format!("/{}/{}", request.namespace, request.id));
        let mut search = Search::start(search::Charge { cgroup, states: request.state.clone() })?;
        search.look_at_root(&order_root(&request, &outline))?;
        // Loaded while the search runs. An error here counts only if the container turns out to be Wasm.
        let bundle = load();
        if let Some(native) = request.unless_given_up(search.native()).await? {
            // Boxed, as elsewhere for native containers, to keep the future of a Wasm container small.
            return Box::pin(Self::create_native(request, outline, &policy, native, begin)).await;
        }
        let bundle = bundle?;
        let largest = Largest(policy.largest);
        let choice = Choice::new(&bundle.spec, policy)?;
        let (targets, tenant) = (choice.targets(), bundle.tenant(&request.namespace));
        let purpose = Purpose { targets, tier: choice.tier, tenant, largest };
        let mounts = bundle.spec.mounts().clone().unwrap_or_default();
        search.look_for_module(&Order::Module { mounts, guest: bundle.guest.clone(), cache: purpose.clone() })?;
        let cache = Cache::open(purpose)?;
        let mut creation = Creation::begin(request, bundle)?;
        let made = creation.make(search, &cache, &choice).await;
        let Made { worker, code, listen } = match made {
            Ok(made) => made,
            Err(e) => {
                creation.undo().await;
                return Err(choice.explain(e));
            }
        };
        let engine = code.target.engine();
        let line = Line::new(Event::Created, &creation.request.id)
            .with(Field::Engine, engine)
            .with(Field::Chosen, choice.reason(engine))
            .with(Field::World, code.target.world_word());
        match listen {
            Some(address) => line.with(Field::Listen, address),
            None => line,
        }
        .with_code(&code)
        .with(Field::Pid, worker.pid)
        .with(Field::Milliseconds, begin.elapsed().as_millis())
        .log();
        cache.count_start(&code);
        let container = Self::made(creation, worker);
        container.process.runs_on(engine);
        Ok(container)
    }

    /// Returns a container whose process waits for Start.
    fn made(creation: Creation, worker: Worker) -> Self {
        let Creation { request, bundle, cgroup, streams, state, .. } = creation;
        let body = if holder::keeps(&bundle.spec) { Body::Holder } else { Body::Wasm };
        let process = Process::new(request.id.clone(), request.stdio.clone());
        process.lives(worker.pid, worker.pidfd, Some(worker.control), streams.kept);
        Self {
            request,
            body,
            process,
            cgroup,
            kills: AtomicU64::new(0),
            poststart: bundle.hooks.poststart,
            turn: tokio::sync::Mutex::default(),
            inner: Mutex::new(Inner { state, freeze: Freeze::Off, poststop: bundle.hooks.poststop }),
            execs: Mutex::default(),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.request.id
    }

    pub(crate) fn bundle(&self) -> &Path {
        &self.request.bundle
    }

    /// Whether this is the pod's sandbox container.
    pub(crate) fn keeps_pod(&self) -> bool {
        matches!(self.body, Body::Holder)
    }

    /// Waits for the end of the container's process. The pod calls this once, then [`Self::make_known`] and [`Self::reap`].
    pub(crate) async fn ended(&self) -> Exit {
        let exit = self.process.ended().await;
        if let Body::Native(native) = &self.body {
            Box::pin(self.after_native_end(native)).await;
        }
        self.write_down(&exit);
        self.thaw_after_end();
        self.end_execs().await;
        exit
    }

    /// Makes the exit known to the callers that wait for it.
    pub(crate) async fn make_known(&self, exit: &Exit) {
        self.process.finish_output().await;
        self.process.make_known(exit.clone());
    }

    /// Frees the process's pid once no hook that was told this pid runs any more.
    pub(crate) async fn reap(&self) {
        let _turn = self.turn.lock().await;
        self.process.reap();
    }

    /// Writes the exit to the state file, for `delete`: this shim may be killed before it can tell containerd.
    fn write_down(&self, exit: &Exit) {
        let (states, id) = (&self.request.state, self.id());
        if !states.has(id) {
            // A `delete` process has removed the state file; nothing would remove one that is written now.
            return Line::new(Event::CleanedUp, id).log();
        }
        let mut inner = self.inner();
        inner.state.ended = Some(Ended { code: exit.code, seconds: exit.at.seconds, nanos: exit.at.nanos });
        if let Err(e) = states.write(id, &inner.state) {
            warn!("container {id}: {e}");
        }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.process.phase() {
            Phase::Running => self.inner().freeze.phase(),
            phase => phase,
        }
    }

    fn refuse(&self, wanted: &'static str) -> Error {
        Error::Transition { id: self.id().to_owned(), state: self.phase().word(), wanted }
    }

    /// Whether a `delete` process has cleaned up the container because this shim did not answer in time. containerd has forgotten such a
    /// container, and will not ask for its deletion.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.phase() == Phase::Stopped && !self.request.state.has(self.id())
    }

    /// Take this before [`Container::start`] and give it to [`Container::after_start`], so that the pid is not freed in between.
    pub(crate) async fn turn_to_start(&self) -> Result<MutexGuard<'_, ()>> {
        match self.phase() {
            Phase::Created => Ok(self.turn.lock().await),
            _ => Err(self.refuse("started")),
        }
    }

    /// Lets the guest run. Does not wait for a worker, but waits until `runc start` has ended.
    pub(crate) async fn start(&self) -> Result<()> {
        match &self.body {
            Body::Native(native) => Box::pin(self.start_native(native)).await,
            Body::Holder | Body::Wasm => self.process.start_worker(),
        }
    }

    /// Runs the spec's poststart hooks. Kills the container if one of them fails.
    pub(crate) async fn after_start(&self, _turn: MutexGuard<'_, ()>) -> Result<()> {
        let ran = self.poststart.run(self.process.pid()).await;
        if ran.is_err() {
            match self.kill(libc::SIGKILL as u32) {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(e) => warn!("container {}: {e}", self.id()),
            }
        }
        ran
    }

    /// Sends a signal. Returns NotFound once the container has stopped: to containerd that is a kill that came too late.
    pub(crate) fn kill(&self, signal: u32) -> Result<()> {
        self.signal(signal, false)
    }

    /// Returns the pids of all processes, or a stopped container's own pid. A containerd that restarts takes a task without processes for
    /// one that was never made, and deletes the task with its exit code.
    pub(crate) fn pids(&self) -> Result<Vec<u32>> {
        let pids = self.cgroup.pids()?;
        Ok(if pids.is_empty() { vec![self.process.pid()] } else { pids })
    }

    /// The container's resource usage so far, which can be read until it is deleted.
    pub(crate) fn stats(&self) -> Result<Any> {
        Ok(stats::read(&self.cgroup, self.kills.load(Ordering::Relaxed))?)
    }

    /// Undoes a creation that no client waits for any more.
    pub(crate) async fn discard(&self) {
        let ended = self.kill(libc::SIGKILL as u32);
        let exit = self.ended().await;
        self.make_known(&exit).await;
        if let Err(e) = ended.and(self.clean_up().await) {
            warn!("container {}: {e}", self.id());
        }
    }

    async fn clean_up(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.process.reap();
        self.end_exec_loggers().await;
        let native = match &self.body {
            Body::Native(native) => Some(native.record()),
            Body::Holder | Body::Wasm => None,
        };
        let left = Leftovers {
            states: &self.request.state,
            id: self.id(),
            native,
            cgroups: self.cgroup.folders(),
            logger: self.process.take_logger(),
        };
        left.remove(|| std::mem::take(&mut self.inner().poststop)).await
    }

    /// Removes everything of the container that lies outside the bundle. First kills a container that was never started.
    pub(crate) async fn delete(&self) -> Result<Exit> {
        match self.phase() {
            Phase::Running | Phase::Pausing | Phase::Paused => return Err(self.refuse("deleted")),
            Phase::Created => {
                self.process.doom();
                match self.kill(libc::SIGKILL as u32) {
                    Ok(()) | Err(Error::NotFound(_)) => {}
                    Err(e) => return Err(e),
                }
            }
            Phase::Stopped => {}
        }
        let exit = self.process.wait().await?;
        self.clean_up().await?;
        Ok(exit)
    }
}

/// Opens the streams of a container's process, or its terminal. Refuses a request and a bundle that disagree about the terminal.
fn open_streams(request: &Request, bundle: &Bundle) -> Result<Stdio> {
    let process = bundle.spec.process().as_ref();
    check_terminal("config.json: process.terminal", has_terminal(process), &request.stdio)?;
    let streams = stdio::open(&request.stdio, &request.id, &request.namespace)?.on_terminal(&request.stdio)?;
    set_size(&streams.kept, process)?;
    Ok(streams)
}

/// Applies `process.consoleSize` if the process has a terminal.
fn set_size(kept: &Kept, process: Option<&oci::Process>) -> Result<()> {
    match process.and_then(|process| *process.console_size()) {
        Some(size) if has_terminal(process) => kept.resize(size.width() as u32, size.height() as u32),
        _ => Ok(()),
    }
}

fn has_terminal(process: Option<&oci::Process>) -> bool {
    process.and_then(|process| *process.terminal()).unwrap_or(false)
}

fn check_terminal(place: &str, said: bool, stdio: &stdio::Paths) -> Result<()> {
    if said == stdio.terminal {
        return Ok(());
    }
    let expected = format!("{}, as the request has it", stdio.terminal);
    Err(Error::refused(place, said.to_string(), expected))
}
