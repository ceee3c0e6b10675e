//! Gives up a process's rights, step by step. The order matters: a comment at a step says why it stands there.

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

/// The values that the worker inherits from the intermediate, in its copy of the memory.
#[derive(Default)]
pub(crate) struct Surroundings {
    /// Failures that need not stop the container.
    warnings: Vec<String>,
    /// The host's procfs, if the worker needs it for its label.
    procfs: Option<OwnedFd>,
}

/// Makes and enters the worker's namespaces and tree, in the intermediate: when the worker is cloned, its mount namespace has
/// nothing but the container's tree. If the job has hooks, the tree is left unfinished for them.
pub(crate) fn surround(
    job: &Job,
    descriptors: &mut control::Descriptors,
) -> Result<(Surroundings, Option<UnfinishedTree>), ConfineError> {
    // Now, while /proc is the host's. A clone inherits the score and the command line.
    let warnings = credentials::oom_score(job)?.into_iter().collect();
    // A kernel built without CONFIG_CHECKPOINT_RESTORE goes on showing this program's own command line: nothing depends on it.
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

/// Restricts this thread, and those that it will make, for good to what a loaded module needs and the spec's profile allows.
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

/// The results of the confinement that later steps need.
pub(crate) struct Confined {
    /// Failures that need not stop the container.
    pub(crate) warnings: Vec<String>,
    /// The label to apply before guest code runs.
    pub(crate) label: Option<Label>,
    /// The folder in which the artifact has a name, if one was asked for: the process leaves it before guest code runs.
    pub(crate) descriptors: Option<Descriptors>,
    /// The container's list of users, if the guest needs it for its home directory.
    pub(crate) users: Option<File>,
}

impl<'a> Confinement<'a> {
    pub(crate) fn new(job: &'a Job, descriptors: &'a mut control::Descriptors, surroundings: Surroundings) -> Self {
        Self { job, descriptors, surroundings, by_name: false, executes: false }
    }

    /// Says whether the engine opens the artifact by a name.
    pub(crate) fn by_name(self, by_name: bool) -> Self {
        Self { by_name, ..self }
    }

    /// Leaves Landlock out, which forbids exec: for a process that executes another program as its last act.
    pub(crate) fn executes(self) -> Self {
        Self { executes: true, ..self }
    }

    /// Confines this process for good. From its first moment on the container's tree is the only one that the process can name.
    pub(crate) fn apply(self) -> Result<Confined, ConfineError> {
        let Surroundings { warnings, procfs } = self.surroundings;
        let label = Label::open(self.job, procfs)?;
        credentials::own_keyring()?;
        // While this process may mount, and in the worker's own pid namespace.
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
        // After the last change of credentials, which would clear it. If the shim died before, the control socket is closed.
        credentials::die_with_parent()?;
        credentials::no_new_privileges()?;
        if !self.executes {
            landlock::restrict()?;
        }
        Ok(Confined { warnings, label, descriptors, users })
    }
}
