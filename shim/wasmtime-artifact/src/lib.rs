//! What Wasmtime's compile process and its worker agree in: the settings of an artifact, and which imports a module or a
//! component may have.

pub mod config;
pub mod imports;
pub mod interfaces;
