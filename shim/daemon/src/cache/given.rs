//! What an order is about: bytes that came with it, or a layer that is read if it is to be compiled.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::module::{self, LARGEST, too_large};
use crate::error::{Doing, Error, Result};
use crate::image::Layer;
use crate::source::{FIRST, other_than_wasm};

/// A module that cannot change, and its digest.
pub(super) struct Sealed {
    pub(super) bytes: File,
    pub(super) digest: String,
}

pub(super) enum Given {
    Bytes(Sealed),
    Layer(Box<Layer>),
}

impl Given {
    /// Reads the file of a module.
    pub(super) fn file(name: &str, mut file: File) -> Result<Self> {
        let (bytes, digest) = module::sealed(name, &mut file)?;
        Ok(Given::Bytes(Sealed { bytes, digest }))
    }

    /// sha256 of the module, in hexadecimal.
    pub(super) fn digest(&self) -> &str {
        match self {
            Given::Bytes(sealed) => &sealed.digest,
            Given::Layer(layer) => layer.digest(),
        }
    }

    /// The module's bytes. `warnings` is for the log.
    pub(super) fn read(self, warnings: &mut Vec<String>) -> Result<Sealed> {
        let mut layer = match self {
            Given::Bytes(sealed) => return Ok(sealed),
            Given::Layer(layer) => layer,
        };
        let name = layer.name();
        if layer.size() > LARGEST {
            return Err(too_large(&name, layer.size()));
        }
        let (bytes, warning) = module::sealed_memory(&name, |bytes| layer.read(bytes))?;
        warnings.extend(warning);
        let mut first = [0; FIRST];
        let length = bytes.read_at(&mut first, 0).doing(|| format!("reading {name}"))?;
        if let Some(reason) = other_than_wasm(first.get(..length).unwrap_or_default()) {
            return Err(Error::Module { module: name, reason });
        }
        Ok(Sealed { bytes, digest: layer.digest().to_owned() })
    }
}
