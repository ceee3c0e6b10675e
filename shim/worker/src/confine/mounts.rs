//! Builds the container's file tree in the worker's own mount namespace, and enters it for good.
//!
//! Every path of the spec is resolved inside the container's root (`mountpoint.rs`). Mounts are placed through
//! descriptors, never by a path that is looked up twice.
#![allow(unsafe_code, reason = "pivot_root has no safe form; the call has its SAFETY comment")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::libc;
use nix::mount::{MntFlags, MsFlags};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::detached::{attach, cover, empty_tree, new_filesystem};
use super::mountpoint::{open_or_make, resolve};
use super::{ConfineError, procfs, step, workdir};
use crate::control::Descriptors;
use crate::job::{Later, Mount, NewWorld, Source};
use crate::mountattr::Change;

/// The tree of the job's world with all of its mounts, attached in this process's own mount namespace and not entered yet.
pub(crate) struct UnfinishedTree {
    root: OwnedFd,
    /// The host's root.
    outside: OwnedFd,
    /// File systems to make read-only once all mounts in them have their places.
    unsealed: Vec<OwnedFd>,
}

impl UnfinishedTree {
    /// Builds the tree. Needs a mount namespace of this process's own.
    pub(super) fn build(world: &NewWorld, descriptors: &mut Descriptors) -> Result<Self, ConfineError> {
        // Mount points are for every user of the container, whatever the inherited mask.
        rustix::process::umask(Mode::from_raw_mode(0o022));
        // No mount made here may reach the host; the host's later mounts below a slave volume still arrive.
        step("cutting the mounts off from the host's", change("/", MsFlags::MS_SLAVE | MsFlags::MS_REC))?;
        let outside = step("opening the host's root", open_directory(Path::new("/")))?;
        let at = Path::new(&world.root.at);
        // Before the root, which is attached at the same place.
        let mut received = receive_all(world, descriptors, at)?;
        let tree = step("taking the root file system", descriptors.take(world.root.tree))?;
        step(format_args!("attaching the root file system at {}", world.root.at), attach_root(&tree, at))?;
        let root = step(format_args!("opening {}", world.root.at), open_directory(at))?;
        let mut unsealed = Vec::new();
        for (index, mount) in world.mounts.iter().enumerate() {
            let placed = match received.remove(&index) {
                Some((tree, folder)) => place_tree(root.as_fd(), &mount.destination, tree.as_fd(), folder),
                None => place(root.as_fd(), mount, descriptors, &mut unsealed),
            };
            step(format_args!("mounting at {}", mount.destination), placed)?;
        }
        Ok(Self { root, outside, unsealed })
    }

    /// Runs `clone` inside the tree, so that the clone's mount table and root are the tree's, while the namespace still has the
    /// host's tree for hooks. The clone stays inside, this process does not.
    pub(crate) fn while_in<T>(&self, clone: impl FnOnce() -> io::Result<Option<T>>) -> io::Result<Option<T>> {
        change_root(self.root.as_fd())?;
        let cloned = clone()?;
        if cloned.is_some() {
            change_root(self.outside.as_fd())?;
        }
        Ok(cloned)
    }

    /// Finishes the tree by the job, after all that hooks have mounted in it, with the working directory `cwd`, and makes it the
    /// only tree of this mount namespace and of the processes in it.
    pub(crate) fn finish(self, world: &NewWorld, cwd: &str) -> Result<(), ConfineError> {
        let root = self.root.as_fd();
        workdir::make(root, cwd)?;
        for tree in &self.unsealed {
            // Not before: mount points had to be made in it.
            step(
                "making a new file system read-only",
                set_attributes(tree.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, false),
            )?;
        }
        step("covering what shows processes", procfs::cover_all(root, Path::new(&world.root.at)))?;
        for path in &world.readonly {
            step(format_args!("making {path} read-only"), make_readonly(root, path))?;
        }
        for path in &world.masked {
            step(format_args!("masking {path}"), mask(root, path))?;
        }
        if world.root.readonly {
            let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
            step("making the root file system read-only", set_attributes(root, attributes, false))?;
        }
        step("entering the container's tree", enter(root))
    }
}

fn change_root(folder: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(folder)?;
    Ok(rustix::process::chroot(".")?)
}

/// The bind mounts that receive the host's later mounts, by their index in the job, each with whether it is a folder.
type Received = BTreeMap<usize, (OwnedFd, bool)>;

/// Makes these bind mounts, on a file system of our own that lies for now where the container's root will be. Nobody else can
/// change a name there, and each receives from its first moment on, so that no mount of the host is missed before it is in place.
fn receive_all(world: &NewWorld, descriptors: &mut Descriptors, at: &Path) -> Result<Received, ConfineError> {
    let mut received = Received::new();
    let later = world.mounts.iter().enumerate().filter_map(|(index, mount)| match &mount.source {
        Source::Tree { fd, folder, later: Some(later) } => Some((index, *fd, *folder, later)),
        _ => None,
    });
    let mut bench = None;
    for (index, fd, folder, later) in later {
        let bench = match &mut bench {
            Some(bench) => bench,
            none => none.insert(step("making a place for shared volumes", attach_bench(at))?),
        };
        let source = &later.source;
        let expected = step("taking a volume", descriptors.take(fd))?;
        let tree = receive(bench.as_fd(), &index.to_string(), &expected, folder, later);
        received.insert(index, (step(format_args!("binding {source}"), tree)?, folder));
    }
    Ok(received)
}

fn attach_bench(at: &Path) -> io::Result<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let bench = new_filesystem("tmpfs", &["mode=700".to_owned()], attributes)?;
    attach_root(&bench, at)?;
    Ok(bench)
}

/// Binds the source at `name`, and returns the mount.
fn receive(bench: BorrowedFd<'_>, name: &str, expected: &OwnedFd, folder: bool, later: &Later) -> io::Result<OwnedFd> {
    let path = OFlags::PATH | OFlags::CLOEXEC;
    let source = rustix::fs::open(later.source.as_str(), path, Mode::empty())?;
    let (was, is) = (rustix::fs::fstat(expected)?, rustix::fs::fstat(&source)?);
    if (was.st_dev, was.st_ino) != (is.st_dev, is.st_ino) {
        return Err(io::Error::other("it became another file or folder while the container was created"));
    }
    if folder {
        rustix::fs::mkdirat(bench, name, Mode::from_raw_mode(0o700))?;
    } else {
        let new = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(rustix::fs::openat(bench, name, new, Mode::from_raw_mode(0o600))?);
    }
    let point = rustix::fs::openat(bench, name, path | OFlags::NOFOLLOW, Mode::empty())?;
    let by_number = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    // mount(2), because it copies and attaches in one step.
    let recursive = if later.recursive { MsFlags::MS_REC } else { MsFlags::empty() };
    let (from, to) = (by_number(&source), by_number(&point));
    nix::mount::mount(Some(from.as_str()), to.as_str(), None::<&str>, MsFlags::MS_BIND | recursive, None::<&str>)?;
    let tree = rustix::fs::openat(bench, name, path | OFlags::NOFOLLOW, Mode::empty())?;
    crate::mountattr::set(tree.as_fd(), &later.here, false)?;
    crate::mountattr::set(tree.as_fd(), &later.below, true)?;
    Ok(tree)
}

/// Gives this process an empty, read-only root that lies in no mount namespace: nothing to find, nowhere to write.
pub(super) fn enter_empty_root() -> Result<(), ConfineError> {
    let empty = step("making an empty root", empty_tree(MountAttrFlags::MOUNT_ATTR_RDONLY))?;
    step("entering the empty root", rustix::process::fchdir(&empty).and_then(|()| rustix::process::chroot(".")))
}

/// Makes an empty, read-only folder as a detached mount: the root of a process that names no file.
pub fn empty_root() -> io::Result<OwnedFd> {
    empty_tree(MountAttrFlags::MOUNT_ATTR_RDONLY)
}

fn change(path: &str, flags: MsFlags) -> io::Result<()> {
    Ok(nix::mount::mount(None::<&str>, path, None::<&str>, flags, None::<&str>)?)
}

fn attach_root(tree: &OwnedFd, at: &Path) -> io::Result<()> {
    Ok(rustix::mount::move_mount(tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Puts one mount in its place. A tmpfs that is to be read-only stays writable for now, and is added to `unsealed`.
fn place(
    root: BorrowedFd<'_>,
    mount: &Mount,
    descriptors: &mut Descriptors,
    unsealed: &mut Vec<OwnedFd>,
) -> io::Result<()> {
    let at = &mount.destination;
    match &mount.source {
        Source::Tree { fd, folder, .. } => place_tree(root, at, descriptors.take(*fd)?.as_fd(), *folder),
        Source::Filesystem { kind, options, attributes } => {
            let point = open_or_make(root, at, true)?;
            let mut attributes = MountAttrFlags::from_bits_retain(*attributes as _);
            if kind != "tmpfs" {
                return attach(new_filesystem(kind, options, attributes)?.as_fd(), point.at.as_fd());
            }
            let mut options = options.clone();
            if let (Some(mode), false) = (point.found, options.iter().any(|o| o.starts_with("mode="))) {
                // It takes the mode of the folder that it covers, as with every other runtime.
                options.push(format!("mode={mode:o}"));
            }
            let readonly = attributes.contains(MountAttrFlags::MOUNT_ATTR_RDONLY);
            attributes.remove(MountAttrFlags::MOUNT_ATTR_RDONLY);
            let tree = new_filesystem(kind, &options, attributes)?;
            attach(tree.as_fd(), point.at.as_fd())?;
            unsealed.extend(readonly.then_some(tree));
            Ok(())
        }
        Source::Empty => {
            let point = open_or_make(root, at, true)?;
            let tree = empty_tree(MountAttrFlags::empty())?;
            attach(tree.as_fd(), point.at.as_fd())?;
            unsealed.push(tree);
            Ok(())
        }
        Source::Link { target } => place_link(root, Path::new(at), target),
    }
}

/// Makes a symbolic link. If the image has a file of that name, it stays, as with every other runtime.
fn place_link(root: BorrowedFd<'_>, at: &Path, target: &str) -> io::Result<()> {
    let (Some(folder), Some(name)) = (at.parent().and_then(Path::to_str), at.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    match rustix::fs::symlinkat(target, open_or_make(root, folder, true)?.at, name) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn place_tree(root: BorrowedFd<'_>, at: &str, tree: BorrowedFd<'_>, folder: bool) -> io::Result<()> {
    attach(tree, open_or_make(root, at, folder)?.at.as_fd())
}

/// Opens the file at a path of the spec; None if there is none.
fn find(root: BorrowedFd<'_>, path: &str) -> io::Result<Option<OwnedFd>> {
    match resolve(root, Path::new(path)) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Makes `path` read-only, with all mounts below it.
fn make_readonly(root: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    let Some(at) = find(root, path)? else { return Ok(()) };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(&at, "", flags)?;
    set_attributes(tree.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, true)?;
    attach(tree.as_fd(), at.as_fd())
}

fn mask(root: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    find(root, path)?.map_or(Ok(()), |at| cover(&at))
}

/// Adds attributes to the mount whose root is `mount`, and to those below it if `recursive`.
fn set_attributes(mount: BorrowedFd<'_>, attributes: MountAttrFlags, recursive: bool) -> io::Result<()> {
    let change = Change { add: attributes.bits().into(), ..Default::default() };
    crate::mountattr::set(mount, &change, recursive)
}

/// Calls pivot_root(2) with the same folder as new root and as place for the old one, so that the image needs no folder for it.
fn enter(root: BorrowedFd<'_>) -> io::Result<()> {
    let old = open_directory(Path::new("/"))?;
    rustix::process::fchdir(root)?;
    // SAFETY: both arguments are NUL-terminated and live through the call, which reads them and keeps nothing.
    if unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // "." is the old root now, stacked on the new one: cut it off and unmount it.
    rustix::process::fchdir(&old)?;
    change(".", MsFlags::MS_SLAVE | MsFlags::MS_REC)?;
    nix::mount::umount2(".", MntFlags::MNT_DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}
