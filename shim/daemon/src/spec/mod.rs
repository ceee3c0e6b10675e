//! The bundle's `config.json`: read, checked and refused by the key.

pub(crate) mod bundle;
pub(crate) mod hooks;
pub(crate) mod oci;
pub(crate) mod seccomp;
