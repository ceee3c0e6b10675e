//! mount_setattr(2): changes the attributes of a mount that a descriptor holds. The shim uses it on the trees that it prepares,
//! the worker on the mounts that it attaches.
#![allow(unsafe_code, reason = "mount_setattr has no safe form; this module is its safe form")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;
use serde::{Deserialize, Serialize};

/// A change of a mount's attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `MOUNT_ATTR_*` to set.
    pub add: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE` or `MS_SHARED`; 0 leaves the propagation as it is.
    pub propagation: u64,
}

/// Applies `change` to the mount whose root `mount` is, and to all below it if `recursive`.
pub fn set(mount: BorrowedFd<'_>, change: &Change, recursive: bool) -> io::Result<()> {
    if *change == Change::default() {
        return Ok(());
    }
    // SAFETY: all-zero is a valid mount_attr: it changes nothing.
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = change.add;
    attributes.attr_clr = change.clear;
    attributes.propagation = change.propagation;
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is NUL-terminated, the size is that of the structure, which outlives the call; the kernel only
    // reads both.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if failed != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
