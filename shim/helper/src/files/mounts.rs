//! Prepares the spec's `mounts`: bind mounts as detached trees, others as file systems for the worker to make.
//!
//! A bind mount's source is opened here, once, with root's rights on the host, so that the search for the module and the worker's mount use
//! the same tree.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use catamaran_files::handover::Handover;
use catamaran_files::mount_options::{ALWAYS, Options};
use catamaran_files::search::MountPoint;
use catamaran_worker::job::{Later, Source};
use catamaran_worker::mountattr::{self, Change};
use catamaran_worker::quote::cut;
use nix::libc;
use oci_spec::runtime::Mount;
use rustix::fs::{CWD, FileType};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use crate::error::{Error, Result};

/// Prepares a mount of the spec. `index` is its place in `mounts`, for errors.
pub(crate) fn prepare(index: usize, mount: &Mount, handover: &mut Handover) -> Result<MountPoint> {
    let destination = mount.destination().to_string_lossy();
    let place = format!("config.json: mounts[{index}] at {}", cut(&destination));
    let destination = checked_destination(&destination, index)?;
    let options = Options::parse(mount.options().as_deref().unwrap_or_default())
        .map_err(|e| Error::refused(&place, format!("option {:?}", e.option), e.expected))?;
    let kind = mount.typ().as_deref().unwrap_or(if options.bind.is_some() { "bind" } else { "" });
    let source = match (kind, options.bind) {
        (_, Some(recursive)) => bind(place, mount, recursive, &options, handover)?,
        ("bind", None) => bind(place, mount, true, &options, handover)?,
        // A folder in place of a mqueue file system: no Wasm guest can use it, and the kernel would charge it to the user on the whole
        // node.
        ("proc" | "mqueue", None) => Source::Empty,
        ("cgroup" | "cgroup2", None) => cgroup(&options),
        ("tmpfs" | "devpts", None) => filesystem(kind, &options, 0),
        // Read-only, because root can change the host by much of it even without capabilities.
        ("sysfs", None) => filesystem(kind, &options, libc::MOUNT_ATTR_RDONLY),
        (other, None) => {
            return Err(Error::refused(
                place,
                format!("type {other:?}"),
                "bind, tmpfs, mqueue, devpts, sysfs, proc or cgroup",
            ));
        }
    };
    Ok(MountPoint { destination, source })
}

/// Refuses any path but an absolute one without `.` and `..`, so that only the container's links decide where the mount lies. Removes extra
/// slashes.
fn checked_destination(destination: &str, index: usize) -> Result<String> {
    let path = Path::new(destination);
    let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || path.components().count() < 2 {
        return Err(Error::refused(
            format!("config.json: mounts[{index}].destination"),
            format!("{:?}", cut(destination)),
            "an absolute path below \"/\", without \"..\"",
        ));
    }
    let names: Vec<_> = path.components().skip(1).map(|c| c.as_os_str().to_string_lossy()).collect();
    Ok(format!("/{}", names.join("/")))
}

fn filesystem(kind: &str, options: &Options, always: u64) -> Source {
    Source::Filesystem {
        kind: kind.to_owned(),
        options: options.own.clone(),
        attributes: options.of_a_new_mount() | always,
    }
}

/// Returns the mount for a cgroup file system. v2: the container's own part of the tree, as its cgroup namespace shows it, read-only. v1:
/// an empty folder, because v1 has a tree for every controller and Wasm guests do not read them.
fn cgroup(options: &Options) -> Source {
    if !catamaran_cgroup::is_unified() {
        return Source::Empty;
    }
    Source::Filesystem {
        kind: "cgroup2".to_owned(),
        options: Vec::new(),
        attributes: options.of_a_new_mount() | libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC,
    }
}

fn bind(place: String, mount: &Mount, recursive: bool, options: &Options, handover: &mut Handover) -> Result<Source> {
    let Some(source) = mount.source().as_deref().filter(|path| path.is_absolute()) else {
        let found = mount
            .source()
            .as_ref()
            .map_or("no source".to_owned(), |path| format!("source {:?}", cut(&path.to_string_lossy())));
        return Err(Error::refused(place, found, "an absolute path of the file or folder to bind"));
    };
    if let Some(own) = options.own.first() {
        return Err(Error::refused(place, format!("option {own:?}"), "an option of a bind mount"));
    }
    if options.receiving && options.below.has(libc::MOUNT_ATTR_RDONLY) {
        let expected =
            "private propagation (mountPropagation: None), or \"ro\": the host's later mounts would not be read-only";
        return Err(Error::refused(place, "\"rro\" with slave or shared propagation", expected));
    }
    let (tree, folder) = detached(source, recursive, options).map_err(|e| match Errno::from_io_error(&e) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
            let found = format!("source {:?}: {e}", cut(&source.to_string_lossy()));
            Error::refused(&place, found, "the path of a file or folder of this machine")
        }
        _ => Error::system(format!("{place}: binding {}", cut(&source.to_string_lossy())), e),
    })?;
    let later = options.receiving.then(|| Later {
        source: source.to_string_lossy().into_owned(),
        recursive,
        here: options.here.change(),
        below: everywhere(options),
    });
    Ok(Source::Tree { fd: handover.add(tree), folder, later })
}

/// Returns the changes for every mount of a bound tree.
fn everywhere(options: &Options) -> Change {
    let mut all = options.below;
    all.set(ALWAYS);
    all.change()
}

/// Returns a detached and private copy of the mount at `path`, and whether it is a folder.
pub(crate) fn detached(path: &Path, recursive: bool, options: &Options) -> io::Result<(OwnedFd, bool)> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = rustix::mount::open_tree(CWD, path, flags)?;
    mountattr::set(tree.as_fd(), &options.here.change(), false)?;
    let all = Change { propagation: libc::MS_PRIVATE, ..everywhere(options) };
    mountattr::set(tree.as_fd(), &all, true)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode);
    Ok((tree, kind == FileType::Directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_checked() {
        assert_eq!(checked_destination("/a//b/", 0).unwrap(), "/a/b");
        for wrong in ["a", "/", "/a/../b", ""] {
            assert!(checked_destination(wrong, 0).is_err(), "{wrong}");
        }
    }
}
