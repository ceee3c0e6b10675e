//! Names that are made and moved, by the kernel alone: wasmer-wasix makes a hard link in what it remembers, and renames no
//! link that it does not remember, or whose target is not there.

use std::fs;

use rustix::fs::{self as at, AtFlags, CWD};
use wasmer::RuntimeError;

use crate::call::Call;
use crate::errors;
use crate::remembered::{self, Links};

/// `path_link`: folder, flags, path, its length, the other folder, path, its length.
pub(crate) fn link(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let (old, new) = match (call.path(0, 2)?, call.path(4, 5)?) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(refused), _) | (_, Err(refused)) => return Ok(refused),
    };
    let flags = if call.follows(1) { AtFlags::SYMLINK_FOLLOW } else { AtFlags::empty() };
    remembered::note(&new, Links::Go);
    Ok(errors::said(at::linkat(CWD, old, CWD, new, flags)))
}

/// `path_rename`: folder, path, its length, the other folder, path, its length. Files and folders are wasmer-wasix's, which
/// keeps the paths of open ones.
pub(crate) fn rename(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let (Ok(old), Ok(new)) = (call.path(0, 1)?, call.path(3, 4)?) else { return call.made() };
    if !fs::symlink_metadata(&old).is_ok_and(|metadata| metadata.is_symlink()) {
        return call.made();
    }
    remembered::note(&old, Links::Go);
    remembered::note(&new, Links::Go);
    Ok(errors::said(at::renameat(CWD, old, CWD, new)))
}
