//! Copies an artifact that is in no cache, because its memory is charged to the node's compiles.

use std::fs::File;
use std::io::{self, Seek};

use rustix::fs::{MemfdFlags, SealFlags};

/// Makes the artifact the container's own. A file of the cache stays as it is; memory is copied into memory that is charged to
/// this process's cgroup, and closed.
pub(crate) fn own(mut artifact: File) -> io::Result<File> {
    // A file has no seals, or on a tmpfs the one against further seals. Only the driver's memory is sealed against writing.
    match rustix::fs::fcntl_get_seals(&artifact) {
        Ok(seals) if seals.contains(SealFlags::WRITE) => {}
        _ => return Ok(artifact),
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut own = File::from(rustix::fs::memfd_create("artifact", flags)?);
    artifact.rewind()?;
    io::copy(&mut artifact, &mut own)?;
    own.rewind()?;
    // It is mapped as code: a guest that takes over this process must not write new code into it.
    rustix::fs::fcntl_add_seals(&own, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn an_artifact_in_memory_is_copied_with_its_seals_and_a_file_is_mapped() {
        let inode = |file: &File| file.metadata().unwrap().ino();
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut made = File::from(rustix::fs::memfd_create("made", flags).unwrap());
        made.write_all(b"machine code").unwrap();
        rustix::fs::fcntl_add_seals(&made, SealFlags::WRITE).unwrap();
        let number = inode(&made);
        let mut copy = own(made).unwrap();
        let mut text = String::new();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "machine code");
        assert_ne!(inode(&copy), number);
        assert_eq!(copy.write_all(b"x").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        let file = File::open("/proc/self/exe").unwrap();
        let number = inode(&file);
        assert_eq!(inode(&own(file).unwrap()), number);
    }

    /// A cache may lie on a tmpfs, whose files have seals as memory does.
    #[test]
    fn a_file_of_a_tmpfs_is_not_copied() {
        let path = format!("/dev/shm/catamaran-artifact-{}", std::process::id());
        std::fs::write(&path, "machine code").unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(rustix::fs::fcntl_get_seals(&file).unwrap(), SealFlags::SEAL, "it is a tmpfs's");
        let number = file.metadata().unwrap().ino();
        assert_eq!(own(file).unwrap().metadata().unwrap().ino(), number);
    }
}
