//! The built programs, read from one folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::elf::{self, Architecture};
use crate::error::{Error, Result};

/// The programs of a node, with their modes. The same as the installer's own list (shim/node/src/programs.rs).
pub const NODE: [(&str, u32); 9] = [
    (SHIM, 0o755),
    ("catamaran-helper", 0o755),
    ("catamaran-holder", 0o711),
    ("catamaran-wasmtime", 0o755),
    ("catamaran-wasmtime-compile", 0o755),
    ("catamaran-wasmtime-http", 0o755),
    ("catamaran-wasmer", 0o755),
    ("catamaran-wasmer-compile", 0o755),
    (CATAMARAN, 0o755),
];
/// The shim.
pub const SHIM: &str = "containerd-shim-catamaran-v1";
/// The installer.
pub const CATAMARAN: &str = "catamaran";
/// The program that labels nodes that are ready. It runs in a cluster, and on no node's own file system.
pub const LABELLER: &str = "catamaran-labeller";

/// Programs of one processor.
#[derive(Debug)]
pub struct Programs {
    /// The folder.
    pub folder: PathBuf,
    /// Their processor.
    pub architecture: Architecture,
    files: BTreeMap<String, Vec<u8>>,
}

impl Programs {
    /// Reads these programs from a folder.
    ///
    /// # Errors
    /// A program is missing or not static, or they are for different processors.
    pub fn read(folder: &Path, names: &[&str]) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut found: Option<(&str, Architecture)> = None;
        for name in names {
            let path = folder.join(name);
            let bytes = fs::read(&path).map_err(|error| {
                let remedy = "build all programs with `make release`, and name their folder with --programs";
                Error::new(format!("reading {}: {error}", path.display()), remedy)
            })?;
            let architecture = elf::architecture(&path.display().to_string(), &bytes)?;
            let (first, expected) = *found.get_or_insert((name, architecture));
            if architecture != expected {
                let found = format!(
                    "{}: {first} is for {}, {name} for {}",
                    folder.display(),
                    expected.name(),
                    architecture.name()
                );
                return Err(Error::new(found, "build all programs for one processor into one folder"));
            }
            files.insert((*name).to_owned(), bytes);
        }
        let (_, architecture) = found.ok_or_else(|| Error::new("no program is named", "name at least one"))?;
        Ok(Self { folder: folder.to_owned(), architecture, files })
    }

    /// Their names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// A program's bytes; empty if it was not read.
    pub fn bytes(&self, name: &str) -> &[u8] {
        self.files.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_what_the_installer_installs() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shim/node/src/programs.rs");
        let source = fs::read_to_string(source).unwrap();
        let (_, list) = source.split_once("PROGRAMS: [(&str, u32); ").unwrap();
        let (list, _) = list.split_once("];").unwrap();
        let (count, list) = list.split_once("] = [").unwrap();
        assert_eq!(count, NODE.len().to_string());
        let list = list.replace("SHIM", &format!("\"{SHIM}\"")).replace("CATAMARAN", &format!("\"{CATAMARAN}\""));
        let expected = NODE.map(|(name, mode)| format!("(\"{name}\", 0o{mode:o})"));
        let found: Vec<&str> =
            list.lines().map(|line| line.trim().trim_end_matches(',')).filter(|line| !line.is_empty()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_folder_that_lacks_a_program_is_refused_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let text = Programs::read(folder.path(), &[SHIM]).unwrap_err().to_string();
        assert!(text.contains(&folder.path().join(SHIM).display().to_string()), "{text}");
    }
}
