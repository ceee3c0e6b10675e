//! Starts a worker, or a pod's holder, and waits until it is ready.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use catamaran_cgroup::Cgroup;
use catamaran_files::handover::Handover;
use catamaran_host::child;
use catamaran_host::hold;
use catamaran_host::readable::readable;
use catamaran_worker::control::{self, Cause, Report};
use catamaran_worker::job::{self, Job};
use log::warn;
use nix::libc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::intermediate::Intermediate;
use crate::error::{Doing, Error, Result};

/// The longest wait for a worker to become ready. One that takes longer hangs in a file system that does not answer, and is killed.
const LONGEST_CONFINEMENT: Duration = Duration::from_secs(60);

/// A confined worker that waits for Start.
pub(crate) struct Worker {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    /// The worker's control socket. Closing it ends a worker that was not started.
    pub(crate) control: OwnedFd,
}

impl Worker {
    /// Kills the worker before its start.
    pub(crate) fn end(self) {
        // Only the next line reaps the worker. If the worker has ended by itself, the signal does nothing.
        let _ = child::signal(&self.pidfd, libc::SIGKILL);
        child::reap(self.pidfd);
    }
}

/// Why a worker could not be started.
pub(crate) enum Failure {
    /// The artifact does not fit: compile again.
    Artifact(String),
    /// The client gets this error.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Failure::Final(e)
    }
}

impl From<catamaran_host::Error> for Failure {
    fn from(e: catamaran_host::Error) -> Self {
        Failure::Final(e.into())
    }
}

impl From<catamaran_cache::Error> for Failure {
    fn from(e: catamaran_cache::Error) -> Self {
        Failure::Final(e.into())
    }
}

/// An intermediate's job, and how to start it.
pub(crate) struct Assignment<'a> {
    /// The worker's module, for messages.
    pub(crate) module: &'a str,
    pub(crate) job: &'a Job,
    pub(crate) descriptors: &'a Handover,
    pub(crate) cgroup: &'a Cgroup,
    /// Whether the worker is for an exec, in a container that exists already.
    pub(crate) further: bool,
}

/// Returns how the process gets into `cgroup`: the folders of v1 that it enters, and the `folder` of v2 that it is cloned into.
pub(crate) fn ways_into(cgroup: &Cgroup, folder: Option<OwnedFd>, descriptors: &mut Handover) -> job::Cgroup {
    job::Cgroup { enter: cgroup.folders_to_enter(), clone_into: folder.map(|folder| descriptors.add(folder)) }
}

/// A worker that exists and is confining itself. Dropping this closes the control socket, which ends the worker.
pub(crate) struct StartingWorker {
    pub(crate) pid: u32,
    pidfd: OwnedFd,
    control: AsyncFd<OwnedFd>,
}

/// Sends an intermediate its job, and waits until it has cloned the worker into its namespaces.
pub(crate) async fn start_worker(
    intermediate: Intermediate,
    given: Assignment<'_>,
) -> std::result::Result<StartingWorker, Failure> {
    // The worker is the shim's child from its clone on, but the shim learns its pid only from the report after that.
    let _held = hold::hold();
    let doing = format!("starting {}", intermediate.program());
    let Intermediate { pid, pidfd: intermediate, control, .. } = intermediate;
    match wait_for_clone(&given, control, pid, &doing).await {
        Ok(worker) => {
            child::reap(intermediate);
            Ok(worker)
        }
        Err(e) => {
            // If the intermediate has ended, every other failure follows from that.
            let e = match child::ended(&intermediate) {
                // An intermediate that ends with 1 has reported the reason, which is `e`.
                Some(code) if code != 1 => Failure::Final(Error::Worker(format!("ended with {code} before its clone"))),
                _ => e,
            };
            // Kills the whole group, because a worker may exist that was not reported. The intermediate is not reaped yet, so its pid is
            // still the number of that group.
            child::end_group(pid);
            Err(e)
        }
    }
}

async fn wait_for_clone(
    given: &Assignment<'_>,
    control: OwnedFd,
    intermediate: u32,
    doing: &str,
) -> std::result::Result<StartingWorker, Failure> {
    let doing = || doing.to_owned();
    send_job(given, &control, intermediate).await?;
    rustix::io::ioctl_fionbio(&control, true).doing(doing)?;
    let control = readable(control).doing(doing)?;
    match receive_in_time(&control).await {
        Ok((Report::Cloned { pid }, mut descriptors)) if matches!(descriptors.len(), 1 | 2) => {
            let pidfd = descriptors.remove(0);
            // A copy of the intermediate has made the report. The copy ends too, and is the shim's child to reap.
            if let Some(copy) = descriptors.pop() {
                child::reap(copy);
            }
            Ok(StartingWorker { pid: pid as u32, pidfd, control })
        }
        Ok((other, _)) => Err(refuse(other, given.module)),
        Err(e) => Err(Failure::Final(Error::Worker(e.to_string()))),
    }
}

impl StartingWorker {
    /// Tells the waiting intermediate that the hooks have run.
    pub(crate) fn hooked(&self) {
        // This fails only if the intermediate has ended, which `ready` finds out.
        let _ = control::send_hooked(self.control.get_ref().as_fd());
    }

    /// Kills the worker.
    pub(crate) fn end(self) {
        // As in [`Worker::end`].
        let _ = child::signal(&self.pidfd, libc::SIGKILL);
        child::reap(self.pidfd);
    }

    /// Waits until the worker is ready. `id` and `module` are for messages.
    pub(crate) async fn ready(self, id: &str, module: &str) -> std::result::Result<Worker, Failure> {
        match receive_in_time(&self.control).await {
            Ok((Report::Ready { warnings }, _)) => {
                for warning in warnings {
                    warn!("container {id}: {warning}");
                }
                Ok(Worker { pid: self.pid, pidfd: self.pidfd, control: self.control.into_inner() })
            }
            Ok((other, _)) => {
                // The worker ends by itself after this report. It is killed too, in case it hangs meanwhile.
                self.end();
                Err(refuse(other, module))
            }
            Err(e) if e.kind() == std::io::ErrorKind::TimedOut => {
                self.end();
                Err(Failure::Final(Error::Worker(format!("not ready after {LONGEST_CONFINEMENT:?}: killed"))))
            }
            Err(_) => {
                let _ = child::signal(&self.pidfd, libc::SIGKILL);
                let text = match child::wait(self.pidfd).await {
                    Ok(status) => silent_end(child::exit_code(status)),
                    Err(e) => e.to_string(),
                };
                Err(Failure::Final(Error::Worker(text)))
            }
        }
    }
}

/// Adds to a worker's error the cgroup limit that the worker hit, if it hit one.
pub(crate) fn explained(cgroup: &Cgroup, e: Error) -> Error {
    match (e, cgroup.limit_hit()) {
        (Error::Worker(text), Some(limit)) => Error::Worker(format!("{text}: {limit}")),
        (e, _) => e,
    }
}

/// Explains the exit code of a worker that ended before it was ready.
fn silent_end(code: u32) -> String {
    const BAD_SYSTEM_CALL: u32 = 128 + libc::SIGSYS as u32;
    match code {
        BAD_SYSTEM_CALL => {
            "killed by the seccomp profile of the spec before it was ready: a Wasm worker needs a profile \
             such as the runtime's default"
                .to_owned()
        }
        _ => format!("ended with {code} before it was ready"),
    }
}

/// Has systemd make the container's cgroup if that is a scope, and sends the job. An intermediate enters any other cgroup by itself.
async fn send_job(given: &Assignment<'_>, control: &OwnedFd, intermediate: u32) -> Result<()> {
    if !given.further {
        given.cgroup.admit(intermediate).await?;
    }
    let descriptors = given.descriptors.lent();
    control::send_job(control.as_fd(), given.job, &descriptors).doing(|| "sending the job to the worker".to_owned())
}

async fn receive_in_time(control: &AsyncFd<OwnedFd>) -> std::io::Result<(Report, Vec<OwnedFd>)> {
    let report = control.async_io(Interest::READABLE, |socket| control::receive_report(socket.as_fd()));
    tokio::time::timeout(LONGEST_CONFINEMENT, report).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

fn refuse(report: Report, module: &str) -> Failure {
    match report {
        Report::Failed { cause: Cause::Artifact, text } => Failure::Artifact(text),
        Report::Failed { cause: Cause::Module, text } => {
            Failure::Final(Error::Module { module: module.to_owned(), reason: text })
        }
        Report::Failed { cause: Cause::Address, text } => Failure::Final(Error::Address(text)),
        Report::Failed { cause: Cause::Confinement, text } => Failure::Final(Error::Worker(text)),
        other => Failure::Final(Error::Worker(format!("an unexpected report: {other:?}"))),
    }
}
