//! How a process gives up what it could do. The order is the point; each step says why it stands where it does.

mod accepts;
mod apparmor;
mod commands;
mod connects;
mod credentials;
mod descriptors;
mod detached;
mod landlock;
mod mountpoint;
mod mounts;
mod namespaces;
mod procfs;
mod rules;
mod sockets;
mod syscalls;
mod title;
mod workdir;

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use crate::control;
use crate::home;
use crate::job::{Job, Profile, World};
use crate::runner::Needs;

pub(crate) use apparmor::Label;
pub use credentials::Allowance;
pub use credentials::{close_inherited, take_name};
pub(crate) use credentials::{close_to_others, keep_one, without_rights};
pub(crate) use descriptors::Descriptors;
pub(crate) use mounts::UnfinishedTree;
pub use mounts::empty_root;

/// A step of the confinement that failed, for the user.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub(crate) struct ConfineError {
    step: String,
    source: io::Error,
}

/// Names the step that failed.
pub(crate) fn step<T>(name: impl Display, result: Result<T, impl Into<io::Error>>) -> Result<T, ConfineError> {
    result.map_err(|e| ConfineError { step: name.to_string(), source: e.into() })
}

/// What the worker has from the intermediate, in its own copy of the memory.
#[derive(Default)]
pub(crate) struct Surroundings {
    /// What could not be done but need not stop the container.
    warnings: Vec<String>,
    /// The host's, where the worker needs it for its label.
    procfs: Option<OwnedFd>,
}

/// Makes and enters what the worker is to live in, in the intermediate: its mount namespace has nothing but the container's tree
/// when it is cloned. Where there are hooks, the tree is left unfinished for them.
pub(crate) fn surround(
    job: &Job,
    descriptors: &mut control::Descriptors,
) -> Result<(Surroundings, Option<UnfinishedTree>), ConfineError> {
    // While /proc is the host's. A clone inherits the score and the command line.
    let warnings = credentials::oom_score(job)?.into_iter().collect();
    // A kernel that was built without CONFIG_CHECKPOINT_RESTORE shows this program's own words: nothing depends on them.
    title::show(&job.guest.args).ok();
    let procfs = apparmor::procfs(job)?;
    let unfinished = match &job.world {
        World::New(new) => {
            namespaces::join_or_make(new, descriptors)?;
            namespaces::host_names(new)?;
            namespaces::loopback_up(new)?;
            namespaces::sysctls(new)?;
            let tree = UnfinishedTree::build(new, descriptors)?;
            if new.hooks {
                Some(tree)
            } else {
                tree.finish(new, &job.guest.cwd)?;
                None
            }
        }
        World::Of(process) => {
            let process = step("taking the container's process", descriptors.lend(*process))?;
            namespaces::join_those_of(process)?;
            None
        }
    };
    credentials::belong_to_nobody()?;
    Ok((Surroundings { warnings, procfs }, unfinished))
}

/// Leaves this thread, and those that it will make, what a loaded module needs of the kernel and the spec's profile allows, for good.
pub(crate) fn restrict(profile: Option<&Profile>, needs: Needs) -> Result<(), ConfineError> {
    landlock::restrict_tcp(needs)?;
    syscalls::restrict(profile, needs)
}

/// A worker's way from the host's rights to none.
pub(crate) struct Confinement<'a> {
    job: &'a Job,
    descriptors: &'a mut control::Descriptors,
    surroundings: Surroundings,
    by_name: bool,
    executes: bool,
}

/// What is left once the process is confined.
pub(crate) struct Confined {
    /// What could not be done but need not stop the container.
    pub(crate) warnings: Vec<String>,
    /// To be applied before guest code runs.
    pub(crate) label: Option<Label>,
    /// Where the artifact has a name, if one was asked for: to be left before guest code runs.
    pub(crate) descriptors: Option<Descriptors>,
    /// The container's users, where the guest has no home directory without them.
    pub(crate) users: Option<File>,
}

impl<'a> Confinement<'a> {
    pub(crate) fn new(job: &'a Job, descriptors: &'a mut control::Descriptors, surroundings: Surroundings) -> Self {
        Self { job, descriptors, surroundings, by_name: false, executes: false }
    }

    /// Whether the artifact is going to be opened by a name.
    pub(crate) fn by_name(self, by_name: bool) -> Self {
        Self { by_name, ..self }
    }

    /// For a process that executes another program as its last act: Landlock would not let it.
    pub(crate) fn executes(self) -> Self {
        Self { executes: true, ..self }
    }

    /// Confines this process for good. The container's tree is the only one that it can name from its first moment on.
    pub(crate) fn apply(self) -> Result<Confined, ConfineError> {
        let Surroundings { warnings, procfs } = self.surroundings;
        let label = Label::open(self.job, procfs)?;
        credentials::own_keyring()?;
        // A mount, and of the pid namespace that the worker is in.
        let descriptors = if self.by_name { Some(Descriptors::open()?) } else { None };
        if let World::Of(process) = &self.job.world {
            let process = step("taking the container's process", self.descriptors.take(*process))?;
            namespaces::join_cgroup_of(process)?;
        }
        let entered = workdir::try_to_enter(&self.job.guest.cwd)?;
        let users = home::users(&self.job.guest);
        // Before the capabilities go: a hard limit may be raised only with them.
        credentials::limits(self.job)?;
        credentials::user(self.job)?;
        if !entered {
            workdir::enter(&self.job.guest.cwd)?;
        }
        credentials::drop_capabilities()?;
        // After the last change of credentials, which would clear it. A shim that died before is seen on the control
        // socket.
        credentials::die_with_parent()?;
        credentials::no_new_privileges()?;
        if !self.executes {
            landlock::restrict()?;
        }
        Ok(Confined { warnings, label, descriptors, users })
    }
}
