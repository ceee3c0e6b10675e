//! Errors of a container's cgroup.

/// An error of a container's cgroup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host or the spec is the reason.
    #[error(transparent)]
    Host(#[from] catamaran_host::Error),
    /// Somebody else's processes are in the container's cgroup.
    #[error("the cgroup {0} has processes in it: use one that is empty")]
    Occupied(String),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// As [`catamaran_host::Error::refused`].
    pub fn refused(place: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        catamaran_host::Error::refused(place, found, expected).into()
    }

    /// As [`catamaran_host::Error::unavailable`].
    pub fn unavailable(place: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        catamaran_host::Error::unavailable(place, found, expected).into()
    }
}

catamaran_host::doing!(pub(crate), Error);
