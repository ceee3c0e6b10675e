//! The agreement between Wasmtime's compile process and its workers: the settings of an artifact, and the imports that a module or a
//! component may have.

pub mod config;
pub mod imports;
pub mod interfaces;
