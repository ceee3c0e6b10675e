//! Device nodes of the host, for a process that must not change them.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::libc;
use rustix::fs::CWD;
use rustix::mount::OpenTreeFlags;

use crate::mountattr::{self, Change};

/// Returns the node as a detached, read-only mount: the device still takes data, but mode, owner and times of the host's node are
/// out of reach even of a process that runs as root.
pub fn readonly(path: &CStr) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, path, flags)?;
    let change = Change {
        add: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
        clear: libc::MOUNT_ATTR_NODEV,
        propagation: libc::MS_PRIVATE,
    };
    mountattr::set(tree.as_fd(), &change, false)?;
    Ok(tree)
}

/// Opens `/dev/null` for reading and writing, through such a mount.
pub fn null() -> io::Result<File> {
    let tree = readonly(c"/dev/null")?;
    File::options().read(true).write(true).open(format!("/proc/self/fd/{}", tree.as_raw_fd()))
}
