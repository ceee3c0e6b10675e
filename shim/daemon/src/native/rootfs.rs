//! The root file system of a native container: in the host's mount table, where runc takes it from.

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

/// Unmounts whatever is mounted at `place`; nothing is as good.
pub(super) fn unmount(place: &Path) -> Result<()> {
    loop {
        // At once, whoever is still in it, and not behind a link.
        match umount2(place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // Nothing is mounted there, or there is no such folder any more.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(Errno::EINTR) | Ok(()) => {}
            Err(e) => return Err(e).on(place),
        }
    }
}
