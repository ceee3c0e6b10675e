//! The two stages of a container's process: the intermediate that joins namespaces, and the worker that it clones.
#![allow(unsafe_code, reason = "clone3 has no safe form; the SAFETY comment at the call says why it is sound here")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::ExitCode;

use nix::libc;
use nix::sched::CloneFlags;
use rustix::pipe::PipeFlags;

use crate::confine::{self, ConfineError, Confined, Confinement, Label};
use crate::control::{self, Cause, Descriptors, Report};
use crate::engine::{Engine, EngineError};
use crate::job::{Job, NamespaceKind, NewWorld, World};
use crate::quote;

/// Why no worker came to wait for Start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StageError {
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl StageError {
    fn cause(&self) -> Cause {
        match self {
            StageError::Confine(_) => Cause::Confinement,
            StageError::Engine(EngineError::Artifact(_)) => Cause::Artifact,
            StageError::Engine(EngineError::Module(_)) => Cause::Module,
        }
    }
}

/// Which of the two processes goes on after the clone.
enum Side {
    Intermediate {
        pid: i32,
        worker: OwnedFd,
        /// Takes one byte once the shim knows of the worker.
        told: OwnedFd,
    },
    Worker {
        /// Gives that byte: both report on one socket, and the shim is to know whom it hears.
        known: OwnedFd,
    },
}

/// The whole of an engine's executable, with the control socket as its standard input.
pub fn run<E: Engine>() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|argument| argument == "--version") {
        println!("{}", E::VERSION);
        return ExitCode::SUCCESS;
    }
    staged(worker::<E>)
}

/// Both stages: what `second` does is done in the container's namespaces.
pub(crate) fn staged(second: fn(&Job, Descriptors, Line) -> ExitCode) -> ExitCode {
    // First of all, and for the clone too: a process of the namespace that is joined could otherwise open this program's
    // file, its descriptors or the host's root through /proc while the worker is not confined yet.
    if let Err(e) = confine::close_to_others() {
        eprintln!("{e}");
        return ExitCode::FAILURE;
    }
    // The descriptor moves away from 0 at once: 0 becomes the guest's standard input.
    let control = match rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) {
        Ok(control) => control,
        Err(e) => return usage(&e.into()),
    };
    let (job, mut descriptors) = match control::receive_job(control.as_fd()) {
        Ok(received) => received,
        // The shim gave up before it sent one: the container's stderr is no place to say so.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return ExitCode::FAILURE,
        Err(e) => return usage(&e),
    };
    match intermediate(&job, &mut descriptors) {
        Ok(Side::Intermediate { pid, worker, told }) => {
            // Without that byte, for whatever reason, the worker ends: the shim has no hold on it.
            let reported = control::report(control.as_fd(), &Report::Forked { pid }, Some(worker.as_fd()));
            match reported.is_ok() && rustix::io::write(&told, &[1]).is_ok() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Ok(Side::Worker { known }) => second(&job, descriptors, Line { control, known: Some(known) }),
        Err(e) => fail(&control, e.into()),
    }
}

fn usage(e: &io::Error) -> ExitCode {
    eprintln!(
        "this is a worker of containerd-shim-catamaran-v1, which starts it with a job on its standard input: {e}"
    );
    ExitCode::from(2)
}

pub(crate) fn fail(control: &OwnedFd, e: StageError) -> ExitCode {
    let report = Report::Failed { cause: e.cause(), text: control::cut(quote::shortened(&e.to_string()).into_owned()) };
    // Nobody else is left to tell: standard error is the container's, and a shim that is gone needs no report.
    let _ = control::report(control.as_fd(), &report, None);
    ExitCode::FAILURE
}

/// Joins what exists, clones the worker into what is new.
fn intermediate(job: &Job, descriptors: &mut Descriptors) -> Result<Side, ConfineError> {
    use confine::step;
    let new = match &job.world {
        World::New(world) => join_or_make(world, descriptors)?,
        World::Of(process) => {
            // By its pidfd, so that it is this very process or nobody. Not all of them: the rest is for the worker itself,
            // which is in its pid namespace then.
            let process = step("taking the container's process", descriptors.lend(*process))?;
            let flags = CloneFlags::CLONE_NEWNET
                | CloneFlags::CLONE_NEWIPC
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWPID;
            step("joining the container's namespaces", nix::sched::setns(process, flags))?;
            CloneFlags::empty()
        }
    };
    let cgroup = job.cgroup.map(|fd| descriptors.take(fd)).transpose();
    let cgroup = step("taking the cgroup", cgroup)?;
    let (known, told) = step("making a pipe", rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?;
    match step("cloning the worker", clone_worker(new, cgroup.as_ref()))? {
        None => Ok(Side::Worker { known }),
        Some((pid, worker)) => Ok(Side::Intermediate { pid, worker, told }),
    }
}

/// Joins the namespaces of a container's world that exist: those that the worker is to be cloned into are left.
fn join_or_make(world: &NewWorld, descriptors: &mut Descriptors) -> Result<CloneFlags, ConfineError> {
    use confine::step;
    let mut new = CloneFlags::CLONE_NEWNS;
    for namespace in &world.namespaces {
        let flag = match namespace.kind {
            NamespaceKind::Net => CloneFlags::CLONE_NEWNET,
            NamespaceKind::Ipc => CloneFlags::CLONE_NEWIPC,
            NamespaceKind::Uts => CloneFlags::CLONE_NEWUTS,
            NamespaceKind::Pid => CloneFlags::CLONE_NEWPID,
            NamespaceKind::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        };
        match namespace.join {
            Some(fd) => {
                let fd = step("taking a namespace", descriptors.take(fd))?;
                step(format_args!("joining the {:?} namespace", namespace.kind), nix::sched::setns(fd, flag))?;
            }
            // Its root would be the intermediate's cgroup if it were made by the clone: the worker makes it.
            None if namespace.kind == NamespaceKind::Cgroup => {}
            None => new |= flag,
        }
    }
    Ok(new)
}

/// linux/sched.h; the libc crate's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// clone3(2) with the shim as the worker's parent and, on cgroup v2, straight into its cgroup. The worker's pid and pidfd,
/// or nothing in the worker itself.
fn clone_worker(new: CloneFlags, cgroup: Option<&OwnedFd>) -> io::Result<Option<(i32, OwnedFd)>> {
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
            let worker = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Some((pid as i32, worker)))
        }
        _ => Err(no_process(io::Error::last_os_error())),
    }
}

/// The kernel says no more of a limit than «resource temporarily unavailable».
fn no_process(e: io::Error) -> io::Error {
    if e.raw_os_error() != Some(libc::EAGAIN) {
        return e;
    }
    let text =
        format!("pids.limit of the container or pids.max of a cgroup above it, such as its pod's, is reached ({e})");
    io::Error::new(e.kind(), text)
}

/// The worker's line to the shim.
pub(crate) struct Line {
    pub(crate) control: OwnedFd,
    /// Until the shim knows of the worker: the intermediate and the worker report on one socket.
    known: Option<OwnedFd>,
}

impl Line {
    /// Returns when the shim knows of this process. An error when it never will.
    pub(crate) fn be_known(&mut self) -> io::Result<()> {
        match self.known.take() {
            Some(known) if !matches!(rustix::io::read(&known, &mut [0]), Ok(1)) => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the intermediate ended without a report"))
            }
            _ => Ok(()),
        }
    }

    /// Returns when the job's hooks have run, if it has any.
    pub(crate) fn await_hooks(&mut self, job: &Job) -> io::Result<()> {
        if matches!(&job.world, World::New(new) if new.hooks) {
            self.be_known()?;
            control::await_hooked(self.control.as_fd())?;
        }
        Ok(())
    }
}

/// Confines itself, loads, links, reports, waits, runs.
fn worker<E: Engine>(job: &Job, mut descriptors: Descriptors, mut line: Line) -> ExitCode {
    let prepared = prepare::<E>(job, &mut descriptors, &mut line);
    if line.be_known().is_err() {
        return ExitCode::FAILURE;
    }
    let control = line.control;
    let (program, warnings) = match prepared {
        Ok(prepared) => prepared,
        Err(e) => return fail(&control, e),
    };
    // What the job sent and nobody took ends here; the guest's process keeps 0, 1, 2 and what the engine opened.
    drop(descriptors);
    if control::report(control.as_fd(), &Report::Ready { warnings }, None).is_err() {
        return ExitCode::FAILURE;
    }
    match control::await_start(control.as_fd()) {
        Ok(true) => {}
        // The shim is gone, and with it the one that could ever start or delete this container. The parent-death
        // signal may have come too early for this process to have asked for it; the socket closes in any case.
        _ => return ExitCode::FAILURE,
    }
    drop(control);
    program()
}

/// Makes standard input's terminal the controlling one: of a session of its own, to which its signals go.
fn take_terminal() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?)
}

fn prepare<E: Engine>(
    job: &Job,
    descriptors: &mut Descriptors,
    line: &mut Line,
) -> Result<(E::Program, Vec<String>), StageError> {
    if job.terminal {
        // In a session of its own it is no member of the group any more that the shim ends and reaps where nobody reports it,
        // and a pid namespace whose first process ends waits for each that was not reaped.
        confine::step("waiting for the intermediate", line.be_known())?;
    }
    let artifact = confine::step("taking the artifact", descriptors.take(job.artifact))?;
    let stdin = confine::step("taking standard input", descriptors.take(job.stdin))?;
    confine::step("opening standard input", rustix::stdio::dup2_stdin(&stdin))?;
    drop(stdin);
    if job.terminal {
        confine::step("taking the terminal", take_terminal())?;
    }
    let artifact = File::from(artifact);
    let confinement = Confinement::new(job, descriptors).by_name(E::maps_by_name(&artifact));
    let Confined { warnings, label, descriptors: names } = confinement.apply(|| line.await_hooks(job))?;
    confine::step("installing signal handlers", crate::signals::end_on_signals())?;
    // Confined first: the artifact was made from hostile bytes by a process that met them. Mapping it needs its
    // descriptor alone.
    let engine = match names {
        None => E::load(artifact)?,
        Some(names) => names.while_in(|| E::load(artifact))??,
    };
    label.map_or(Ok(()), Label::apply)?;
    // From here on nothing becomes executable.
    if E::FILTERED {
        confine::restrict(job.seccomp.as_ref(), engine.needs())?;
    }
    Ok((engine.link(&job.guest)?, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Guest;
    use crate::job::{Fd, User};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    struct Nothing;

    impl Engine for Nothing {
        const VERSION: &'static str = "";
        type Program = fn() -> ExitCode;

        fn load(_: File) -> Result<Self, EngineError> {
            Err(EngineError::Module("loaded".to_owned()))
        }

        fn link(self, _: &Guest) -> Result<Self::Program, EngineError> {
            Err(EngineError::Module("linked".to_owned()))
        }
    }

    #[test]
    fn a_worker_that_nobody_reports_takes_no_terminal() {
        let (shim, worker) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let job = Job {
            guest: Guest { args: Vec::new(), env: Vec::new(), cwd: "/".to_owned() },
            stdin: Fd(0),
            terminal: true,
            artifact: Fd(1),
            cgroup: None,
            world: World::Of(Fd(2)),
            user: User { uid: 0, gid: 0, groups: Vec::new(), umask: 0o022 },
            rlimits: Vec::new(),
            oom_score_adj: None,
            seccomp: None,
            apparmor: None,
        };
        control::send_job(shim.as_fd(), &job, &[]).unwrap();
        let (job, mut descriptors) = control::receive_job(worker.as_fd()).unwrap();
        // The intermediate was killed between its clone and its report.
        let (known, told) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        drop(told);
        let mut line = Line { control: worker, known: Some(known) };
        let Err(stopped) = prepare::<Nothing>(&job, &mut descriptors, &mut line) else { panic!("prepared") };
        assert!(stopped.to_string().starts_with("waiting for the intermediate: "), "{stopped}");
    }
}
