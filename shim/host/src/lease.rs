//! Finds out if a file is open elsewhere: the kernel then refuses a lease (fcntl(2), «Leases»).
#![allow(unsafe_code, reason = "F_SETLEASE has no safe form; this module is its safe form")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;

/// Returns true if no process has `file` open for writing: only then the kernel grants a read lease. The lease ends with the
/// descriptor, which the caller must drop.
pub fn nobody_writes(file: &File) -> io::Result<bool> {
    granted(file, libc::F_RDLCK)
}

/// Returns true if no other descriptor of the file is open: only then the kernel grants a write lease.
pub fn nobody_else_has_it(file: &File) -> io::Result<bool> {
    granted(file, libc::F_WRLCK)
}

fn granted(file: &File, kind: libc::c_int) -> io::Result<bool> {
    // SAFETY: the call takes three numbers, and changes nothing but the file's leases.
    match Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) }) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_lease_sees_writers_and_readers() {
        let path = std::env::temp_dir().join(format!("catamaran-lease-{}", std::process::id()));
        let writer = File::create(&path).unwrap();
        assert!(!nobody_writes(&File::open(&path).unwrap()).unwrap());
        drop(writer);
        assert!(nobody_writes(&File::open(&path).unwrap()).unwrap());
        let reader = File::open(&path).unwrap();
        assert!(!nobody_else_has_it(&File::open(&path).unwrap()).unwrap());
        drop(reader);
        assert!(nobody_else_has_it(&File::open(&path).unwrap()).unwrap());
        fs::remove_file(&path).unwrap();
    }
}
