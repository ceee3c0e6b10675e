//! Detached mounts: file systems that are made without a place, and put in their place through descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags};

/// Puts a detached mount in its place.
pub(super) fn attach(tree: BorrowedFd<'_>, at: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, "", at, "", flags)?)
}

/// Makes a new file system instance as a detached mount. An error has the kernel's own message, if there is one.
pub(super) fn new_filesystem(kind: &str, options: &[String], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let fs = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in options {
        let set = match option.split_once('=') {
            Some((key, value)) => rustix::mount::fsconfig_set_string(&fs, key, value),
            None => rustix::mount::fsconfig_set_flag(&fs, option.as_str()),
        };
        set.map_err(|e| with_words(&fs, &format!("{kind} option {option:?}"), e))?;
    }
    rustix::mount::fsconfig_create(&fs).map_err(|e| with_words(&fs, kind, e))?;
    Ok(rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Adds the message that the kernel left on a file system context (fsopen(2)) to an error, if there is one.
fn with_words(fs: &OwnedFd, what: &str, e: Errno) -> io::Error {
    let mut words = [0; 512];
    let e = io::Error::from(e);
    match rustix::io::read(fs, &mut words) {
        Ok(n) => io::Error::new(e.kind(), format!("{what}: {e} ({})", String::from_utf8_lossy(&words[..n]).trim())),
        Err(_) => io::Error::new(e.kind(), format!("{what}: {e}")),
    }
}

/// Makes an empty folder, which has room for mount points and nothing else.
pub(super) fn empty_tree(attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let attributes = attributes
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    new_filesystem("tmpfs", &["size=4k".to_owned(), "nr_inodes=256".to_owned(), "mode=555".to_owned()], attributes)
}

/// Covers the file or folder `at` with an empty one.
pub(super) fn cover(at: &OwnedFd) -> io::Result<()> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(at)?.st_mode);
    let tree = match kind {
        FileType::Directory => empty_tree(MountAttrFlags::MOUNT_ATTR_RDONLY)?,
        _ => crate::devices::readonly(c"/dev/null")?,
    };
    attach(tree.as_fd(), at.as_fd())
}
