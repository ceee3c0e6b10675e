//! The two stages of a container's process: the intermediate that joins namespaces, and the worker that it clones.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use crate::confine::{self, Confined, Confinement, Label, Surroundings};
use crate::control::{self, Descriptors, Report};
use crate::failure::{StageError, fail};
use crate::home;
use crate::intermediate::{self, Side};
use crate::job::{Job, World};
use crate::runner::{Runner, Terms};
use crate::version;

/// Runs the whole of an engine's executable, with the control socket as its standard input.
pub fn run<R: Runner>() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|argument| argument == "--version") {
        println!("{}", R::VERSION);
        return ExitCode::SUCCESS;
    }
    staged(worker::<R>)
}

/// Runs both stages; `second` runs in the container's namespaces.
pub(crate) fn staged(second: fn(&Job, Descriptors, Line, Surroundings) -> ExitCode) -> ExitCode {
    crate::panics::end_the_process();
    // First of all, and for the clone too: a process of the namespace that this one joins could otherwise open this program's
    // file, its descriptors or the host's root through /proc while the worker is not confined yet.
    if let Err(e) = confine::close_to_others(&[]) {
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
        // The shim gave up before it sent a job. Standard error is the container's, and no place to say so.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return ExitCode::FAILURE,
        Err(e) => match version::other(&e) {
            Some(other) => return fail(&control, other.clone().into()),
            None => return usage(&e),
        },
    };
    match intermediate::divide(&job, &mut descriptors) {
        Ok(Side::Outside(copy)) => copy.await_end(),
        Ok(Side::Intermediate(intermediate)) => intermediate.hand_over(&job, &control),
        Ok(Side::Worker { known, surroundings }) => {
            let mut line = Line { control, known: Some(known) };
            // Wait until the hooks have run and the intermediate has finished the tree after them.
            match has_hooks(&job).then(|| line.be_known()) {
                Some(Err(_)) => ExitCode::FAILURE,
                _ => second(&job, descriptors, line, surroundings),
            }
        }
        Err(e) => fail(&control, e.into()),
    }
}

/// Whether the shim runs hooks after the worker's clone and before its tree is finished.
pub(crate) fn has_hooks(job: &Job) -> bool {
    matches!(&job.world, World::New(new) if new.hooks)
}

fn usage(e: &io::Error) -> ExitCode {
    eprintln!(
        "this is a worker of containerd-shim-catamaran-v1, which starts it with a job on its standard input: {e}"
    );
    ExitCode::from(2)
}

/// The worker's line to the shim.
pub(crate) struct Line {
    pub(crate) control: OwnedFd,
    /// Set until the shim knows of the worker: the intermediate and the worker report on one socket.
    known: Option<OwnedFd>,
}

impl Line {
    /// Waits until the shim knows of this process. Fails if the shim never will.
    pub(crate) fn be_known(&mut self) -> io::Result<()> {
        match self.known.take() {
            Some(known) if !matches!(rustix::io::read(&known, &mut [0]), Ok(1)) => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the intermediate ended without a report"))
            }
            _ => Ok(()),
        }
    }
}

/// Confines itself, loads, links, reports, waits, runs.
fn worker<R: Runner>(job: &Job, mut descriptors: Descriptors, mut line: Line, surroundings: Surroundings) -> ExitCode {
    let prepared = prepare::<R>(job, &mut descriptors, &mut line, surroundings);
    if line.be_known().is_err() {
        return ExitCode::FAILURE;
    }
    let control = line.control;
    let (program, warnings) = match prepared {
        Ok(prepared) => prepared,
        Err(e) => return fail(&control, e),
    };
    // Close the job's descriptors that nobody took: the guest's process keeps 0, 1, 2 and those that the engine opened.
    drop(descriptors);
    if control::report(control.as_fd(), &Report::Ready { warnings }, &[]).is_err() {
        return ExitCode::FAILURE;
    }
    match control::await_start(control.as_fd()) {
        Ok(true) => {}
        // The shim is gone, and nobody else can start or delete this container. The shim may have died before this process
        // asked for a parent-death signal; the socket closes in any case.
        _ => return ExitCode::FAILURE,
    }
    drop(control);
    program()
}

/// Makes standard input's terminal the controlling one of a new session, to which the terminal's signals go.
fn take_terminal() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?)
}

fn prepare<R: Runner>(
    job: &Job,
    descriptors: &mut Descriptors,
    line: &mut Line,
    surroundings: Surroundings,
) -> Result<(R::Program, Vec<String>), StageError> {
    if job.terminal {
        // Before this process leaves its process group with a new session: the shim ends and reaps an unreported worker by that
        // group. And a pid namespace whose first process ends waits for each process that was not reaped.
        confine::step("waiting for the intermediate", line.be_known())?;
    }
    let artifact = confine::step("taking the artifact", descriptors.take(job.artifact))?;
    let stdin = confine::step("taking standard input", descriptors.take(job.stdin))?;
    confine::step("opening standard input", rustix::stdio::dup2_stdin(&stdin))?;
    drop(stdin);
    if job.terminal {
        confine::step("taking the terminal", take_terminal())?;
    }
    let artifact = confine::step("copying the artifact", crate::artifact::own(File::from(artifact)))?;
    let certificate = job.certificate.map(|folder| descriptors.take(folder)).transpose();
    let certificate = confine::step("taking the certificate's folder", certificate)?;
    let terms = Terms { server: job.server.clone(), certificate, rules: job.rules };
    let confinement = Confinement::new(job, descriptors, surroundings).by_name(R::maps_by_name(&artifact));
    let Confined { warnings, label, descriptors: names, users } = confinement.apply()?;
    confine::step("installing signal handlers", crate::signals::end_on_signals())?;
    let guest = home::given(&job.guest, job.user.uid, users);
    // Confined first, because a process that met hostile bytes made the artifact from them. Mapping needs its descriptor alone.
    let mut engine = match names {
        None => R::load(artifact, terms)?,
        Some(names) => names.while_in(|| R::load(artifact, terms))??,
    };
    label.map_or(Ok(()), Label::apply)?;
    engine.listen()?;
    // From here on nothing becomes executable.
    if R::FILTERED {
        confine::restrict(job.seccomp.as_ref(), engine.needs())?;
    }
    Ok((engine.link(&guest)?, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Fd, Rules, User};
    use crate::{Guest, RunnerError};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use rustix::pipe::PipeFlags;

    struct Nothing;

    impl Runner for Nothing {
        const VERSION: &'static str = "";
        type Program = fn() -> ExitCode;

        fn load(_: File, _: Terms) -> Result<Self, RunnerError> {
            Err(RunnerError::Module("loaded".to_owned()))
        }

        fn link(self, _: &Guest) -> Result<Self::Program, RunnerError> {
            Err(RunnerError::Module("linked".to_owned()))
        }
    }

    #[test]
    fn an_unreported_worker_takes_no_terminal() {
        let (shim, worker) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let job = Job {
            guest: Guest { args: Vec::new(), env: Vec::new(), cwd: "/".to_owned() },
            stdin: Fd(0),
            terminal: true,
            artifact: Fd(1),
            cgroup: crate::job::Cgroup::default(),
            world: World::Of(Fd(2)),
            user: User { uid: 0, gid: 0, groups: Vec::new(), umask: 0o022 },
            rlimits: Vec::new(),
            oom_score_adj: None,
            seccomp: None,
            apparmor: None,
            server: None,
            certificate: None,
            rules: Rules { wasi_p3: true, link_local_requests: false },
        };
        control::send_job(shim.as_fd(), &job, &[]).unwrap();
        let (job, mut descriptors) = control::receive_job(worker.as_fd()).unwrap();
        // The intermediate was killed between its clone and its report.
        let (known, told) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        drop(told);
        let mut line = Line { control: worker, known: Some(known) };
        let Err(stopped) = prepare::<Nothing>(&job, &mut descriptors, &mut line, Surroundings::default()) else {
            panic!("prepared")
        };
        assert!(stopped.to_string().starts_with("waiting for the intermediate: "), "{stopped}");
    }
}
