//! Paths that are descriptors: `/dev/stdout`, `/dev/fd/3`, and an image's links to these. A Wasm container has no procfs that
//! they lead into, so wasmer-wasix finds nothing there. What it did not find is looked for once more.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use catamaran_worker::links::{Expanded, expand};
use rustix::fs::{CWD, Mode, OFlags, openat};
use wasmer::RuntimeError;
use wasmer_wasix::wasmer_wasix_types::wasi::{Errno, Oflags};

use crate::call::{Call, Which};

/// `path_open`, in either form: folder, flags of the look-up, path, its length, how it is opened, and last where to put the
/// descriptor.
pub(crate) fn open(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let said = call.made()?;
    let Some(descriptor) = missed(call, said, 1, 2)? else { return Ok(said) };
    let how = Oflags::from_bits_truncate(call.number(4) as u16);
    if how.contains(Oflags::CREATE | Oflags::EXCL) {
        return Ok(Errno::Exist as i32);
    }
    if how.contains(Oflags::DIRECTORY) {
        return Ok(Errno::Notdir as i32);
    }
    call.instead(Which::Duplicate, descriptor).map(found)
}

/// `path_filestat_get`: folder, flags of the look-up, path, its length, where to put it.
pub(crate) fn stat(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let said = call.made()?;
    let Some(descriptor) = missed(call, said, 1, 2)? else { return Ok(said) };
    call.instead(Which::Stat, descriptor).map(found)
}

/// A name in the folder of descriptors is there as long as that is open.
fn found(said: i32) -> i32 {
    if said == Errno::Badf as i32 { Errno::Noent as i32 } else { said }
}

/// The descriptor that a path leads to which was not found, if it does. `flags` and `path` are the places of its arguments.
fn missed(call: &mut Call<'_>, said: i32, flags: usize, path: usize) -> Result<Option<u32>, RuntimeError> {
    if said == 0 || said == Errno::Badf as i32 {
        return Ok(None);
    }
    let follows = call.follows(flags);
    Ok(call.path(0, path)?.ok().and_then(|path| leads_to(&path, follows)))
}

fn leads_to(path: &Path, follows: bool) -> Option<u32> {
    let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let path = path.as_os_str().as_bytes();
    let start = path.iter().position(|&byte| byte != b'/')?;
    match expand(root.as_fd(), &path[start..], follows) {
        Ok(Expanded::Descriptor(number)) => Some(number),
        _ => None,
    }
}
