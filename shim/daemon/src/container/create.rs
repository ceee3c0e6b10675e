//! The parts of a creation: what is prepared for a worker, and the worker.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use catamaran_worker::job::{self, Job};
use log::info;
use nix::libc;
use tokio::sync::Notify;

use super::Request;
use crate::cache::{Artifact, Cache, Code, Wanted};
use crate::cgroup::Cgroup;
use crate::cleanup::state::{Folder, State};
use crate::container::spawn::{self, Failure, Worker};
use crate::error::{Doing, Error, Result};
use crate::files::devices;
use crate::files::handover::Handover;
use crate::files::mounts::Prepared;
use crate::finder::{Layers, Module, Order};
use crate::image::Image;
use crate::spec::bundle::Bundle;
use crate::spec::outline::Outline;
use crate::stdio::Stdio;
use crate::unless::unless;

/// Of what the finder hands back.
pub(super) const ROOT: job::Fd = job::Fd(0);

/// linux/magic.h: what a namespace's file lies on.
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// The first order of a Create: what `outline` says of the program is looked for in the root file system of `request`.
pub(super) fn order_root(request: &Request, outline: &Outline) -> Order {
    let (path, outline) = (outline.root(&request.bundle), outline.clone());
    Order::Root { rootfs: Layers::of(&request.rootfs), path, stage: request.bundle.join("rootfs"), outline }
}

/// What is to be run: a file's bytes, or the image's layer, which another process looks for.
pub(super) fn wanted(request: &Request, module: Module, file: Option<OwnedFd>) -> Result<Wanted> {
    match module {
        Module::File { name, digest } => Module::wanted(name, digest, file),
        Module::Nowhere(looked) => {
            let (address, namespace) = (request.address.clone(), request.namespace.clone());
            let image = Image { address, namespace, container: request.id.clone(), chosen: None };
            Ok(Wanted::Layer { image, looked })
        }
    }
}

/// What is mounted in the container: what was prepared, and the default devices.
pub(super) fn all_mounts(prepared: Vec<Prepared>, descriptors: &mut Handover) -> Result<Vec<job::Mount>> {
    let mut all: Vec<_> =
        prepared.into_iter().map(|p| job::Mount { destination: p.destination, source: p.source }).collect();
    let devices = devices::prepare(&all, descriptors)?;
    all.extend(devices);
    Ok(all)
}

pub(super) fn make_job(
    bundle: &Bundle,
    descriptors: &mut Handover,
    root: job::Fd,
    mounts: Vec<job::Mount>,
    streams: &Stdio,
) -> Result<Job> {
    let stdin = streams.stdin.try_clone().doing(|| "handing over standard input".to_owned())?;
    Ok(Job {
        guest: bundle.guest.clone(),
        stdin: descriptors.add(stdin),
        terminal: bundle.spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false),
        // Filled in when they exist.
        artifact: job::Fd(usize::MAX),
        cgroup: None,
        world: job::World::New(Box::new(make_world(bundle, descriptors, root, mounts)?)),
        user: bundle.user.clone(),
        rlimits: bundle.rlimits.clone(),
        oom_score_adj: bundle.spec.process().as_ref().and_then(|p| p.oom_score_adj()),
        seccomp: bundle.seccomp.clone(),
        apparmor: bundle.apparmor.clone(),
    })
}

fn make_world(
    bundle: &Bundle,
    descriptors: &mut Handover,
    root: job::Fd,
    mounts: Vec<job::Mount>,
) -> Result<job::NewWorld> {
    let mut namespaces = Vec::new();
    for namespace in &bundle.namespaces {
        let join = match &namespace.path {
            Some(path) => Some(descriptors.add(open_namespace(path)?)),
            None => None,
        };
        namespaces.push(job::Namespace { kind: namespace.kind, join });
    }
    let linux = bundle.spec.linux().as_ref();
    Ok(job::NewWorld {
        namespaces,
        hostname: bundle.spec.hostname().clone().filter(|name| !name.is_empty()),
        domainname: bundle.spec.domainname().clone().filter(|name| !name.is_empty()),
        sysctl: linux.and_then(|l| l.sysctl().clone()).unwrap_or_default().into_iter().collect(),
        root: job::Root {
            tree: root,
            at: bundle.path.join("rootfs").to_string_lossy().into_owned(),
            readonly: bundle.spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false),
        },
        mounts,
        masked: linux.and_then(|l| l.masked_paths().clone()).unwrap_or_default(),
        readonly: linux.and_then(|l| l.readonly_paths().clone()).unwrap_or_default(),
        hooks: !bundle.hooks.create.is_empty(),
    })
}

/// Opens a namespace by its path. Not a FIFO, a device or a terminal: opening one could hold up the shim, or do anything.
fn open_namespace(path: &Path) -> Result<OwnedFd> {
    let file =
        std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).on(path)?;
    if rustix::fs::fstatfs(&file).on(path)?.f_type as i64 != NSFS_MAGIC {
        let place = format!("config.json: linux.namespaces: {}", path.display());
        return Err(Error::refused(place, "not a namespace", "a file such as /proc/PID/ns/net or one bound to it"));
    }
    Ok(file.into())
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
    pub(super) async fn run(mut self, mut job: Job, mut descriptors: Handover) -> Result<(Worker, Code)> {
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
        job.cgroup = self.cgroup.folder_to_clone_into()?.map(|folder| descriptors.add(folder));
        job.artifact = descriptors.add(file.into());
        match self.worker(&code, &job, &descriptors).await {
            Ok(worker) => Ok((worker, code)),
            Err(Failure::Final(e)) => Err(self.cgroup.explain(e)),
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
            name: &program.to_string_lossy(),
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
    let forked = spawn::fork(start).await?;
    state.pid = forked.pid;
    state.poststop = bundle.hooks.poststop.clone();
    let recorded = states.write(id, state);
    let settled = match recorded {
        Ok(()) => cgroup.settle().await,
        failed => failed,
    };
    let prepared = match settled {
        Ok(()) if hooks => bundle.hooks.create.run(forked.pid).await.map(|()| forked.hooked()),
        settled => settled,
    };
    if let Err(e) = prepared {
        forked.end();
        return Err(e.into());
    }
    forked.ready(id, module).await
}
