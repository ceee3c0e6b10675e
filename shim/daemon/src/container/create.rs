//! The steps of a creation: prepares a worker, starts it, and undoes everything if a step fails.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use catamaran_cache::image::Image;
use catamaran_cache::module::Wanted;
use catamaran_cgroup::Cgroup;
use catamaran_files::handover::Handover;
use catamaran_files::outline::Outline;
use catamaran_files::search::{Layers, Module, MountPoint, Order};
use catamaran_host::programs::Program;
use catamaran_worker::job::{self, Job};
use log::{info, warn};
use tokio::time::Instant;

use super::draft::JobDraft;
use super::{Request, open_streams};
use crate::artifact::{Artifact, Cache, Code};
use crate::cleanup::state::{Folder, State};
use crate::container::intermediate::{Beginning, Intermediate};
use crate::container::spawn::{self, Failure, Worker};
use crate::engine::choice::Choice;
use crate::engine::engine_variable;
use crate::error::{Error, Result};
use crate::files::devices;
use crate::native::Record;
use crate::search::{Prepared, Search};
use crate::spec::bundle::Bundle;
use crate::spec::hooks::Stage;
use crate::stdio::{Logger, Stdio};

/// How long runc may take to remove a container, its hooks included.
const CLEARING: Duration = Duration::from_secs(10);

/// The root file system, among the descriptors that the search returns.
const ROOT: job::Fd = job::Fd(0);

/// Returns a Create's first order to the search: to look in the root file system of `request` for the program of `outline`.
pub(super) fn order_root(request: &Request, outline: &Outline) -> Order {
    let (path, outline) = (outline.root(&request.bundle), outline.clone());
    Order::Root { rootfs: Layers::all(&request.rootfs), path, stage: request.bundle.join("rootfs"), outline }
}

/// Returns the module to run: a file, or a layer of the image that the compile driver looks for.
fn wanted(request: &Request, module: Module, file: Option<OwnedFd>) -> Result<Wanted> {
    match module {
        Module::File { name, digest } => crate::search::wanted(name, digest, file),
        Module::Nowhere(looked) => {
            let (address, namespace) = (request.address.clone(), request.namespace.clone());
            let image = Image { address, namespace, container: request.id.clone(), chosen: None };
            Ok(Wanted::Layer { image, looked })
        }
    }
}

/// Returns all mounts of the container: the prepared ones, then the default devices.
fn all_mounts(prepared: Vec<MountPoint>, descriptors: &mut Handover) -> Result<Vec<job::Mount>> {
    let mut all: Vec<_> =
        prepared.into_iter().map(|p| job::Mount { destination: p.destination, source: p.source }).collect();
    let devices = devices::prepare(&all, descriptors)?;
    all.extend(devices);
    Ok(all)
}

/// A creation that has begun. Its state file names everything of it that exists outside the bundle, all of which is removed on failure.
pub(super) struct Creation {
    pub(super) request: Request,
    pub(super) bundle: Bundle,
    pub(super) cgroup: Cgroup,
    pub(super) streams: Stdio,
    pub(super) state: State,
    /// An intermediate of the program that most likely runs the module, started before the module is known.
    waiting: Option<Intermediate>,
}

/// A worker, and the code that it runs.
pub(super) struct Made {
    pub(super) worker: Worker,
    pub(super) code: Code,
    /// The address of an HTTP server; None for a command.
    pub(super) listen: Option<SocketAddr>,
}

impl Creation {
    /// Plans the cgroup, opens the streams, and writes the state file, which names everything that [`Creation::undo`] has to remove.
    pub(super) fn begin(request: Request, bundle: Bundle) -> Result<Self> {
        let cgroup = Cgroup::plan(&bundle.cgroup, bundle.resources())?;
        let streams = open_streams(&request, &bundle)?;
        let mut state = State::new(cgroup.folders().to_vec());
        state.logger = streams.kept.logger();
        request.state.write(&request.id, &state)?;
        Ok(Self { request, bundle, cgroup, streams, state, waiting: None })
    }

    /// Makes the cgroup and an intermediate while `search` looks for the module, and then a worker that runs the module.
    pub(super) async fn make(&mut self, mut search: Search, cache: &Cache, choice: &Choice) -> Result<Made> {
        self.cgroup.create()?;
        // A program that is missing is an error only if the module needs it.
        if let Some(program) = choice.targets().first().and_then(|target| target.worker().ok()) {
            self.waiting = Some(self.intermediate(&program, None)?);
        }
        let prepared = self.request.unless_given_up(search.prepared()).await;
        // The search has nothing to finish, and keeps the trees open.
        drop(search);
        let Prepared { descriptors, mounts, module, file } = prepared?;
        let wanted = wanted(&self.request, module, file)?;
        self.make_worker(cache, choice, wanted, mounts, descriptors).await
    }

    /// Starts a worker that runs the module `wanted`, and waits until it is ready.
    async fn make_worker(
        &mut self,
        cache: &Cache,
        choice: &Choice,
        mut wanted: Wanted,
        mounts: Vec<MountPoint>,
        mut descriptors: Handover,
    ) -> Result<Made> {
        let mounts = all_mounts(mounts, &mut descriptors)?;
        let mut draft = JobDraft::new(&self.bundle, &mut descriptors, ROOT, mounts, &self.streams)?;
        // This may take minutes. The logger comes first, because the client may be gone by the time that a compilation fails. The driver
        // goes on with the compilation if this future is dropped.
        let prepared = async {
            self.streams.ready().await?;
            cache.artifact(&wanted).await
        };
        let Artifact { file, code, counted: _counted } = self.request.unless_given_up(prepared).await?;
        wanted.decide(code.layer.as_ref());
        self.state.layer.clone_from(&code.layer);
        let server = choice.server(code.target, &self.bundle.guest, self.bundle.resources())?;
        let listen = server.as_ref().map(|server| server.listen);
        engine_variable::add_to(&mut draft.guest.env, code.target.engine());
        let cgroup = spawn::ways_into(&self.cgroup, self.cgroup.folder_to_clone_into()?, &mut descriptors);
        let job = draft.complete(descriptors.add(file.into()), cgroup, server, choice.rules())?;
        match self.bring_up(&code.target.worker()?, None, &code.module, &job, &descriptors).await {
            Ok(worker) => Ok(Made { worker, code, listen }),
            Err(Failure::Final(e)) => Err(spawn::explained(&self.cgroup, e)),
            Err(Failure::Artifact(reason)) => {
                info!("compiling {} again: {reason}", code.module);
                let Artifact { code, .. } = cache.compile(&wanted, code.target).await?;
                // A second worker would need all preparations anew: the first one's tree was attached, and its hooks have run.
                let reason = format!("{reason}: it was compiled anew, create the container again");
                Err(Error::Compiler { module: code.module, reason })
            }
        }
    }

    /// Starts the container's process and waits until the process is ready. Writes its pid to the state file as soon as there is one.
    /// `action` is the first argument of a program with several actions.
    pub(super) async fn bring_up(
        &mut self,
        program: &Program,
        action: Option<&str>,
        module: &str,
        job: &Job,
        descriptors: &Handover,
    ) -> std::result::Result<Worker, Failure> {
        let intermediate = self.intermediate(program, action)?;
        let Self { request, bundle, cgroup, state, .. } = self;
        let given = spawn::Assignment { module, job, descriptors, cgroup, further: false };
        let starting = spawn::start_worker(intermediate, given).await?;
        state.pid = starting.pid;
        state.poststop = bundle.hooks.poststop.clone();
        let recorded = request.state.write(&request.id, state);
        let settled = match recorded {
            Ok(()) => cgroup.settle().await.map_err(Error::from),
            failed => failed,
        };
        let prepared = match settled {
            Ok(()) if !bundle.hooks.create.is_empty() => {
                bundle.hooks.create.run(starting.pid).await.map(|()| starting.hooked())
            }
            settled => settled,
        };
        if let Err(e) = prepared {
            starting.end();
            return Err(e.into());
        }
        starting.ready(&request.id, module).await
    }

    /// Returns an intermediate of this program: the waiting one if it is of this program, else a new one.
    fn intermediate(&mut self, program: &Program, action: Option<&str>) -> Result<Intermediate> {
        match self.waiting.take() {
            Some(waiting) if waiting.runs(program) => return Ok(waiting),
            other => other.into_iter().for_each(Intermediate::dismiss),
        }
        let (id, streams) = (&self.request.id, &self.streams);
        let (stdout, stderr) = (streams.stdout.as_fd(), streams.stderr.as_fd());
        Intermediate::start(&Beginning { program, action, id, stdout, stderr })
    }

    /// Removes everything that this creation has made.
    pub(super) async fn undo(self) {
        let Self { request, cgroup, streams, state, waiting, .. } = self;
        waiting.into_iter().for_each(Intermediate::dismiss);
        let logger = streams.discard().map(|logger| (logger, Instant::now()));
        let left =
            Leftovers { states: &request.state, id: &request.id, native: None, cgroups: cgroup.folders(), logger };
        left.remove_or_warn(|| state.poststop).await;
    }
}

/// Everything of a container that lies outside its bundle.
pub(super) struct Leftovers<'a> {
    pub(super) states: &'a Folder,
    pub(super) id: &'a str,
    /// A native container's record.
    pub(super) native: Option<&'a Record>,
    pub(super) cgroups: &'a [PathBuf],
    /// The logger, and the time at which its input ended.
    pub(super) logger: Option<(Logger, Instant)>,
}

impl Leftovers<'_> {
    /// Removes all of this, the state file last: as long as that exists, `delete` can do the same again.
    pub(super) async fn remove(self, poststop: impl FnOnce() -> Stage) -> Result<()> {
        let cleared = match self.native {
            // runc kills the processes that still run, and removes the cgroup.
            Some(record) => Box::pin(record.clear(self.id, CLEARING)).await,
            None => Ok(()),
        };
        catamaran_cgroup::remove(self.cgroups).await.map_err(Error::from).and(cleared)?;
        if let Some((logger, ended)) = self.logger {
            logger.end(ended).await;
        }
        poststop().run_all().await;
        self.states.forget(self.id)
    }

    /// Does the same after a failed creation. Only logs errors, because the client needs the creation's error; `delete` finds the rest.
    pub(super) async fn remove_or_warn(self, poststop: impl FnOnce() -> Stage) {
        let id = self.id;
        if let Err(e) = self.remove(poststop).await {
            warn!("container {id}: {e}");
        }
    }
}
