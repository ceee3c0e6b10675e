//! The errors of a container's files: those of [`catamaran_cache::Error`], which include a module's own faults.

pub use catamaran_cache::{Error, Result};
