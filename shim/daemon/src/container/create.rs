//! The parts of a creation: what is prepared for a worker, and the worker.

use std::os::fd::{AsFd, OwnedFd};

use catamaran_cache::image::Image;
use catamaran_cache::module::Wanted;
use catamaran_cgroup::Cgroup;
use catamaran_files::handover::Handover;
use catamaran_files::outline::Outline;
use catamaran_files::search::{Layers, Module, MountPoint, Order};
use catamaran_host::unless::unless;
use catamaran_worker::job::{self, Job};
use log::info;
use tokio::sync::Notify;

use super::Request;
use super::draft::JobDraft;
use crate::artifact::{Artifact, Cache, Code};
use crate::cleanup::state::{Folder, State};
use crate::container::spawn::{self, Failure, Worker};
use crate::error::{Error, Result};
use crate::files::devices;
use crate::spec::bundle::Bundle;
use crate::stdio::Stdio;

/// Of what the search hands back.
pub(super) const ROOT: job::Fd = job::Fd(0);

/// The first order of a Create: what `outline` says of the program is looked for in the root file system of `request`.
pub(super) fn order_root(request: &Request, outline: &Outline) -> Order {
    let (path, outline) = (outline.root(&request.bundle), outline.clone());
    Order::Root { rootfs: Layers::all(&request.rootfs), path, stage: request.bundle.join("rootfs"), outline }
}

/// What is to be run: a file's bytes, or the image's layer, which another process looks for.
pub(super) fn wanted(request: &Request, module: Module, file: Option<OwnedFd>) -> Result<Wanted> {
    match module {
        Module::File { name, digest } => crate::search::wanted(name, digest, file),
        Module::Nowhere(looked) => {
            let (address, namespace) = (request.address.clone(), request.namespace.clone());
            let image = Image { address, namespace, container: request.id.clone(), chosen: None };
            Ok(Wanted::Layer { image, looked })
        }
    }
}

/// What is mounted in the container: what was prepared, and the default devices.
pub(super) fn all_mounts(prepared: Vec<MountPoint>, descriptors: &mut Handover) -> Result<Vec<job::Mount>> {
    let mut all: Vec<_> =
        prepared.into_iter().map(|p| job::Mount { destination: p.destination, source: p.source }).collect();
    let devices = devices::prepare(&all, descriptors)?;
    all.extend(devices);
    Ok(all)
}

/// The part of a creation that needs its cgroup, and the cgroup.
pub(super) struct Creation<'a> {
    pub(super) id: &'a str,
    pub(super) bundle: &'a Bundle,
    pub(super) cache: &'a Cache,
    pub(super) wanted: &'a mut Wanted,
    pub(super) cgroup: &'a Cgroup,
    pub(super) streams: &'a mut Stdio,
    /// Where its state is written down.
    pub(super) states: &'a Folder,
    pub(super) state: &'a mut State,
    pub(super) given_up: &'a Notify,
}

impl Creation<'_> {
    pub(super) async fn run(mut self, draft: JobDraft, mut descriptors: Handover) -> Result<(Worker, Code)> {
        // What may take minutes. The logger comes before a compilation that nobody may be there to see fail; the compilation
        // is its driver's, and goes on.
        let prepared = async {
            self.streams.ready().await?;
            self.cache.artifact(self.wanted).await
        };
        let Some(prepared) = unless(self.given_up.notified(), prepared).await else {
            info!("container {} was given up while it was created", self.id);
            return Err(Error::NotFound(format!("container {}", self.id)));
        };
        let Artifact { file, code, counted: _counted } = prepared?;
        self.wanted.decide(code.layer.as_ref());
        self.state.layer.clone_from(&code.layer);
        self.cgroup.create()?;
        let cgroup = self.cgroup.folder_to_clone_into()?.map(|folder| descriptors.add(folder));
        let job = draft.complete(descriptors.add(file.into()), cgroup);
        match self.worker(&code, &job, &descriptors).await {
            Ok(worker) => Ok((worker, code)),
            Err(Failure::Final(e)) => Err(spawn::explained(self.cgroup, e)),
            Err(Failure::Artifact(reason)) => {
                info!("compiling {} again: {reason}", code.module);
                let Artifact { code, .. } = self.cache.compile(self.wanted, code.engine).await?;
                // What was prepared for a worker is spent by it: its tree was attached, its hooks have run.
                let reason = format!("{reason}: it was compiled anew, create the container again");
                Err(Error::Compiler { module: code.module, reason })
            }
        }
    }

    /// One worker, up to «ready».
    async fn worker(&mut self, code: &Code, job: &Job, descriptors: &Handover) -> std::result::Result<Worker, Failure> {
        let program = code.engine.worker()?;
        let start = spawn::Start {
            program: &program,
            action: None,
            id: self.id,
            module: &code.module,
            job,
            descriptors,
            cgroup: self.cgroup,
            further: false,
            stdout: self.streams.stdout.as_fd(),
            stderr: self.streams.stderr.as_fd(),
        };
        bring_up(start, self.bundle, self.states, self.state).await
    }
}

/// One process, up to «ready», recorded as soon as it exists.
pub(super) async fn bring_up(
    start: spawn::Start<'_>,
    bundle: &Bundle,
    states: &Folder,
    state: &mut State,
) -> std::result::Result<Worker, Failure> {
    let (id, module, cgroup, hooks) = (start.id, start.module, start.cgroup, !bundle.hooks.create.is_empty());
    let starting = spawn::start_worker(start).await?;
    state.pid = starting.pid;
    state.poststop = bundle.hooks.poststop.clone();
    let recorded = states.write(id, state);
    let settled = match recorded {
        Ok(()) => cgroup.settle().await.map_err(Error::from),
        failed => failed,
    };
    let prepared = match settled {
        Ok(()) if hooks => bundle.hooks.create.run(starting.pid).await.map(|()| starting.hooked()),
        settled => settled,
    };
    if let Err(e) = prepared {
        starting.end();
        return Err(e.into());
    }
    starting.ready(id, module).await
}
