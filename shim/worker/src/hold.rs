//! The way to a pod's holder: the same two stages as a worker's, and the same confinement, up to the exec of a program that
//! is small enough to run once a pod (`shim/holder`).
//!
//! It runs in catamaran-helper, whose memory goes with the exec. The exec takes two settings back (not dumpable, the
//! parent-death signal), and the filter of system calls allows no exec: the small program sets these three itself.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::fcntl::AtFlags;

use crate::confine::{self, ConfineError, Confined, Confinement, Label, Surroundings, step};
use crate::control::{self, Descriptors, Report};
use crate::failure::fail;
use crate::job::Job;
use crate::stage::{self, Line};

/// Runs the whole process that becomes a holder, with the control socket as its standard input. The job's artifact is the
/// program to execute, its root an empty one ([`crate::empty_root`]), its guest's arguments the command line that `ps` shows.
pub fn hold() -> ExitCode {
    stage::staged(holder)
}

fn holder(job: &Job, mut descriptors: Descriptors, mut line: Line, surroundings: Surroundings) -> ExitCode {
    let confined = become_holder(job, &mut descriptors, &mut line, surroundings);
    if line.be_known().is_err() {
        return ExitCode::FAILURE;
    }
    match confined {
        Err(e) => fail(&line.control, e.into()),
        Ok(never) => match never {},
    }
}

fn become_holder(
    job: &Job,
    descriptors: &mut Descriptors,
    line: &mut Line,
    surroundings: Surroundings,
) -> Result<Infallible, ConfineError> {
    let program = step("taking the holder's program", descriptors.take(job.artifact))?;
    let confinement = Confinement::new(job, descriptors, surroundings).executes();
    let Confined { warnings, label, .. } = confinement.apply()?;
    label.map_or(Ok(()), Label::apply)?;
    // The holder sends this report when it is set up. Its environment is the report and nothing else.
    let report = step("writing the report", control::written(&Report::Ready { warnings }))?;
    let environment = [step("writing the report", CString::new(report).map_err(std::io::Error::from))?];
    let arguments: Result<Vec<_>, _> = job.guest.args.iter().map(|word| CString::new(word.as_str())).collect();
    let arguments = step("writing the holder's arguments", arguments.map_err(std::io::Error::from))?;
    // After this wait only the holder reports on the socket.
    step("waiting for the intermediate", line.be_known())?;
    step("handing over the control socket", rustix::stdio::dup2_stdin(line.control.as_fd()))?;
    confine::keep_one()?;
    let flags = AtFlags::AT_EMPTY_PATH;
    step("executing the holder's program", nix::unistd::execveat(program, c"", &arguments, &environment, flags))
}
