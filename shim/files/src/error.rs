//! What can go wrong with a container's files: what [`catamaran_cache::Error`] says, a module's fault among it.

pub use catamaran_cache::{Error, Result};
