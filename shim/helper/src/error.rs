//! The errors of the helper, which it reports to the shim or the command that started it.

use catamaran_cache::error::Declined;

/// A failure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The host, the spec or the node's configuration is at fault.
    #[error(transparent)]
    Host(#[from] catamaran_host::Error),
    #[error(transparent)]
    Cgroup(#[from] catamaran_cgroup::error::Error),
    /// The module was found, but cannot run.
    #[error("{module}: {reason}")]
    Module { module: String, reason: String },
    /// Every engine that was tried declined the module.
    #[error("{module}: {}", .declined.iter().map(|(engine, why)| format!("not on {engine}: {why}")).collect::<Vec<_>>().join("; "))]
    Declined { module: String, declined: Declined },
    /// The compiler failed, not the module.
    #[error("compiling {module}: {reason}")]
    Compiler { module: String, reason: String },
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl From<catamaran_cache::Error> for Error {
    fn from(e: catamaran_cache::Error) -> Self {
        match e {
            catamaran_cache::Error::Host(e) => Error::Host(e),
            catamaran_cache::Error::Module { module, reason } => Error::Module { module, reason },
        }
    }
}

/// Converts an error for the answer of a search, which has fewer kinds.
impl From<Error> for catamaran_cache::Error {
    fn from(e: Error) -> Self {
        match e {
            Error::Host(e) => e.into(),
            Error::Module { module, reason } => Self::Module { module, reason },
            e => catamaran_host::Error::System {
                doing: catamaran_files::search::DOING.to_owned(),
                source: std::io::Error::other(e.to_string()),
            }
            .into(),
        }
    }
}

impl Error {
    /// Makes a [`catamaran_host::Error::Refused`].
    pub(crate) fn refused(place: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        catamaran_host::Error::refused(place, found, expected).into()
    }

    /// Makes the error of an operation that the system refused.
    pub(crate) fn system(doing: impl Into<String>, source: std::io::Error) -> Self {
        catamaran_host::Error::System { doing: doing.into(), source }.into()
    }
}

catamaran_host::doing!(pub(crate), Error);
