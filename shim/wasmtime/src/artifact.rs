//! From a file of our cache to mapped machine code: the one place where bytes become executable.
#![allow(unsafe_code, reason = "deserialising an artifact trusts its bytes; the argument is at the call")]

use std::fs::File;

use wasmtime::{Engine, Module, Result};

/// Maps `artifact` and checks that it was made by this version of Wasmtime, for these settings and a CPU like this one.
///
/// The check is against mistakes, not malice: it reads the header and the tables, never the code itself.
pub(crate) fn map(engine: &Engine, artifact: File) -> Result<Module> {
    // SAFETY: the bytes must be an unmodified artifact of Wasmtime's compiler. The descriptor comes from the shim,
    // which opens artifacts only in its cache: a folder of root with mode 0700, where files appear by rename after our
    // own compile process wrote them and its exit code said success, and are never written to again. A container's
    // image or mount cannot name a file in there, and a precompiled file inside an image is refused by the compiler.
    unsafe { Module::deserialize_open_file(engine, artifact) }
}
