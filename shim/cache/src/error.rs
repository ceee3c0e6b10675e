//! What can go wrong on the way to an artifact.

/// The engines that left a module to another one, by their words, and why.
pub type Declined = Vec<(String, String)>;

/// A failure, told to whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host or the node's configuration is the reason.
    #[error(transparent)]
    Host(#[from] catamaran_host::Error),
    /// The module exists, but cannot run.
    #[error("{module}: {reason}")]
    Module {
        /// What it is called.
        module: String,
        /// Why, for its user.
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
