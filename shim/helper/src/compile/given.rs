//! The module of an order: a file that came with the order, or a layer of an image. The driver reads the module anew for each compile,
//! because a waiting driver keeps none of its bytes.

use std::fs::File;
use std::os::unix::fs::FileExt;

use catamaran_cache::magic::{FIRST, other_than_wasm};
use catamaran_cache::module::{self, Largest};

use crate::error::{Doing, Error, Result};
use crate::image::Layer;

/// The longest time of a read, in seconds.
const LONGEST_READ: u32 = 120;

/// A module that cannot change, and its digest.
pub(super) struct Sealed {
    pub(super) bytes: File,
    pub(super) digest: String,
}

/// The result of reading a module.
pub(super) enum Read {
    Sealed(Sealed),
    /// The layer is not Wasm, in spite of its media type: its digest, and what it is instead.
    Refused {
        digest: String,
        reason: String,
    },
}

pub(super) enum Given {
    File {
        file: File,
        /// sha256, first as the shim computed it, then as the driver did.
        digest: String,
        /// Whether the driver has read the file, whose bytes must stay the same from then on.
        read: bool,
    },
    Layer(Box<Layer>),
}

impl Given {
    /// sha256 of the module, in hexadecimal.
    pub(super) fn digest(&self) -> &str {
        match self {
            Given::File { digest, .. } => digest,
            Given::Layer(layer) => layer.digest(),
        }
    }

    /// Returns the module's size in bytes. A file's size may have changed when it is read.
    pub(super) fn bytes(&self) -> Result<u64> {
        match self {
            Given::File { file, .. } => {
                file.metadata().map(|status| status.len()).doing(|| "looking at the module".to_owned())
            }
            Given::Layer(layer) => Ok(layer.size()),
        }
    }

    /// Reads the module's bytes into memory, which this process's cgroup pays for. `name` is the file's name; warnings for the log go into
    /// `warnings`. If the read takes longer than [`LONGEST_READ`], a signal ends this process, because it holds a slot.
    pub(super) fn read(&mut self, name: &str, largest: Largest, warnings: &mut Vec<String>) -> Result<Read> {
        nix::unistd::alarm::set(LONGEST_READ);
        let read = match self {
            Given::File { file, digest, read } => read_file(name, largest, file, digest, read),
            Given::Layer(layer) => read_layer(layer, largest, warnings),
        };
        nix::unistd::alarm::cancel();
        read
    }
}

fn read_file(name: &str, largest: Largest, file: &mut File, known: &mut String, again: &mut bool) -> Result<Read> {
    let (bytes, digest) = module::sealed(name, file, largest)?;
    if *again && digest != *known {
        let reason =
            format!("the file changed between two compiles of one start, from sha256:{known} to sha256:{digest}");
        return Err(Error::Module { module: name.to_owned(), reason });
    }
    known.clone_from(&digest);
    *again = true;
    Ok(Read::Sealed(Sealed { bytes, digest }))
}

/// Reads a layer, and verifies its digest.
fn read_layer(layer: &mut Layer, largest: Largest, warnings: &mut Vec<String>) -> Result<Read> {
    let name = layer.name();
    largest.check(&name, layer.size())?;
    let (bytes, warning) = module::sealed_memory(&name, |bytes| layer.read(bytes))?;
    warnings.extend(warning);
    let mut first = [0; FIRST];
    let length = bytes.read_at(&mut first, 0).doing(|| format!("reading {name}"))?;
    if let Some(reason) = other_than_wasm(first.get(..length).unwrap_or_default()) {
        return Ok(Read::Refused { digest: layer.digest().to_owned(), reason });
    }
    Ok(Read::Sealed(Sealed { bytes, digest: layer.digest().to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_between_two_reads_is_refused() {
        let path = std::env::temp_dir().join(format!("catamaran-given-{}", std::process::id()));
        std::fs::write(&path, "abc").unwrap();
        let file = File::open(&path).unwrap();
        let mut given = Given::File { file, digest: "the shim's digest".to_owned(), read: false };
        let read = |given: &mut Given| given.read("m", Largest(9), &mut Vec::new());
        let Ok(Read::Sealed(first)) = read(&mut given) else { panic!("it was not read") };
        assert_eq!(given.digest(), first.digest, "the digest of the bytes that were read replaces the shim's");
        assert!(matches!(read(&mut given), Ok(Read::Sealed(again)) if again.digest == first.digest));
        std::fs::write(&path, "abd").unwrap();
        let refused = read(&mut given).map(drop).unwrap_err().to_string();
        assert!(refused.contains("changed between two compiles"), "{refused}");
        assert_eq!(given.digest(), first.digest);
        std::fs::remove_file(&path).unwrap();
    }
}
