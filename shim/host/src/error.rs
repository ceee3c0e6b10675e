//! What can go wrong between this process and its host.

use std::io;
use std::path::PathBuf;

/// A failure that is no container's own.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something asks for what is wrong or cannot be had.
    #[error("{place}: {found}: {expected}")]
    Refused {
        /// The file and the key, or the field of a request.
        place: String,
        /// What stands there.
        found: String,
        /// What would be accepted, or what to write instead.
        expected: String,
    },
    /// What is asked for is right, and this node does not have it, or does not allow it.
    #[error("{place}: {found}: {expected}")]
    Unavailable {
        /// As in [`Error::Refused`].
        place: String,
        /// What the node has.
        found: String,
        /// What it would have to have.
        expected: String,
    },
    /// The kernel refused an operation on a file.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The kernel refused another operation.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Refused`].
    pub fn refused(place: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Error::Refused { place: place.into(), found: found.into(), expected: expected.into() }
    }

    /// An [`Error::Unavailable`].
    pub fn unavailable(place: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Error::Unavailable { place: place.into(), found: found.into(), expected: expected.into() }
    }
}

/// Makes a trait `Doing` for a crate's own error type, which has to be `From` of [`Error`]: its methods say what was being done,
/// or with which file, when the system refused it. A trait for each crate, since `?` cannot infer a generic one's error.
#[macro_export]
macro_rules! doing {
    ($visibility:vis, $error:ty) => {
        /// Says what was being done when the system refused it.
        $visibility trait Doing<T> {
            /// `what` was being done.
            fn doing(self, what: impl FnOnce() -> String) -> std::result::Result<T, $error>;
            /// It was done with the file `path`.
            fn on(self, path: impl Into<std::path::PathBuf>) -> std::result::Result<T, $error>;
        }

        impl<T, E: Into<std::io::Error>> Doing<T> for std::result::Result<T, E> {
            fn doing(self, what: impl FnOnce() -> String) -> std::result::Result<T, $error> {
                self.map_err(|e| $crate::Error::System { doing: what(), source: e.into() }.into())
            }

            fn on(self, path: impl Into<std::path::PathBuf>) -> std::result::Result<T, $error> {
                self.map_err(|e| $crate::Error::File { path: path.into(), source: e.into() }.into())
            }
        }
    };
}

doing!(pub(crate), Error);
