//! Loads machine code from a file of our cache: the one place where bytes become executable.
#![allow(unsafe_code, reason = "deserialising an artifact trusts its bytes; the argument is at each call")]

use std::fs::File;

use bytes::Bytes;
use catamaran_wasmer_artifact::header::{HEADER, WASMERS_MAGIC, check};
use memmap2::Mmap;
use wasmer::{Engine, Module};
use wasmer_compiler::serialize::SerializableModule;
use wasmer_types::MetadataHeader;

/// Checks that `artifact` was made by this version of Wasmer, for these settings and for CPU features that this machine has,
/// and makes its code executable. The error is a text about the artifact.
///
/// Wasmer copies the code; the rest stays in the file's pages, which the node's workers share.
pub(crate) fn load(engine: &Engine, artifact: &File) -> Result<(Module, Option<u32>), String> {
    // SAFETY: the file must not change or shrink while it is mapped. The descriptor comes from the shim, which opens
    // artifacts only in its cache: a folder of root with mode 0700, where files appear by rename and are never written to
    // again.
    let mapped = unsafe { Mmap::map(artifact) }.map_err(|e| format!("mapping the file: {e}"))?;
    let dispositions = check(&mapped)?;
    let body = Bytes::from_owner(mapped).slice(HEADER..);
    validate(&body)?;
    // SAFETY: the bytes must be an unmodified artifact of Wasmer's compiler. They lie in the shim's cache (above), where
    // our own compile process wrote them and its exit code said success. A container's image or mount cannot name a file
    // in there, and a precompiled file inside an image is refused by the compiler.
    let module = unsafe { Module::deserialize(engine, body) }.map_err(|e| e.to_string())?;
    Ok((module, dispositions))
}

/// Walks Wasmer's tables once, which [`Module::deserialize`] does not do, so that a damaged file is an error and not a fault.
fn validate(body: &[u8]) -> Result<(), String> {
    let Some(metadata) = body.strip_prefix(WASMERS_MAGIC) else {
        return Err("what follows its header is not Wasmer's".to_owned());
    };
    let length = MetadataHeader::parse(metadata).map_err(|e| e.to_string())?;
    let tables = metadata.get(MetadataHeader::LEN..).and_then(|rest| rest.get(..length));
    let tables = tables.ok_or_else(|| format!("it ends before the {length} bytes of its tables"))?;
    SerializableModule::archive_from_slice_checked(tables).map_err(|e| e.to_string())?;
    Ok(())
}
