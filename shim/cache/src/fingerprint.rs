//! Fingerprints tell which artifacts fit: they name the targets' folders in the cache.
//!
//! Beside the target's word, the compiler's build id stands for version and settings, and the CPU for what the code may use of it. A
//! fingerprint keeps apart what would never fit; the worker's own check of an artifact decides.

use std::fs::File;
use std::io::{self, Read};

use catamaran_host::programs::Program;
use object::elf::{ELF_NOTE_GNU, FileHeader64, NT_GNU_BUILD_ID};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadRef};
use sha2::{Digest, Sha256};

use super::digest::hex;
use crate::error::{Doing, Error, Result};
use crate::target::Target;

/// Raised when a code generator's CVE demands that old artifacts are dropped although the compiler's executable is the same, and when
/// the form of the files beside them changes.
const GENERATION: u32 = 2;

/// Returns the fingerprint of what `compiler` makes for a target on this machine.
pub fn compute(target: Target, compiler: &Program) -> Result<String> {
    Ok(format!("{target}-{}-{}-{GENERATION}", build_id(compiler)?, cpu()?))
}

/// Returns the target in a fingerprint, or None for one of another version that is not known here.
pub fn target(fingerprint: &str) -> Option<Target> {
    // Three other words follow the target's.
    Target::parse(fingerprint.rsplitn(4, '-').nth(3)?)
}

/// Returns the linker's build id of the compiler: another build makes other artifacts. Reads only the note that holds it, because a
/// compiler's symbols are larger than all else that the shim has in memory.
fn build_id(program: &Program) -> Result<String> {
    let path = program.path();
    let file = File::open(program.link()).on(path)?;
    match find_build_id(&object::ReadCache::new(file)).map_err(io::Error::other).on(path)? {
        Some(id) => Ok(hex(&id[..id.len().min(8)])),
        None => Err(Error::refused(path.display().to_string(), "no build id", "a program linked with --build-id")),
    }
}

fn find_build_id<'data>(data: impl ReadRef<'data>) -> object::Result<Option<&'data [u8]>> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, data)? {
        let Some(mut notes) = segment.notes(endian, data)? else { continue };
        while let Some(note) = notes.next()? {
            if note.name() == ELF_NOTE_GNU && note.n_type(endian) == NT_GNU_BUILD_ID {
                return Ok(Some(note.desc()));
            }
        }
    }
    Ok(None)
}

/// Returns a digest of what decides which machine code the CPU can run, because a disk may move to another machine.
fn cpu() -> Result<String> {
    const TELLING: [&str; 9] = [
        "vendor_id",
        "cpu family",
        "model",
        "stepping",
        "flags",
        "Features",
        "CPU implementer",
        "CPU part",
        "CPU variant",
    ];
    // Reads the first processor's lines only: the kernel makes the rest only if they are read.
    let mut first = vec![0; 8192];
    let path = "/proc/cpuinfo";
    let n = File::open(path).and_then(|mut f| f.read(&mut first)).on(path)?;
    let text = String::from_utf8_lossy(&first[..n]);
    let mut digest = Sha256::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if line.split(':').next().is_some_and(|key| TELLING.contains(&key.trim())) {
            digest.update(line);
            digest.update("\n");
        }
    }
    Ok(hex(&digest.finalize()[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_program_on_one_machine_has_one_fingerprint_a_target() {
        let own = Program::at(std::env::current_exe().unwrap()).unwrap();
        for of in Target::ALL {
            let fingerprint = compute(of, &own).unwrap();
            assert_eq!(fingerprint, compute(of, &own).unwrap());
            assert!(fingerprint.starts_with(&format!("{of}-")) && fingerprint.ends_with("-2"), "{fingerprint}");
            assert_eq!(target(&fingerprint), Some(of));
        }
        assert!(compute(Target::Wasmer, &Program::at("/proc/self/status".into()).unwrap()).is_err());
        for other in ["", "wasmtime", "wasmtime-1-2", "wasmtime-1-2-3-4", "wasmedge-1-2-3"] {
            assert_eq!(target(other), None, "{other}");
        }
    }
}
