//! Mounts the root file system of a native container in the host's mount table, where runc looks for it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use rustix::fs::CWD;
use rustix::mount::MoveMountFlags;

use crate::error::{Doing, Result};

/// Mounts a detached tree at `place`, an existing folder.
pub(crate) fn mount(tree: &OwnedFd, place: &Path) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree.as_fd(), "", CWD, place, flags).on(place)
}

/// Unmounts everything that is mounted at `place`. Succeeds if nothing is mounted there.
pub(super) fn unmount(place: &Path) -> Result<()> {
    loop {
        // Detaches at once, even if processes still use the mount, and follows no link.
        match umount2(place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // Nothing is mounted there, or the folder is gone.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(Errno::EINTR) | Ok(()) => {}
            Err(e) => return Err(e).on(place),
        }
    }
}
