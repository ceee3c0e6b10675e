//! Reads and checks the bundle's `config.json`, and refuses keys by their names.

pub(crate) mod bundle;
pub(crate) mod hooks;
pub(crate) mod oci;
pub(crate) mod seccomp;
