//! Wasmer's part of the tests.

use catamaran_wasmer::Wasmer;
use catamaran_worker::{Runner, RunnerError};

use crate::guest::{file, terms};

/// The program that compiles.
pub(crate) const TRANSLATOR: &str = "translate-for-wasmer";

/// Loads an artifact as the worker does.
pub(crate) fn load(artifact: &[u8]) -> Result<Wasmer, RunnerError> {
    let (file, path) = file(artifact);
    std::fs::remove_file(path).unwrap();
    Wasmer::load(file, terms())
}
