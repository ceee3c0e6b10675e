//! The errors of a request. `rpc/status.rs` maps each to its RPC code.

use std::io;

use catamaran_cache::error::Declined;

/// Why a request failed, for its caller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The host, the request or the bundle is the reason.
    #[error(transparent)]
    Host(#[from] catamaran_host::Error),
    /// The module exists, but cannot run.
    #[error("{module}: {reason}")]
    Module { module: String, reason: String },
    /// Every engine that was tried declined the module.
    #[error("{module}: {}", .declined.iter().map(|(engine, why)| format!("not on {engine}: {why}")).collect::<Vec<_>>().join("; "))]
    Declined { module: String, declined: Declined },
    /// The container or process never existed, or is gone.
    #[error("{0}: not found")]
    NotFound(String),
    #[error("{0} already exists")]
    Exists(String),
    /// A transition that the container's state does not allow.
    #[error("container {id} is {state}: it cannot be {wanted}")]
    Transition { id: String, state: &'static str, wanted: &'static str },
    /// The container's cgroup has processes of somebody else.
    #[error("the cgroup {0} has processes in it: use one that is empty")]
    Occupied(String),
    #[error("the shim is shutting down: its pod is gone")]
    Closing,
    #[error(
        "Checkpoint is not implemented by this shim, for container {0} or any other: the engines cannot save a Wasm guest that \
         runs, and native containers are not saved either. Pause stops one where it is, and Resume lets it go on"
    )]
    Uncheckpointed(String),
    /// The worker could not confine itself as the bundle asks.
    #[error("the container's process: {0}")]
    Worker(String),
    /// A server cannot listen at its address.
    #[error("{0}")]
    Address(String),
    /// A hook of the spec failed.
    #[error("the hook {hook}, {path}: {reason}")]
    Hook { hook: String, path: String, reason: String },
    /// The logger of the container's output did not become ready.
    #[error("the logger {logger}: {reason}")]
    Logger { logger: String, reason: String },
    /// runc refused a native container. The text begins like that of containerd's shim for runc, and goes on in runc's own words.
    #[error("OCI runtime {verb} failed: {reason}")]
    Runtime { verb: &'static str, reason: String },
    /// The compiler failed, not the module.
    #[error("compiling {module}: {reason}")]
    Compiler { module: String, reason: String },
}

impl Error {
    /// As [`catamaran_host::Error::refused`].
    pub(crate) fn refused(place: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        catamaran_host::Error::refused(place, found, expected).into()
    }

    /// As [`catamaran_host::Error::unavailable`].
    pub(crate) fn unavailable(place: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        catamaran_host::Error::unavailable(place, found, expected).into()
    }

    /// The system refused an operation.
    pub(crate) fn system(doing: impl Into<String>, source: io::Error) -> Self {
        catamaran_host::Error::System { doing: doing.into(), source }.into()
    }
}

/// Escapes all control characters but newlines, because the text may quote an image and is shown in a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() && c != '\n' { c.escape_default().collect() } else { vec![c] })
        .collect()
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl From<catamaran_cgroup::error::Error> for Error {
    fn from(e: catamaran_cgroup::error::Error) -> Self {
        match e {
            catamaran_cgroup::error::Error::Host(e) => e.into(),
            catamaran_cgroup::error::Error::Occupied(cgroup) => Error::Occupied(cgroup),
        }
    }
}

impl From<catamaran_cache::Error> for Error {
    fn from(e: catamaran_cache::Error) -> Self {
        match e {
            catamaran_cache::Error::Host(e) => e.into(),
            catamaran_cache::Error::Module { module, reason } => Error::Module { module, reason },
        }
    }
}

catamaran_host::doing!(pub(crate), Error);
