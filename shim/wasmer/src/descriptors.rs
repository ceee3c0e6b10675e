//! Paths that are descriptors: `/dev/stdout`, `/dev/fd/3`, and an image's links to these. A Wasm container has no procfs that
//! they lead into, so the kernel finds nothing there. A path that it did not find is looked up here once more.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use catamaran_worker::links::{Expanded, expand};
use rustix::fs::{CWD, Mode, OFlags, openat};
use wasmer_wasix::wasmer_wasix_types::wasi::Errno;

/// Makes ENOENT of EBADF: a descriptor's name is there only while the descriptor is open.
pub(crate) fn found(said: i32) -> i32 {
    if said == Errno::Badf as i32 { Errno::Noent as i32 } else { said }
}

/// The descriptor that a path leads to, if any. `follows` says whether a link at its end is followed.
pub(crate) fn leads_to(path: &Path, follows: bool) -> Option<u32> {
    let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let path = path.as_os_str().as_bytes();
    let start = path.iter().position(|&byte| byte != b'/')?;
    match expand(root.as_fd(), &path[start..], follows) {
        Ok(Expanded::Descriptor(number)) => Some(number),
        _ => None,
    }
}
