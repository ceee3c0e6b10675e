//! Prepares the container's root file system as a detached mount: no mount table of the host lists it, and it ends with the last process
//! that holds it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use catamaran_files::mount_options::Options;
use catamaran_worker::mountattr::{self, Change};
use containerd_shim_protos::types::mount::Mount;
use nix::libc;
use nix::mount::{MntFlags, MsFlags};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use crate::error::{Doing, Error, Result};
use crate::files::mounts::detached;

/// The most bytes of a string value for fsconfig(2), with the null byte at its end.
const LONGEST_VALUE: usize = 256;
/// The most bytes of options for mount(2), with the null byte at their end. The kernel silently cuts longer options, and layers with them.
const PAGE: usize = 4096;
const PLACE: &str = "the request's rootfs";

/// Makes the root file system from the snapshotter's mount, or from `root.path` if there is none. `stage` is an existing folder, on which
/// the overlay is mounted for a moment if the kernel takes long options only through mount(2).
pub(crate) fn prepare(mounts: &[Mount], root_path: &Path, stage: &Path) -> Result<OwnedFd> {
    let [mount] = mounts else {
        if mounts.is_empty() {
            return detached(root_path, true, &Options::default()).on(root_path).map(|(tree, _)| tree);
        }
        let found = format!("{} mounts", mounts.len());
        return Err(Error::refused(PLACE, found, "one mount, of type overlay or bind"));
    };
    if let Some(mapped) = mount.options.iter().find(|o| o.starts_with("uidmap=") || o.starts_with("gidmap=")) {
        let expected = "no id mapping: this version has no user namespaces (hostUsers: false)";
        return Err(Error::refused(PLACE, format!("option {mapped}"), expected));
    }
    let options = Options::parse(&mount.options)
        .map_err(|e| Error::refused(PLACE, format!("option {:?}", e.option), e.expected))?;
    match mount.type_.as_str() {
        "overlay" => overlay(&options, stage),
        "bind" => bind(Path::new(&mount.source), &options),
        other => Err(Error::refused(
            PLACE,
            format!("type {other:?}"),
            "overlay or bind: a snapshotter such as overlayfs or native",
        )),
    }
}

/// Prepares `tree` for a native container: without attributes that the snapshotter did not ask for, such as `nosuid`. Returns None if the
/// snapshotter names no mount: runc then uses `root.path` as it is.
pub(crate) fn for_native(tree: OwnedFd, mounts: &[Mount]) -> Result<Option<OwnedFd>> {
    let [mount] = mounts else { return Ok(None) };
    let options = Options::parse(&mount.options)
        .map_err(|e| Error::refused(PLACE, format!("option {:?}", e.option), e.expected))?;
    let doing = || "preparing the root file system for runc".to_owned();
    if mount.type_ == "bind" {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags.set(OpenTreeFlags::AT_RECURSIVE, options.bind.unwrap_or(false));
        let tree = rustix::mount::open_tree(CWD, &mount.source, flags).on(&mount.source)?;
        mountattr::set(tree.as_fd(), &options.here.change(), false).doing(doing)?;
        return Ok(Some(tree));
    }
    let clear = [libc::MOUNT_ATTR_NODEV, libc::MOUNT_ATTR_NOSUID].into_iter().filter(|bit| !options.here.has(*bit));
    let change = Change { add: 0, clear: clear.sum(), propagation: 0 };
    mountattr::set(tree.as_fd(), &change, false).doing(doing)?;
    Ok(Some(tree))
}

fn bind(source: &Path, options: &Options) -> Result<OwnedFd> {
    if let Some(own) = options.own.first() {
        return Err(Error::refused(PLACE, format!("option {own:?}"), "an option of a bind mount"));
    }
    detached(source, options.bind.unwrap_or(false), options).on(source).map(|(tree, _)| tree)
}

fn overlay(options: &Options, stage: &Path) -> Result<OwnedFd> {
    let doing = || "mounting the image's layers".to_owned();
    match overlay_by_parts(options) {
        // Kernels before 6.5 do not know `lowerdir+`, and take long values only through mount(2).
        Err(Errno::INVAL) if options.own.iter().any(|o| o.len() >= LONGEST_VALUE) => {
            let (folder, data) = page(&options.own)?;
            overlay_by_page(&folder, &data, options, stage).doing(doing)
        }
        made => made.doing(doing),
    }
}

fn overlay_by_parts(options: &Options) -> rustix::io::Result<OwnedFd> {
    let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in &options.own {
        match option.split_once('=') {
            Some(("lowerdir", layers)) if layers.len() >= LONGEST_VALUE => {
                for layer in layers.split(':') {
                    rustix::mount::fsconfig_set_string(&fs, "lowerdir+", layer)?;
                }
            }
            Some((key, value)) => rustix::mount::fsconfig_set_string(&fs, key, value)?,
            None => rustix::mount::fsconfig_set_flag(&fs, option.as_str())?,
        }
    }
    rustix::mount::fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::from_bits_retain(options.of_a_new_mount() as _);
    rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Returns the options as one text for mount(2), and the working directory to mount from. If the options are too long, layers are named
/// relative to their common folder, which is then the working directory.
fn page(own: &[String]) -> Result<(PathBuf, String)> {
    let whole = own.join(",");
    if whole.len() < PAGE {
        return Ok((PathBuf::from("/"), whole));
    }
    let layers = own.iter().find_map(|o| o.strip_prefix("lowerdir=")).unwrap_or_default();
    let folder = common_folder(layers);
    let short = |layer: &str| match Path::new(layer).strip_prefix(&folder) {
        Ok(rest) => rest.to_string_lossy().into_owned(),
        Err(_) => layer.to_owned(),
    };
    let short = layers.split(':').map(short).collect::<Vec<_>>().join(":");
    let data: Vec<_> =
        own.iter().map(|o| if o.starts_with("lowerdir=") { format!("lowerdir={short}") } else { o.clone() }).collect();
    let data = data.join(",");
    if data.len() >= PAGE {
        let found = format!("{} layers, {} bytes of options", layers.split(':').count(), data.len());
        let expected =
            format!("fewer than {PAGE} bytes, which is all that this kernel takes: an image of fewer layers");
        return Err(Error::refused(PLACE, found, expected));
    }
    Ok((folder, data))
}

/// Returns the innermost folder that has all layers in it.
fn common_folder(layers: &str) -> PathBuf {
    let mut folders = layers.split(':').map(|layer| Path::new(layer).parent().unwrap_or(Path::new("/")));
    let mut common = folders.next().unwrap_or(Path::new("/"));
    for folder in folders {
        while !folder.starts_with(common) {
            common = common.parent().unwrap_or(Path::new("/"));
        }
    }
    common.to_owned()
}

/// Mounts the overlay on `stage`, copies the mount, and unmounts it.
fn overlay_by_page(folder: &Path, data: &str, options: &Options, stage: &Path) -> io::Result<OwnedFd> {
    // This process has one thread and does nothing else meanwhile, so that the other working directory affects nothing.
    rustix::process::chdir(folder)?;
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    let mounted = nix::mount::mount(Some("overlay"), stage, Some("overlay"), flags, Some(data));
    rustix::process::chdir("/")?;
    mounted?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copied = rustix::mount::open_tree(CWD, stage, clone);
    nix::mount::umount2(stage, MntFlags::MNT_DETACH)?;
    let tree = copied?;
    let change =
        Change { add: options.of_a_new_mount(), clear: libc::MOUNT_ATTR__ATIME, propagation: libc::MS_PRIVATE };
    mountattr::set(tree.as_fd(), &change, false)?;
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(layers: usize, folder: &str) -> Vec<String> {
        let layers: Vec<_> = (0..layers).map(|n| format!("{folder}/{n}/fs")).collect();
        vec!["upperdir=/u".to_owned(), format!("lowerdir={}", layers.join(":")), "index=off".to_owned()]
    }

    #[test]
    fn mount_options_that_fit_a_page_are_unchanged() {
        let own = options(10, "/var/lib/snapshots");
        assert_eq!(page(&own).unwrap(), (PathBuf::from("/"), own.join(",")));
    }

    #[test]
    fn longer_mount_options_are_relative_to_the_common_folder() {
        let (folder, data) = page(&options(100, "/var/lib/snapshots-of-a-rather-long-name/overlayfs")).unwrap();
        assert_eq!(folder, Path::new("/var/lib/snapshots-of-a-rather-long-name/overlayfs"));
        assert!(data.starts_with("upperdir=/u,lowerdir=0/fs:1/fs:") && data.ends_with(":99/fs,index=off"), "{data}");
    }

    #[test]
    fn mount_options_that_the_kernel_would_cut_are_refused() {
        let refused = page(&options(2000, "/var/lib/snapshots")).unwrap_err().to_string();
        assert!(refused.contains("2000 layers"), "{refused}");
    }
}
