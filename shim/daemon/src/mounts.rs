//! `mounts` of the spec, as detached trees and as file systems for the worker to make.
//!
//! A bind mount's source is opened here, once, with the host's rights: what the module is looked for in and what the
//! worker mounts is one and the same tree.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use catamaran_worker::job::Source;
use catamaran_worker::mountattr::{self, Change};
use nix::libc;
use oci_spec::runtime::Mount;
use rustix::fs::{CWD, FileType};
use rustix::mount::OpenTreeFlags;

use crate::error::{Doing, Error, Result};
use crate::spawn::Handover;

/// What a mount option means.
enum Meaning {
    Add(u64),
    Clear(u64),
    /// Bind mounts only: attributes that hold for every mount below as well.
    AddRecursive(u64),
    /// Mounts that the host makes later would arrive, with devices and without our attributes: refused.
    Receiving,
    Bind {
        recursive: bool,
    },
    /// Nothing to do: the default, or no matter for a mount.
    Nothing,
}

/// Mount options of mount(8) and the OCI runtime spec («Linux mount options»). What is not here is the file system's own.
const OPTIONS: &[(&str, Meaning)] = &[
    ("async", Meaning::Nothing),
    ("atime", Meaning::Clear(libc::MOUNT_ATTR_NOATIME)),
    ("bind", Meaning::Bind { recursive: false }),
    ("defaults", Meaning::Nothing),
    ("dev", Meaning::Nothing),
    ("diratime", Meaning::Clear(libc::MOUNT_ATTR_NODIRATIME)),
    ("exec", Meaning::Clear(libc::MOUNT_ATTR_NOEXEC)),
    ("loud", Meaning::Nothing),
    ("noatime", Meaning::Add(libc::MOUNT_ATTR_NOATIME)),
    ("nodev", Meaning::Add(libc::MOUNT_ATTR_NODEV)),
    ("nodiratime", Meaning::Add(libc::MOUNT_ATTR_NODIRATIME)),
    ("noexec", Meaning::Add(libc::MOUNT_ATTR_NOEXEC)),
    ("norelatime", Meaning::Nothing),
    ("nostrictatime", Meaning::Nothing),
    ("nosuid", Meaning::Add(libc::MOUNT_ATTR_NOSUID)),
    ("nosymfollow", Meaning::Add(libc::MOUNT_ATTR_NOSYMFOLLOW)),
    ("private", Meaning::Nothing),
    ("rbind", Meaning::Bind { recursive: true }),
    ("relatime", Meaning::Nothing),
    ("ro", Meaning::Add(libc::MOUNT_ATTR_RDONLY)),
    ("rprivate", Meaning::Nothing),
    ("rro", Meaning::AddRecursive(libc::MOUNT_ATTR_RDONLY)),
    ("rshared", Meaning::Receiving),
    ("rslave", Meaning::Receiving),
    ("rw", Meaning::Clear(libc::MOUNT_ATTR_RDONLY)),
    ("shared", Meaning::Receiving),
    ("silent", Meaning::Nothing),
    ("slave", Meaning::Receiving),
    ("strictatime", Meaning::Add(libc::MOUNT_ATTR_STRICTATIME)),
    ("suid", Meaning::Nothing),
];

/// On every mount, whatever the spec says: no device of a guest's making works, no set-user-id bit counts.
const ALWAYS: u64 = libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID;

/// The options' names, for the OCI features document.
pub(crate) fn understood() -> Vec<String> {
    OPTIONS.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// Options sorted by what they do.
#[derive(Default)]
struct Options {
    attributes: u64,
    recursive: u64,
    receiving: bool,
    bind: Option<bool>,
    own: Vec<String>,
}

impl Options {
    fn parse(options: &[String]) -> Self {
        let mut parsed = Self::default();
        for option in options {
            match OPTIONS.iter().find(|(name, _)| name == option).map(|(_, meaning)| meaning) {
                Some(Meaning::Add(bits)) => parsed.attributes |= bits,
                Some(Meaning::Clear(bits)) => parsed.attributes &= !bits,
                Some(Meaning::AddRecursive(bits)) => parsed.recursive |= bits,
                Some(Meaning::Receiving) => parsed.receiving = true,
                Some(Meaning::Bind { recursive }) => parsed.bind = Some(*recursive),
                Some(Meaning::Nothing) => {}
                None => parsed.own.push(option.clone()),
            }
        }
        parsed
    }
}

/// One mount of the spec, ready for the worker, and for the search for the module.
pub(crate) struct Prepared {
    pub(crate) destination: String,
    pub(crate) source: Source,
}

/// Prepares a mount of the spec. `index` is its place in `mounts`, for the error's text.
pub(crate) fn prepare(index: usize, mount: &Mount, handover: &mut Handover) -> Result<Prepared> {
    let place = || format!("config.json: mounts[{index}]");
    let destination = checked_destination(&mount.destination().to_string_lossy(), place)?;
    let options = Options::parse(mount.options().as_deref().unwrap_or_default());
    let kind = mount.typ().as_deref().unwrap_or(if options.bind.is_some() { "bind" } else { "" });
    let source = match (kind, options.bind) {
        (_, Some(recursive)) => bind(mount, recursive, &options, handover)?,
        ("bind", None) => bind(mount, true, &options, handover)?,
        ("proc", None) => Source::Empty,
        ("cgroup" | "cgroup2", None) => cgroup(&options),
        ("tmpfs" | "mqueue" | "devpts" | "sysfs", None) => filesystem(kind, &options),
        (other, None) => {
            return Err(Error::refused(
                format!("{}.type", place()),
                format!("{other:?}"),
                "bind, tmpfs, mqueue, devpts, sysfs, proc or cgroup",
            ));
        }
    };
    Ok(Prepared { destination, source })
}

/// An absolute path without `.` and `..`: where it lies is then a matter of the container's links alone.
fn checked_destination(destination: &str, place: impl Fn() -> String) -> Result<String> {
    let path = Path::new(destination);
    let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || path.components().count() < 2 {
        return Err(Error::refused(
            format!("{}.destination", place()),
            format!("{destination:?}"),
            "an absolute path below «/», without «..»",
        ));
    }
    let names: Vec<_> = path.components().skip(1).map(|c| c.as_os_str().to_string_lossy()).collect();
    Ok(format!("/{}", names.join("/")))
}

fn filesystem(kind: &str, options: &Options) -> Source {
    Source::Filesystem {
        kind: kind.to_owned(),
        options: options.own.clone(),
        attributes: options.attributes | options.recursive | ALWAYS,
    }
}

/// v2: the container's own part of the tree, which its cgroup namespace shows, never writable. v1 has a tree for every
/// controller and no reader among Wasm guests: an empty folder stands for them.
fn cgroup(options: &Options) -> Source {
    if !crate::cgroup::is_unified() {
        return Source::Empty;
    }
    Source::Filesystem {
        kind: "cgroup2".to_owned(),
        options: Vec::new(),
        attributes: options.attributes | ALWAYS | libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC,
    }
}

fn bind(mount: &Mount, recursive: bool, options: &Options, handover: &mut Handover) -> Result<Source> {
    let destination = mount.destination().display();
    let Some(source) = mount.source() else {
        let place = format!("config.json: the mount at {destination}");
        return Err(Error::refused(place, "no source", "the path that is to be bound"));
    };
    if let Some(own) = options.own.first() {
        let place = format!("config.json: the mount at {destination}");
        return Err(Error::refused(place, format!("option {own:?}"), "an option of a bind mount"));
    }
    if options.receiving {
        let place = format!("config.json: the mount at {destination}");
        let expected = "private propagation (mountPropagation: None): this version takes no later mounts of the host's";
        return Err(Error::refused(place, "slave or shared propagation", expected));
    }
    let change = Attributes { own: options.attributes, below: options.recursive };
    let (tree, folder) = detached(source, recursive, change)?;
    Ok(Source::Tree { fd: handover.add(tree), folder })
}

/// `MOUNT_ATTR_*` for a tree's topmost mount and for all of it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Attributes {
    pub(crate) own: u64,
    pub(crate) below: u64,
}

/// A copy of what is mounted at `path`, attached nowhere, and whether it is a folder.
pub(crate) fn detached(path: &Path, recursive: bool, attributes: Attributes) -> Result<(OwnedFd, bool)> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = rustix::mount::open_tree(CWD, path, flags).on(path)?;
    let all = Change { add: attributes.below | ALWAYS, clear: 0, propagation: libc::MS_PRIVATE };
    mountattr::set(tree.as_fd(), &all, true).on(path)?;
    mountattr::set(tree.as_fd(), &Change { add: attributes.own, ..Change::default() }, false).on(path)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&tree).on(path)?.st_mode);
    Ok((tree, kind == FileType::Directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sorted() {
        let text: Vec<String> = ["rbind", "ro", "rw", "nosuid", "rslave", "size=1k"].map(str::to_owned).to_vec();
        let parsed = Options::parse(&text);
        assert_eq!(parsed.attributes, libc::MOUNT_ATTR_NOSUID);
        assert!(parsed.receiving);
        assert_eq!(parsed.bind, Some(true));
        assert_eq!(parsed.own, ["size=1k"]);
    }

    #[test]
    fn destinations_are_checked() {
        let place = || "mounts[0]".to_owned();
        assert_eq!(checked_destination("/a//b/", place).unwrap(), "/a/b");
        for wrong in ["a", "/", "/a/../b", ""] {
            assert!(checked_destination(wrong, place).is_err(), "{wrong}");
        }
    }
}
