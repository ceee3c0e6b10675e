//! What Wasmer's compile process and its worker agree in: an artifact's header, and which imports a module may have.

pub mod header;
pub mod imports;
