//! The container's root file system, as a detached mount: it appears in no mount table of the host, and is gone with the
//! last process that holds it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use catamaran_worker::mountattr::{self, Change};
use containerd_shim_protos::types::mount::Mount;
use nix::libc;
use nix::mount::{MntFlags, MsFlags};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use crate::error::{Doing, Error, Result};
use crate::mounts::{Attributes, detached};

/// Longest value that fsconfig(2) takes as a string, its end included.
const LONGEST_VALUE: usize = 256;
const ALWAYS: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV.union(MountAttrFlags::MOUNT_ATTR_NOSUID);

/// Makes the root file system from what containerd's snapshotter says, or from `root.path` where it says nothing.
/// `stage` is an existing folder, used for a moment where the kernel takes long options only through mount(2).
pub(crate) fn prepare(mounts: &[Mount], root_path: &Path, stage: &Path) -> Result<OwnedFd> {
    match mounts {
        [] => detached(root_path, true, Attributes::default()).map(|(tree, _)| tree),
        [mount] => match mount.type_.as_str() {
            "overlay" => overlay(mount, stage),
            "bind" => bind(mount),
            other => Err(Error::refused(
                "the request's rootfs",
                format!("type {other:?}"),
                "overlay or bind: a snapshotter such as overlayfs or native",
            )),
        },
        several => {
            let found = format!("{} mounts", several.len());
            Err(Error::refused("the request's rootfs", found, "one mount, of type overlay or bind"))
        }
    }
}

fn bind(mount: &Mount) -> Result<OwnedFd> {
    let recursive = mount.options.iter().any(|o| o == "rbind");
    let own = if mount.options.iter().any(|o| o == "ro") { libc::MOUNT_ATTR_RDONLY } else { 0 };
    detached(Path::new(&mount.source), recursive, Attributes { own, ..Attributes::default() }).map(|(tree, _)| tree)
}

fn overlay(mount: &Mount, stage: &Path) -> Result<OwnedFd> {
    let options: Vec<&str> = mount.options.iter().map(String::as_str).collect();
    if let Some(mapped) = options.iter().find(|o| o.starts_with("uidmap=") || o.starts_with("gidmap=")) {
        let expected = "no id mapping: this version has no user namespaces (hostUsers: false)";
        return Err(Error::refused("the request's rootfs", format!("option {mapped}"), expected));
    }
    let doing = || "mounting the image's layers".to_owned();
    match overlay_by_parts(&options) {
        // A kernel before 6.5 does not know `lowerdir+`, and takes a long list only from mount(2).
        Err(Errno::INVAL) if options.iter().any(|o| o.len() >= LONGEST_VALUE) => {
            overlay_by_page(&options, stage).doing(doing)
        }
        made => made.doing(doing),
    }
}

fn overlay_by_parts(options: &[&str]) -> rustix::io::Result<OwnedFd> {
    let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let mut attributes = ALWAYS;
    for option in options {
        match option.split_once('=') {
            Some(("lowerdir", layers)) if layers.len() >= LONGEST_VALUE => {
                for layer in layers.split(':') {
                    rustix::mount::fsconfig_set_string(&fs, "lowerdir+", layer)?;
                }
            }
            Some((key, value)) => rustix::mount::fsconfig_set_string(&fs, key, value)?,
            None if *option == "ro" => attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY,
            None if *option == "rw" => {}
            None => rustix::mount::fsconfig_set_flag(&fs, *option)?,
        }
    }
    rustix::mount::fsconfig_create(&fs)?;
    rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// mount(2) takes one page of options. The mount is on `stage` only until it was copied off it.
fn overlay_by_page(options: &[&str], stage: &Path) -> io::Result<OwnedFd> {
    let mut flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    if options.contains(&"ro") {
        flags |= MsFlags::MS_RDONLY;
    }
    let data: Vec<&str> = options.iter().copied().filter(|o| !matches!(*o, "ro" | "rw")).collect();
    nix::mount::mount(Some("overlay"), stage, Some("overlay"), flags, Some(data.join(",").as_str()))?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copied = rustix::mount::open_tree(CWD, stage, clone);
    nix::mount::umount2(stage, MntFlags::MNT_DETACH)?;
    let tree = copied?;
    mountattr::set(tree.as_fd(), &Change { propagation: libc::MS_PRIVATE, ..Change::default() }, false)?;
    Ok(tree)
}
