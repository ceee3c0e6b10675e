//! Checks that an artifact is still what was published. An engine's loader looks at an artifact's head, and runs the code as it is, so
//! that a page that the disk lost or changed would go unseen. So a driver verifies the checksum that lies beside it, at its first use
//! after each boot; until the next boot the page cache answers for it.
//!
//! ```text
//! <artifact>.sum      sha256 of the artifact, the boot in which it was last verified, and the file's inode and bytes
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::digest::hex;

const SUFFIX: &str = ".sum";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Returns the path of an artifact's checksum.
pub fn beside(artifact: &Path) -> PathBuf {
    let mut name = artifact.as_os_str().to_owned();
    name.push(SUFFIX);
    name.into()
}

/// Returns the artifact whose checksum lies at `path`, or None.
pub fn artifact_of(path: &Path) -> Option<PathBuf> {
    Some(path.to_str()?.strip_suffix(SUFFIX)?.into())
}

/// Reads the artifact in `file` to its end, and returns the text to write beside it.
pub fn compute(file: &mut File) -> io::Result<String> {
    let sum = hash(file)?;
    Ok(format!("{sum} {}", state(file)?))
}

/// Whether the artifact was verified since the machine was started.
pub fn is_verified(artifact: &Path, file: &File) -> bool {
    let read = || -> io::Result<bool> {
        let text = fs::read_to_string(beside(artifact))?;
        Ok(text.split_once(' ').is_some_and(|(_, known)| state(file).is_ok_and(|state| state == known)))
    };
    read().unwrap_or(false)
}

/// Reads the artifact to its end, and returns the text to write beside it now. Returns None if it is not what was published.
pub fn verify(artifact: &Path, file: &mut File) -> io::Result<Option<String>> {
    let known = match fs::read_to_string(beside(artifact)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let now = compute(file)?;
    let sum = |text: &str| text.split_once(' ').map(|(sum, _)| sum.to_owned());
    Ok((sum(&known) == sum(&now)).then_some(now))
}

fn hash(file: &mut File) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    file.rewind()?;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => digest.update(&buffer[..n]),
        }
    }
    file.rewind()?;
    Ok(hex(&digest.finalize()))
}

/// Returns the boot and the file's identity, without the file's times, because an artifact's tell when it was used.
fn state(file: &File) -> io::Result<String> {
    let meta = file.metadata()?;
    let boot = fs::read_to_string(BOOT)?;
    Ok(format!("{} {} {}\n", boot.trim_end(), meta.ino(), meta.size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_to_an_entry_is_found_after_the_next_boot() {
        let path = std::env::temp_dir().join(format!("catamaran-checksum-{}", std::process::id()));
        fs::write(&path, "machine code").unwrap();
        let open = || File::open(&path).unwrap();
        assert!(!is_verified(&path, &open()) && verify(&path, &mut open()).unwrap().is_none(), "no checksum");
        fs::write(beside(&path), compute(&mut open()).unwrap()).unwrap();
        assert!(is_verified(&path, &open()));
        let text = fs::read_to_string(beside(&path)).unwrap();
        let boot = fs::read_to_string(BOOT).unwrap();
        fs::write(beside(&path), text.replace(boot.trim_end(), "another-boot")).unwrap();
        assert!(!is_verified(&path, &open()));
        assert_eq!(verify(&path, &mut open()).unwrap().as_deref(), Some(text.as_str()));
        fs::write(&path, "machine codf").unwrap();
        assert!(verify(&path, &mut open()).unwrap().is_none());
        // As a crash leaves files that had not reached the disk.
        fs::write(&path, "").unwrap();
        assert!(!is_verified(&path, &open()) && verify(&path, &mut open()).unwrap().is_none());
        fs::write(&path, "machine code").unwrap();
        fs::write(beside(&path), "").unwrap();
        assert!(!is_verified(&path, &open()) && verify(&path, &mut open()).unwrap().is_none());
        assert_eq!(artifact_of(&beside(&path)).as_deref(), Some(path.as_path()));
        assert_eq!(artifact_of(&path), None);
        fs::remove_file(beside(&path)).unwrap();
        fs::remove_file(&path).unwrap();
    }
}
