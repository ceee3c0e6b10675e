//! Maps a file of our cache as machine code: the one place where bytes become executable.
#![allow(unsafe_code, reason = "deserialising an artifact trusts its bytes; the argument is at the calls")]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use wasmtime::component::Component;
use wasmtime::{Engine, Module, Result};

/// Wasmtime's own values in an artifact's ELF header (`wasmtime_environ::obj`): its system, and the flag of a component's artifact.
const SYSTEM: u8 = 200;
const COMPONENT: u32 = 1 << 1;
/// The size of a 64-bit ELF header, and the offsets of those two values.
const HEADER: usize = 64;
const SYSTEM_AT: usize = 7;
const FLAGS_AT: usize = 48;

/// Code that is mapped.
pub enum Code {
    /// Of a module of WASI preview 1.
    Module(Module),
    /// Of a component.
    Component(Component),
}

/// Whether the artifact was made from a component, which does not mean that it fits.
pub fn is_component(artifact: &File) -> bool {
    let mut header = [0; HEADER];
    if artifact.read_exact_at(&mut header, 0).is_err() {
        return false;
    }
    let flags = header[FLAGS_AT..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    header.starts_with(b"\x7fELF") && header[SYSTEM_AT] == SYSTEM && flags & COMPONENT != 0
}

/// Maps `artifact` and checks that it was made by this version of Wasmtime, for these settings and a CPU like this one.
///
/// A component is mapped by a file name, the descriptor's number in the working directory, because Wasmtime has no other way to share the
/// memory of its code with other processes.
///
/// The check is against mistakes, not malice: it reads the header and the tables, never the code itself.
///
/// # Errors
/// When it does not fit, or cannot be mapped.
pub fn map(engine: &Engine, artifact: File) -> Result<Code> {
    if is_component(&artifact) {
        let name = artifact.as_raw_fd().to_string();
        // SAFETY: as below; the name leads to the file of that very descriptor, which is open until after the call.
        let component = unsafe { Component::deserialize_file(engine, name) }?;
        return Ok(Code::Component(component));
    }
    // SAFETY: the bytes must be an unmodified artifact of Wasmtime's compiler. The descriptor comes from the shim,
    // which opens artifacts only in its cache: a folder of root with mode 0700, where files appear by rename after our
    // own compile process wrote them and its exit code said success, and are never written to again. A container's
    // image or mount cannot name a file in there, and a precompiled file inside an image is refused by the compiler.
    let module = unsafe { Module::deserialize_open_file(engine, artifact) }?;
    Ok(Code::Module(module))
}
