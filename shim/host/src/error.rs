//! The errors of this crate.

use std::io;
use std::path::PathBuf;

/// A failure that is not a container's own.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a request asks for something that is wrong or impossible.
    #[error("{place}: {found}: {expected}")]
    Refused {
        /// The file and the key, or the field of a request.
        place: String,
        /// The value there.
        found: String,
        /// The accepted values, or what to write instead.
        expected: String,
    },
    /// A valid request for something that this node does not have, or does not allow.
    #[error("{place}: {found}: {expected}")]
    Unavailable {
        /// As in [`Error::Refused`].
        place: String,
        /// The node's state or setting.
        found: String,
        /// The state or setting that the request needs.
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
        /// The operation.
        doing: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes an [`Error::Refused`].
    pub fn refused(place: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Error::Refused { place: place.into(), found: found.into(), expected: expected.into() }
    }

    /// Makes an [`Error::Unavailable`].
    pub fn unavailable(place: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Error::Unavailable { place: place.into(), found: found.into(), expected: expected.into() }
    }
}

/// Makes a trait `Doing` for a crate's own error type, which must implement `From<Error>`: its methods add to a system's refusal the
/// operation or the file. Each crate has its own trait, because `?` cannot infer a generic one's error.
#[macro_export]
macro_rules! doing {
    ($visibility:vis, $error:ty) => {
        /// Adds the operation or the file to a system's refusal.
        $visibility trait Doing<T> {
            /// Adds the operation `what`.
            fn doing(self, what: impl FnOnce() -> String) -> std::result::Result<T, $error>;
            /// Adds the file `path`.
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
