//! Whether a file is open for writing somewhere, which the kernel tells by granting a lease.
#![allow(unsafe_code, reason = "F_SETLEASE has no safe form; this module is its safe form")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;

/// True when no process has `file` open for writing: a read lease is granted only then (fcntl(2), «Leases»). It ends with
/// the descriptor, which the caller is to drop.
pub(crate) fn nobody_writes(file: &File) -> io::Result<bool> {
    // SAFETY: the call takes three numbers, and changes nothing but the file's leases.
    match Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) }) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::nobody_writes;
    use std::fs::{self, File};

    #[test]
    fn a_writer_is_seen() {
        let path = std::env::temp_dir().join(format!("catamaran-lease-{}", std::process::id()));
        let writer = File::create(&path).unwrap();
        assert!(!nobody_writes(&File::open(&path).unwrap()).unwrap());
        drop(writer);
        assert!(nobody_writes(&File::open(&path).unwrap()).unwrap());
        fs::remove_file(&path).unwrap();
    }
}
