//! What can go wrong on the way to an artifact.

use crate::engine::{Engine, quoted};

/// The engines that left a module to another one, by their words, and why.
pub type Declined = Vec<(String, String)>;

/// What to do about a module that all engines left to others which a node allows; `place` is where it says which they are.
pub fn advice(allowed: &[Engine], place: &str) -> String {
    let forbidden: Vec<_> = Engine::ALL.into_iter().filter(|other| !allowed.contains(other)).collect();
    match forbidden.is_empty() {
        true => "no engine of this node runs it: build it as a module for wasm32-wasip1".to_owned(),
        false => format!(
            "this node does not allow {} (allowed_engines of {place}): have it allowed, or build the module for {}",
            quoted(&forbidden),
            quoted(allowed)
        ),
    }
}

/// Why each engine left a module to another one, in one text.
pub fn said(declined: Declined) -> String {
    let each = declined.into_iter().map(|(engine, why)| format!("not on {engine}: {why}"));
    each.collect::<Vec<_>>().join("; ")
}

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
