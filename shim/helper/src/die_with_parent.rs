//! Becomes another program that dies with the shim: `die-with-parent PARENT PROGRAM ARGUMENTS...`.
//!
//! Only a process itself can ask the kernel to be killed with its parent, and an exec keeps that; the shim does not fork.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;

use crate::error::Error;

const DOING: &str = "having a command die with the shim";

/// Executes the program; returns only if that fails.
pub(crate) fn exec(arguments: &[OsString]) -> Error {
    let [parent, program, rest @ ..] = arguments else {
        return Error::refused(
            "command line",
            "die-with-parent",
            "the shim's own use: die-with-parent PARENT PROGRAM ARGUMENTS...",
        );
    };
    let failed = |source| catamaran_host::Error::System { doing: DOING.to_owned(), source }.into();
    if let Err(e) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return failed(e.into());
    }
    // If the parent had gone before, nothing would kill this process.
    let own = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if own.is_none_or(|own| *parent != *own) {
        return failed(std::io::ErrorKind::NotFound.into());
    }
    let source = Command::new(program).args(rest).exec();
    catamaran_host::Error::File { path: program.into(), source }.into()
}
