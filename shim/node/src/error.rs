//! Errors and problems: what was found, and what to do about it.

use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A text in two parts, for people and for `-o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// The finding, with the file, key or program.
    pub(crate) found: String,
    /// The remedy.
    pub(crate) remedy: String,
}

impl Problem {
    pub(crate) fn new(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { found: found.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  What to do: {}", self.found, self.remedy)
    }
}

/// Why a command failed. Each variant has an exit code of its own (`cli`).
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The node is unsuitable, or is so now. Nothing was changed.
    #[error("{0}")]
    Refused(Problem),
    /// A step failed. The node is as it was before that step, and it is safe to run the command again.
    #[error("{0}")]
    Failed(Problem),
    /// The new configuration was not proven. The earlier one is in force again.
    #[error("{0}")]
    RolledBack(Problem),
}

impl Error {
    pub(crate) fn refused(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused(Problem::new(found, remedy))
    }

    pub(crate) fn failed(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Failed(Problem::new(found, remedy))
    }

    pub(crate) fn problem(&self) -> &Problem {
        match self {
            Self::Refused(problem) | Self::Failed(problem) | Self::RolledBack(problem) => problem,
        }
    }
}

/// Adds the file's path to an I/O error.
pub(crate) trait On<T> {
    /// `doing` is a phrase such as "reading".
    fn on(self, doing: &str, path: &Path) -> Result<T>;
}

impl<T> On<T> for io::Result<T> {
    fn on(self, doing: &str, path: &Path) -> Result<T> {
        self.map_err(|e| {
            let remedy = match e.kind() {
                io::ErrorKind::StorageFull => "free some room on that file system, then run the command again",
                io::ErrorKind::ReadOnlyFilesystem => {
                    "that file system is read-only: name another folder with --programs-dir if it is the programs', or mount it writable"
                }
                io::ErrorKind::PermissionDenied => "run the command as root, with the host's root file system writable",
                _ => "look at that file, then run the command again: it goes on where it stopped",
            };
            Error::failed(format!("{doing} {}: {e}", path.display()), remedy)
        })
    }
}

impl<T> On<T> for std::result::Result<T, rustix::io::Errno> {
    fn on(self, doing: &str, path: &Path) -> Result<T> {
        self.map_err(io::Error::from).on(doing, path)
    }
}
