//! Shared by Wasmtime's compile process and its workers: an artifact's settings, and the imports that a module or a component may have.

pub mod config;
pub mod imports;
pub mod interfaces;
