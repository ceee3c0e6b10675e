//! Errors on the way to an artifact.

/// The engines that declined a module, by their words, and the reason of each.
pub type Declined = Vec<(String, String)>;

/// A failure, reported to the caller.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host or the node's configuration is the reason.
    #[error(transparent)]
    Host(#[from] catamaran_host::Error),
    /// The module exists, but cannot run.
    #[error("{module}: {reason}")]
    Module {
        /// The module's name.
        module: String,
        /// The reason, for the user.
        reason: String,
    },
}

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// As [`catamaran_host::Error::refused`].
    pub fn refused(place: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        catamaran_host::Error::refused(place, found, expected).into()
    }
}

catamaran_host::doing!(pub(crate), Error);
