//! Runs other programs to their end.

use std::process::Command;

use crate::error::{Error, Result};

/// Returns a command's stdout.
///
/// # Errors
/// The command cannot be started, or its exit code is not 0: the error has its stderr and the remedy.
pub fn text(command: &mut Command, remedy: &str) -> Result<String> {
    let words = words(command);
    let output = command.output().map_err(|error| Error::new(format!("starting {words}: {error}"), remedy))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!("{words}: {}: {}", output.status, stderr.trim()), remedy));
    }
    String::from_utf8(output.stdout).map_err(|_| Error::new(format!("{words} printed what is no UTF-8"), remedy))
}

fn words(command: &Command) -> String {
    let args = command.get_args().map(|arg| arg.to_string_lossy());
    std::iter::once(command.get_program().to_string_lossy()).chain(args).collect::<Vec<_>>().join(" ")
}
