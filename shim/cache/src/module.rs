//! A module's bytes: their name, and a copy of them that nobody can change.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::digest::hex;
use crate::error::{Doing, Error, Result};
use crate::image::{Chosen, Image};

/// The bytes of a module that are read at once.
const TURN: usize = 1 << 20;

/// The largest module that is compiled, in bytes: the handler's option `max_module_bytes`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Largest(pub u64);

impl Largest {
    /// Refuses a module that is larger. `size` may be the size of a part of it.
    pub fn check(self, name: &str, size: u64) -> Result<()> {
        if size <= self.0 {
            return Ok(());
        }
        let reason = format!(
            "{size} bytes or more, and at most {} are compiled (the option max_module_bytes of the node's handler)",
            self.0
        );
        Err(Error::Module { module: name.to_owned(), reason })
    }
}

/// The module to run.
pub enum Wanted {
    /// A file that was found.
    Module(Module),
    /// The layer of an image that is a module, if there is one; `looked` names the file that Create looked for in vain.
    Layer {
        /// The container's image.
        image: Image,
        /// For a message.
        looked: String,
    },
}

impl Wanted {
    /// Fixes the layer that the artifact was made of: later starts use that very layer, whatever becomes of the image's name.
    pub fn decide(&mut self, layer: Option<&Chosen>) {
        if let (Self::Layer { image, .. }, Some(_)) = (self, layer) {
            image.chosen = layer.cloned();
        }
    }
}

/// A module that was found, and its digest.
pub struct Module {
    /// Its name, for messages.
    pub name: String,
    /// sha256 of its bytes when they were last looked at, in hexadecimal.
    pub digest: String,
    /// The file from which a compile reads them again.
    pub file: File,
}

impl Module {
    /// A module whose digest is known from before.
    pub fn known(name: String, file: File, digest: String) -> Self {
        Self { name, digest, file }
    }

    /// Name, digest and file.
    pub fn into_parts(self) -> (String, String, File) {
        (self.name, self.digest, self.file)
    }

    /// Reads `file` to its end for its digest. Keeps no bytes: a compile reads them again, into memory of its own.
    pub fn hashed(name: String, mut file: File, largest: Largest) -> Result<Self> {
        let mut reading = Reading::begin(&name, &file, largest)?;
        while reading.turn(&mut file, None)? {}
        let digest = reading.digest();
        file.rewind().on(&name)?;
        Ok(Self { name, digest, file })
    }
}

/// Copies `file` into sealed memory: what is hashed here is what is compiled.
pub fn sealed(name: &str, file: &mut File, largest: Largest) -> Result<(File, String)> {
    sealed_memory(name, |bytes| {
        *file = reopened(file).on(name)?;
        let mut reading = Reading::begin(name, file, largest)?;
        file.rewind().doing(|| format!("reading {name}"))?;
        while reading.turn(file, Some(bytes))? {}
        Ok(reading.digest())
    })
}

/// Reopens the file for reading. The shim's descriptor cannot read, so that closing it asks the file system nothing.
fn reopened(file: &File) -> std::io::Result<File> {
    // O_NONBLOCK: waits for no lease on it.
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(link)
}

/// Returns memory that `fill` has filled, and that nobody can change any more.
pub fn sealed_memory<T, E: From<Error>>(
    name: &str,
    fill: impl FnOnce(&mut File) -> std::result::Result<T, E>,
) -> std::result::Result<(File, T), E> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let doing = || format!("reading {name}");
    let mut bytes = File::from(rustix::fs::memfd_create("module", flags).doing(doing)?);
    let filled = fill(&mut bytes)?;
    bytes.rewind().doing(doing)?;
    seal(&bytes).doing(doing)?;
    Ok((bytes, filled))
}

/// Seals the memory for good: no holder of a descriptor can write to it or change its length.
pub fn seal(bytes: &File) -> rustix::io::Result<()> {
    rustix::fs::fcntl_add_seals(bytes, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)
}

/// A file that is being hashed.
struct Reading<'a> {
    name: &'a str,
    digest: Sha256,
    buffer: Vec<u8>,
    total: u64,
    largest: Largest,
}

impl<'a> Reading<'a> {
    fn begin(name: &'a str, file: &File, largest: Largest) -> Result<Self> {
        let size = file.metadata().on(name)?.len();
        largest.check(name, size)?;
        Ok(Self { name, digest: Sha256::new(), buffer: vec![0; TURN.min(size as usize + 1)], total: 0, largest })
    }

    /// Reads one piece. Returns false at the end.
    fn turn(&mut self, file: &mut File, copy: Option<&mut File>) -> Result<bool> {
        let doing = || format!("reading {}", self.name);
        let n = file.read(&mut self.buffer).doing(doing)?;
        // The file may grow under us; its size was only a first look.
        self.total += n as u64;
        self.largest.check(self.name, self.total)?;
        self.digest.update(&self.buffer[..n]);
        if let Some(copy) = copy {
            copy.write_all(&self.buffer[..n]).doing(doing)?;
        }
        Ok(n > 0)
    }

    fn digest(self) -> String {
        hex(&self.digest.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_bytes_that_are_hashed_cannot_change() {
        let path = std::env::temp_dir().join(format!("catamaran-module-{}", std::process::id()));
        fs::write(&path, "abc").unwrap();
        let open = || File::open(&path).unwrap();
        let module = Module::hashed("m".into(), open(), Largest(3)).unwrap();
        assert_eq!(module.digest, ABC);
        let mut file = module.file;
        let (mut bytes, digest) = sealed("m", &mut file, Largest(3)).unwrap();
        fs::write(&path, "changed").unwrap();
        assert_eq!(digest, ABC);
        assert_eq!(bytes.write(b"x").unwrap_err().raw_os_error(), Some(nix::libc::EPERM));
        let (_, digest) = sealed("m", &mut file, Largest(7)).unwrap();
        assert_ne!(digest, ABC, "a module that changed meanwhile is another one");
        for refused in [
            Module::hashed("m".into(), open(), Largest(6)).map(drop).unwrap_err().to_string(),
            sealed("m", &mut file, Largest(6)).map(drop).unwrap_err().to_string(),
        ] {
            assert!(
                refused.contains("m: 7 bytes or more, and at most 6") && refused.contains("max_module_bytes"),
                "{refused}"
            );
        }
        fs::remove_file(&path).unwrap();
    }
}
