//! Errors: why something was not packed, and what to do about it.

use std::io;
use std::path::Path;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A finding and its remedy.
#[derive(Debug, thiserror::Error)]
#[error("{found}\n  What to do: {remedy}")]
pub struct Error {
    found: String,
    remedy: String,
}

impl Error {
    /// `found` names the file, the program or the key; `remedy` is a whole sentence without its full stop.
    pub fn new(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { found: found.into(), remedy: remedy.into() }
    }
}

/// Adds the file's path to an I/O error.
pub trait On<T> {
    /// `doing` is a phrase such as "reading".
    ///
    /// # Errors
    /// The same error, with its file.
    fn on(self, doing: &str, path: &Path) -> Result<T>;
}

impl<T> On<T> for io::Result<T> {
    fn on(self, doing: &str, path: &Path) -> Result<T> {
        self.map_err(|error| {
            Error::new(format!("{doing} {}: {error}", path.display()), "look at that file, then run the command again")
        })
    }
}
