//! What an order is about: bytes that came with it, or a layer that is read if it is to be compiled.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::module::{self, LARGEST, too_large};
use crate::error::{Doing, Result};
use crate::image::Layer;
use crate::source::{FIRST, other_than_wasm};

/// In seconds.
const LONGEST_READ: u32 = 120;

/// A module that cannot change, and its digest.
pub(super) struct Sealed {
    pub(super) bytes: File,
    pub(super) digest: String,
}

/// What a module was read as.
pub(super) enum Read {
    Sealed(Sealed),
    /// No Wasm, whatever it was said to be: its digest, and what it is instead.
    Refused {
        digest: String,
        reason: String,
    },
}

pub(super) enum Given {
    /// A file, and its digest as the shim saw it: it may have changed since.
    File {
        file: File,
        digest: String,
    },
    Bytes(Sealed),
    Layer(Box<Layer>),
}

impl Given {
    /// sha256 of the module, in hexadecimal.
    pub(super) fn digest(&self) -> &str {
        match self {
            Given::File { digest, .. } => digest,
            Given::Bytes(sealed) => &sealed.digest,
            Given::Layer(layer) => layer.digest(),
        }
    }

    /// The module's bytes, in memory of this process's cgroup. `name` is the file's, `warnings` for the log. A source that does not
    /// answer in [`LONGEST_READ`] ends this process: it has a slot.
    pub(super) fn read(self, name: &str, warnings: &mut Vec<String>) -> Result<Read> {
        nix::unistd::alarm::set(LONGEST_READ);
        let read = self.read_all(name, warnings);
        nix::unistd::alarm::cancel();
        read
    }

    fn read_all(self, name: &str, warnings: &mut Vec<String>) -> Result<Read> {
        let mut layer = match self {
            Given::File { mut file, .. } => {
                let (bytes, digest) = module::sealed(name, &mut file)?;
                return Ok(Read::Sealed(Sealed { bytes, digest }));
            }
            Given::Bytes(sealed) => return Ok(Read::Sealed(sealed)),
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
            return Ok(Read::Refused { digest: layer.digest().to_owned(), reason });
        }
        Ok(Read::Sealed(Sealed { bytes, digest: layer.digest().to_owned() }))
    }
}
