//! The intermediate: makes the worker's namespaces and file tree, and clones the worker into them.
//!
//! A process is visible to all others of its pid namespace from its clone on, and those may be another container's of the pod.
//! So the intermediate does everything that needs the host's file tree, outside of that namespace: the worker is in the
//! container's tree from its first moment.
//!
//! Whatever does it is in the container's cgroup before, so that the pod is charged for it. On v2 that is a copy of the intermediate,
//! cloned into the cgroup, because a process that moves there waits for RCU, 8 ms and more. On v1 it is the intermediate: a process
//! that has one thread and moves itself does not wait ([`enter`]).
#![allow(unsafe_code, reason = "clone3 has no safe form; the SAFETY comment at the call says why it is sound here")]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use nix::libc;
use nix::sched::CloneFlags;
use rustix::pipe::PipeFlags;
use rustix::process::PidfdFlags;

use crate::confine::{self, ConfineError, Surroundings, UnfinishedTree, step};
use crate::control::{self, Descriptors, Report};
use crate::failure::fail;
use crate::job::{Cgroup, Job, NamespaceKind, World};

/// The process in which [`divide`] returns.
pub(crate) enum Side {
    /// The intermediate whose copy, inside the cgroup, does its work.
    Outside(Copied),
    Intermediate(Intermediate),
    Worker {
        /// Gives a byte once the shim knows of the worker: both stages report on one socket, and the shim must know which it hears.
        known: OwnedFd,
        surroundings: Surroundings,
    },
}

/// The remaining work of the process that has cloned the worker.
pub(crate) struct Intermediate {
    pid: i32,
    worker: OwnedFd,
    /// Takes one byte once the shim knows of the worker.
    told: OwnedFd,
    /// The tree, if hooks are to see it before it is finished.
    tree: Option<UnfinishedTree>,
    copy: Option<Copy>,
}

/// The intermediate's wait for its copy, which sends a byte when it has done its work.
pub(crate) struct Copied(OwnedFd);

/// This process is the intermediate's copy.
struct Copy {
    done: OwnedFd,
}

impl Copied {
    pub(crate) fn await_end(self) -> ExitCode {
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut [0])) {
            Ok(1) => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

impl Intermediate {
    /// Tells the shim of the worker, and finishes the tree after the hooks.
    pub(crate) fn hand_over(self, job: &Job, control: &OwnedFd) -> ExitCode {
        // A worker that gets no byte ends by itself, because the shim does not know of it and could not end it.
        if self.report(control).is_err() {
            return ExitCode::FAILURE;
        }
        if let (Some(tree), World::New(world)) = (self.tree, &job.world) {
            let hooked = step("waiting for the hooks", control::await_hooked(control.as_fd()));
            if let Err(e) = hooked.and_then(|()| tree.finish(world, &job.guest.cwd)) {
                return fail(control, e.into());
            }
        }
        if rustix::io::write(&self.told, &[1]).is_err() {
            return ExitCode::FAILURE;
        }
        match self.copy.map(|copy| rustix::io::write(&copy.done, &[1])) {
            Some(Err(_)) => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        }
    }

    fn report(&self, control: &OwnedFd) -> io::Result<()> {
        // The copy is the shim's child too, and the shim is to reap it.
        let copy = match &self.copy {
            Some(_) => Some(rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?),
            None => None,
        };
        let descriptors: Vec<_> = [self.worker.as_fd()].into_iter().chain(copy.as_ref().map(AsFd::as_fd)).collect();
        control::report(control.as_fd(), &Report::Cloned { pid: self.pid }, &descriptors)
    }
}

/// Makes the worker's namespaces and file tree, and clones the worker.
pub(crate) fn divide(job: &Job, descriptors: &mut Descriptors) -> Result<Side, ConfineError> {
    let cgroup = job.cgroup.clone_into.map(|fd| descriptors.take(fd)).transpose();
    let mut cgroup = step("taking the cgroup", cgroup)?;
    let mut copy = None;
    if let Some(inside) = cgroup.take_if(|_| needs_copy(&job.world, &job.cgroup)) {
        let (end, done) = step("making a pipe", rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?;
        match step("entering the cgroup", clone(CloneFlags::empty(), Some(&inside)))? {
            Some(_) => return Ok(Side::Outside(Copied(end))),
            None => copy = Some(Copy { done }),
        }
    }
    enter(&job.cgroup.enter)?;
    let pids = pid_namespace(job, descriptors)?;
    let (surroundings, tree) = confine::surround(job, descriptors)?;
    let (known, told) = step("making a pipe", rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?;
    let cloned = match &tree {
        Some(tree) => tree.while_in(|| clone_worker(&pids, cgroup.as_ref())),
        None => clone_worker(&pids, cgroup.as_ref()),
    };
    let cloned = step("cloning the worker", cloned)?;
    Ok(match cloned {
        None => Side::Worker { known, surroundings },
        Some((pid, worker)) => Side::Intermediate(Intermediate { pid, worker, told, tree, copy }),
    })
}

/// Whether the container's tree is made by a copy of the intermediate, in the cgroup of v2.
///
/// For an exec there is no tree to make. On v1 the intermediate is charged through v1's trees, and v2's, which may lie beside them, has
/// no controller of memory. There only a cgroup namespace needs the copy: its root is the cgroup of the process that makes it, and a
/// process in it may clone into no cgroup outside.
fn needs_copy(world: &World, cgroup: &Cgroup) -> bool {
    let World::New(world) = world else { return false };
    cgroup.enter.is_empty() || world.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::Cgroup)
}

/// Moves this process into cgroups of v1. All of it is one thread, which the kernel moves by itself: a write to `cgroup.procs`, which
/// moves all threads, waits for RCU, as does a write of any other thread's number.
fn enter(folders: &[PathBuf]) -> Result<(), ConfineError> {
    folders.iter().try_for_each(|folder| {
        let tasks = folder.join("tasks");
        // 0 is this thread.
        let moved = File::options().write(true).open(&tasks).and_then(|mut file| file.write_all(b"0"));
        step(format_args!("entering the cgroup, {}", tasks.display()), moved)
    })
}

/// The worker's pid namespace.
enum Pids {
    /// The host's.
    Shared,
    New,
    /// The namespace of the process with this pidfd, or the namespace that this descriptor holds.
    Of(OwnedFd),
}

fn pid_namespace(job: &Job, descriptors: &mut Descriptors) -> Result<Pids, ConfineError> {
    let world = match &job.world {
        World::New(world) => world,
        World::Of(process) => {
            let process = descriptors.lend(*process).and_then(|process| process.try_clone_to_owned());
            return step("taking the container's process", process).map(Pids::Of);
        }
    };
    match world.namespaces.iter().find(|namespace| namespace.kind == NamespaceKind::Pid).map(|pid| pid.join) {
        None => Ok(Pids::Shared),
        Some(None) => Ok(Pids::New),
        Some(Some(fd)) => step("taking a namespace", descriptors.take(fd)).map(Pids::Of),
    }
}

/// Clones the worker. From here on other processes of its pid namespace may see it.
fn clone_worker(pids: &Pids, cgroup: Option<&OwnedFd>) -> io::Result<Option<(i32, OwnedFd)>> {
    let new = match pids {
        Pids::Shared => CloneFlags::empty(),
        Pids::New => CloneFlags::CLONE_NEWPID,
        Pids::Of(process) => {
            nix::sched::setns(process, CloneFlags::CLONE_NEWPID)
                .map_err(|e| io::Error::new(io::Error::from(e).kind(), format!("joining the Pid namespace: {e}")))?;
            CloneFlags::empty()
        }
    };
    clone(new, cgroup)
}

/// linux/sched.h; the libc crate's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Calls clone3(2) with the shim as the child's parent and, on cgroup v2, straight into `cgroup`. Returns the child's pid and
/// pidfd, or None in the child itself.
fn clone(new: CloneFlags, cgroup: Option<&OwnedFd>) -> io::Result<Option<(i32, OwnedFd)>> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all-zero is a valid clone_args: no stack and no thread storage of its own, as for fork(2).
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = new.bits() as u64 | libc::CLONE_PARENT as u64 | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child has its own copy of this memory, as after fork. This process has one thread
    // (the engine is not initialised yet), so that no lock can be held by a thread that the copy lacks.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        0 => Ok(None),
        pid if pid > 0 => {
            // SAFETY: the kernel wrote a new descriptor there, which nothing else owns.
            let child = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Some((pid as i32, child)))
        }
        _ => Err(no_process(io::Error::last_os_error())),
    }
}

/// Explains EAGAIN, "resource temporarily unavailable", as a limit.
fn no_process(e: io::Error) -> io::Error {
    if e.raw_os_error() != Some(libc::EAGAIN) {
        return e;
    }
    let text =
        format!("pids.limit of the container or pids.max of a cgroup above it, such as its pod's, is reached ({e})");
    io::Error::new(e.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Fd, Namespace, NewWorld, Root};
    use std::fs;

    #[test]
    fn a_process_moves_itself_into_each_of_v1s_trees() {
        let root = std::env::temp_dir().join(format!("catamaran-enter-{}", std::process::id()));
        let folders = ["cpu", "memory"].map(|tree| root.join(tree));
        for folder in &folders {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("tasks"), "").unwrap();
        }
        enter(&folders).unwrap();
        for folder in &folders {
            assert_eq!(fs::read_to_string(folder.join("tasks")).unwrap(), "0");
        }
        fs::remove_dir_all(&root).unwrap();
        let gone = enter(&folders).unwrap_err().to_string();
        assert!(gone.starts_with(&format!("entering the cgroup, {}/tasks: ", folders[0].display())), "{gone}");
    }

    #[test]
    fn a_copy_makes_the_tree_where_v2_charges_for_it_or_roots_a_namespace() {
        let v1 = || Cgroup { enter: vec!["/sys/fs/cgroup/memory/c".into()], clone_into: Some(Fd(3)) };
        let v2 = || Cgroup { enter: Vec::new(), clone_into: Some(Fd(3)) };
        let new = |kind| {
            World::New(Box::new(NewWorld {
                namespaces: vec![Namespace { kind, join: None }],
                hostname: None,
                domainname: None,
                sysctl: Vec::new(),
                root: Root { tree: Fd(0), at: "/".to_owned(), readonly: true },
                mounts: Vec::new(),
                masked: Vec::new(),
                readonly: Vec::new(),
                hooks: false,
            }))
        };
        let (own, other) = (NamespaceKind::Cgroup, NamespaceKind::Net);
        for (world, cgroup, copied) in [
            (new(other), v2(), true),
            (new(own), v2(), true),
            (new(other), v1(), false),
            (new(own), v1(), true),
            (World::Of(Fd(2)), v2(), false),
            (World::Of(Fd(2)), v1(), false),
        ] {
            assert_eq!(needs_copy(&world, &cgroup), copied, "{world:?} {cgroup:?}");
        }
    }
}
