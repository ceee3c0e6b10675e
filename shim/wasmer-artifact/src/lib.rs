//! Shared by Wasmer's compile process and its worker: an artifact's header, and the imports that a module may have.

pub mod header;
pub mod imports;
