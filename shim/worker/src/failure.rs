//! The failure of either stage, and its report to the shim.

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use crate::confine::ConfineError;
use crate::control::{self, Cause, Report};
use crate::quote;
use crate::runner::RunnerError;
use crate::version::OtherVersion;

/// Why no worker came to wait for Start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StageError {
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error(transparent)]
    Runner(#[from] RunnerError),
    #[error(transparent)]
    Version(#[from] OtherVersion),
}

impl StageError {
    fn cause(&self) -> Cause {
        match self {
            StageError::Confine(_) | StageError::Version(_) => Cause::Confinement,
            StageError::Runner(RunnerError::Artifact(_)) => Cause::Artifact,
            StageError::Runner(RunnerError::Module(_)) => Cause::Module,
            StageError::Runner(RunnerError::Address(_)) => Cause::Address,
        }
    }
}

/// Reports the failure to the shim, and returns this process's exit code.
pub(crate) fn fail(control: &OwnedFd, e: StageError) -> ExitCode {
    let report = Report::Failed { cause: e.cause(), text: control::cut(quote::shortened(&e.to_string()).into_owned()) };
    // Nobody else is left to tell: standard error is the container's, and a shim that is gone needs no report.
    let _ = control::report(control.as_fd(), &report, &[]);
    ExitCode::FAILURE
}
