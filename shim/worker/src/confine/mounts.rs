//! The container's file tree, built in the worker's own mount namespace and entered for good.
//!
//! Every path of the spec is resolved by openat2 with `RESOLVE_IN_ROOT` below the container's root: a symbolic link or
//! `..` of the image ends there. Mounts are placed through descriptors, never by a path that is looked up twice.
#![allow(unsafe_code, reason = "pivot_root has no safe form; the call has its SAFETY comment")]

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use nix::libc;
use nix::mount::{MntFlags, MsFlags};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::{ConfineError, step};
use crate::control::Descriptors;
use crate::job::{Job, Mount, Source};

/// Builds the tree of the job and makes it this process's root and only tree.
pub(super) fn build_and_enter(
    job: &Job,
    descriptors: &mut Descriptors,
    hooks: impl FnOnce() -> io::Result<()>,
) -> Result<(), ConfineError> {
    // Nothing that is mounted here may reach the host; what the host mounts below a shared volume still arrives.
    step("cutting the mounts off from the host's", change("/", MsFlags::MS_SLAVE | MsFlags::MS_REC))?;
    let tree = step("taking the root file system", descriptors.take(job.root.tree))?;
    step(format_args!("attaching the root file system at {}", job.root.at), attach_root(&tree, &job.root.at))?;
    let root = step(format_args!("opening {}", job.root.at), open_directory(job.root.at.as_str()))?;
    for mount in &job.mounts {
        let at = &mount.destination;
        step(format_args!("mounting at {at}"), place(root.as_fd(), mount, descriptors))?;
    }
    // What a hook mounts into the tree is there before procfs is looked for.
    step("waiting for the hooks", hooks())?;
    step("covering what shows processes", cover_procfs(&job.root.at))?;
    for path in &job.readonly {
        step(format_args!("making {path} read-only"), make_readonly(root.as_fd(), path))?;
    }
    for path in &job.masked {
        step(format_args!("masking {path}"), mask(root.as_fd(), path))?;
    }
    if job.root.readonly {
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
        step("making the root file system read-only", set_attributes(root.as_fd(), attributes))?;
    }
    step("entering the container's tree", enter(root.as_fd()))
}

/// Gives a process an empty, read-only root that lies in no mount namespace: nothing to find, nowhere to write.
pub(super) fn enter_empty_root() -> Result<(), ConfineError> {
    let empty = step("making an empty root", empty_tree())?;
    step("entering the empty root", rustix::process::fchdir(&empty).and_then(|()| rustix::process::chroot(".")))
}

fn change(path: &str, flags: MsFlags) -> io::Result<()> {
    Ok(nix::mount::mount(None::<&str>, path, None::<&str>, flags, None::<&str>)?)
}

fn attach_root(tree: &OwnedFd, at: &str) -> io::Result<()> {
    Ok(rustix::mount::move_mount(tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn attach(tree: BorrowedFd<'_>, at: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, "", at, "", flags)?)
}

fn open_directory(path: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Resolves a path of the spec below the container's root.
fn resolve(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    crate::retried(|| rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), inside))
}

fn place(root: BorrowedFd<'_>, mount: &Mount, descriptors: &mut Descriptors) -> io::Result<()> {
    match &mount.source {
        Source::Tree { fd, folder } => {
            let tree = descriptors.take(*fd)?;
            let at = mount_point(root, &mount.destination, *folder)?;
            attach(tree.as_fd(), at.as_fd())
        }
        Source::Filesystem { kind, options, attributes } => {
            let tree = new_filesystem(kind, options, MountAttrFlags::from_bits_retain(*attributes as _))?;
            attach(tree.as_fd(), mount_point(root, &mount.destination, true)?.as_fd())
        }
        Source::Empty => attach(empty_tree()?.as_fd(), mount_point(root, &mount.destination, true)?.as_fd()),
    }
}

/// Opens the place of a mount, creating what is missing of it as the spec's runtime must.
fn mount_point(root: BorrowedFd<'_>, path: &str, folder: bool) -> io::Result<OwnedFd> {
    match resolve(root, path) {
        Ok(found) => return Ok(found),
        Err(Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let names: Vec<_> = Path::new(path)
        .components()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    // The longest part that exists is resolved by the kernel; below it every name is new, so that no link is followed.
    let mut here = resolve(root, "/")?;
    let mut reached = PathBuf::from("/");
    for (depth, name) in names.iter().enumerate() {
        reached.push(name);
        let text = reached.to_str().ok_or(Errno::INVAL)?;
        here = match resolve(root, text) {
            Ok(next) => next,
            Err(Errno::NOENT) => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                if depth + 1 == names.len() && !folder {
                    let new = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    drop(rustix::fs::openat(&here, *name, new, Mode::from_raw_mode(0o644))?);
                } else {
                    rustix::fs::mkdirat(&here, *name, Mode::from_raw_mode(0o755))?;
                }
                rustix::fs::openat(&here, *name, flags, Mode::empty())?
            }
            Err(e) => return Err(e.into()),
        };
    }
    Ok(here)
}

/// A new file system instance as a detached mount. The kernel's own words are kept where it has any.
fn new_filesystem(kind: &str, options: &[String], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
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

/// The message that the kernel left on a file system context (fsopen(2)), or the error number alone.
fn with_words(fs: &OwnedFd, what: &str, e: Errno) -> io::Error {
    let mut words = [0; 512];
    let e = io::Error::from(e);
    match rustix::io::read(fs, &mut words) {
        Ok(n) => io::Error::new(e.kind(), format!("{what}: {e} ({})", String::from_utf8_lossy(&words[..n]).trim())),
        Err(_) => io::Error::new(e.kind(), format!("{what}: {e}")),
    }
}

fn empty_tree() -> io::Result<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    new_filesystem("tmpfs", &["size=4k".to_owned(), "nr_inodes=2".to_owned(), "mode=555".to_owned()], attributes)
}

fn make_readonly(root: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    let at = match resolve(root, path) {
        Ok(at) => at,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(&at, "", flags)?;
    set_attributes(tree.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    attach(tree.as_fd(), at.as_fd())
}

fn mask(root: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    let at = match resolve(root, path) {
        Ok(at) => at,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    cover(at.as_fd())
}

/// Makes what lies there empty for everybody.
fn cover(at: BorrowedFd<'_>) -> io::Result<()> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(at)?.st_mode);
    let tree = if kind == FileType::Directory { empty_tree()? } else { crate::devices::readonly(c"/dev/null")? };
    attach(tree.as_fd(), at)
}

/// Covers every procfs in the container's tree: a volume may hold one, at its root or below, and by whatever name.
fn cover_procfs(root: &str) -> io::Result<()> {
    for (place, kind) in mount_points()? {
        if kind == "proc" && place.starts_with(root) {
            let at = rustix::fs::open(&place, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            cover(at.as_fd())?;
        }
    }
    Ok(())
}

/// The places and types of this namespace's mounts (proc_pid_mountinfo(5)).
fn mount_points() -> io::Result<Vec<(PathBuf, String)>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        Some((unescaped(left.split(' ').nth(4)?), right.split(' ').next()?.to_owned()))
    };
    table.lines().map(|line| parse(line).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))).collect()
}

/// A path of a mount table, where blanks and backslashes are three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u8::from_str_radix(d, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Adds attributes to the one mount that `mount` is the root of.
fn set_attributes(mount: BorrowedFd<'_>, attributes: MountAttrFlags) -> io::Result<()> {
    crate::mountattr::set(
        mount,
        &crate::mountattr::Change { add: attributes.bits().into(), ..Default::default() },
        false,
    )
}

/// pivot_root(2) onto the folder itself, so that no place for the old root has to exist in the image.
fn enter(root: BorrowedFd<'_>) -> io::Result<()> {
    let old = open_directory("/")?;
    rustix::process::fchdir(root)?;
    // SAFETY: both arguments are NUL-terminated and live through the call, which reads them and keeps nothing.
    if unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // "." is the old root now, stacked under the new one: cut it off and let it go.
    rustix::process::fchdir(&old)?;
    change(".", MsFlags::MS_SLAVE | MsFlags::MS_REC)?;
    nix::mount::umount2(".", MntFlags::MNT_DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::unescaped;
    use std::path::Path;

    #[test]
    fn paths_of_a_mount_table_are_unescaped() {
        assert_eq!(unescaped(r"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescaped(r"/plain\"), Path::new(r"/plain\"));
    }
}
