//! Becomes another program that dies with the shim: `die-with-parent PARENT PROGRAM ARGUMENTS...`.
//!
//! A process can ask the kernel only for itself to be killed with its parent, and the setting survives exec. The shim does not fork, so it
//! starts this program first.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;

use crate::error::Error;

const DOING: &str = "having a command die with the shim";

/// Executes the program. Returns only if the exec fails.
pub(crate) fn exec(arguments: &[OsString]) -> Error {
    let [parent, program, rest @ ..] = arguments else {
        return Error::refused(
            "command line",
            "die-with-parent",
            "only the shim starts it: die-with-parent PARENT PROGRAM ARGUMENTS...",
        );
    };
    let failed = |source| catamaran_host::Error::System { doing: DOING.to_owned(), source }.into();
    if let Err(e) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return failed(e.into());
    }
    // A parent that died before the setting was made would leave this process running.
    let own = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if own.is_none_or(|own| *parent != *own) {
        return failed(std::io::ErrorKind::NotFound.into());
    }
    let source = Command::new(program).args(rest).exec();
    catamaran_host::Error::File { path: program.into(), source }.into()
}
