//! SHA256SUMS, as `sha256sum -c` reads it.

use std::fs;
use std::path::Path;

use crate::error::{Error, On, Result};
use crate::layout::hex;

/// The file's name.
pub const FILE: &str = "SHA256SUMS";

/// The line for a file.
pub fn line(name: &str, bytes: &[u8]) -> String {
    format!("{}  {name}\n", hex(bytes))
}

/// Writes the digests of all files in a folder into its SHA256SUMS.
///
/// # Errors
/// A file cannot be read or written, or there is none.
pub fn write(folder: &Path) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).on("reading", folder)? {
        let entry = entry.on("reading", folder)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && name != FILE {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(Error::new(format!("{} holds no file", folder.display()), "name the folder of a release"));
    }
    names.sort();
    let mut text = String::new();
    for name in names {
        let path = folder.join(&name);
        text.push_str(&line(&name, &fs::read(&path).on("reading", &path)?));
    }
    let path = folder.join(FILE);
    fs::write(&path, text).on("writing", &path)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn sha256sum_agrees_and_notices_a_change() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(folder.path()).is_err());
        for name in ["b.tar", "a.tar.gz"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        // The second run finds the checksum file itself.
        write(folder.path()).unwrap();
        write(folder.path()).unwrap();
        let check =
            || Command::new("sha256sum").args(["--strict", "-c", FILE]).current_dir(folder.path()).output().unwrap();
        let output = check();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a.tar.gz: OK\nb.tar: OK\n");
        fs::write(folder.path().join("b.tar"), "other").unwrap();
        assert!(!check().status.success());
    }
}
