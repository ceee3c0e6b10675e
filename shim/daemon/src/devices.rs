//! The default devices of a container (OCI runtime spec, «Default Devices»), as far as a Wasm guest can use them.
//!
//! Each is a bind mount of the host's node: nothing is made by mknod, and every other mount is `nodev`. The mounts are
//! read-only, which a device's data does not care for, so that a worker that runs as root cannot change the host's node.

use std::os::fd::AsFd;
use std::path::Path;

use catamaran_worker::job::{Mount, Source};
use catamaran_worker::mountattr::{self, Change};
use nix::libc;
use rustix::fs::CWD;
use rustix::mount::OpenTreeFlags;

use crate::error::{Doing, Result};
use crate::spawn::Handover;

const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// The devices' mounts, to come after those of the spec.
pub(crate) fn prepare(handover: &mut Handover) -> Result<Vec<Mount>> {
    DEVICES.iter().map(|path| prepare_one(path, handover)).collect()
}

fn prepare_one(path: &str, handover: &mut Handover) -> Result<Mount> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, Path::new(path), flags).on(path)?;
    let change = Change {
        add: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
        clear: libc::MOUNT_ATTR_NODEV,
        propagation: libc::MS_PRIVATE,
    };
    mountattr::set(tree.as_fd(), &change, false).on(path)?;
    Ok(Mount { destination: path.to_owned(), source: Source::Tree { fd: handover.add(tree), folder: false } })
}
