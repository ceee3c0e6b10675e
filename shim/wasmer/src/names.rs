//! Makes, moves and removes names, by the kernel alone.
//!
//! wasmer-wasix first changes what it remembers: it ends the process if a name lies below a linked folder, or ends in a
//! slash, makes a hard link that no other process sees, and renames no link whose target is not there. After the kernel's
//! answer, the remembered folders are put right, because somebody may have them open ([`remembered`]).

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{self as at, AtFlags, CWD, Mode};
use wasmer::RuntimeError;
use wasmer_wasix::wasmer_wasix_types::wasi::Errno;

use crate::call::Call;
use crate::{errors, remembered};

/// A path of the call's; if there is none, returns the call's answer.
macro_rules! path {
    ($path:expr) => {
        match $path? {
            Ok(path) => path,
            Err(refused) => return Ok(refused),
        }
    };
}

/// `path_unlink_file`: folder, path, its length.
pub(crate) fn unlink(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let path = path!(call.path(0, 1));
    remembered::note(&path);
    Ok(errors::said(at::unlinkat(CWD, path, AtFlags::empty())))
}

/// `path_remove_directory`: folder, path, its length.
pub(crate) fn remove_folder(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let path = path!(call.path(0, 1));
    let real = real(&path);
    let removed = at::unlinkat(CWD, path, AtFlags::REMOVEDIR);
    if let (Ok(()), Some(real)) = (removed, real) {
        remembered::forget_folder(&call.tree(), &real);
    }
    Ok(errors::said(removed))
}

/// `path_create_directory`: folder, path, its length.
pub(crate) fn make_folder(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let path = path!(call.path(0, 1));
    Ok(errors::said(at::mkdirat(CWD, path, Mode::from_raw_mode(0o777))))
}

/// `path_symlink`: the target, its length, folder, path, its length.
pub(crate) fn make_link(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let target = match call.text(0) {
        Ok(target) => target,
        Err(refused) => return Ok(refused),
    };
    let path = path!(call.path(2, 3));
    Ok(errors::said(at::symlinkat(target, CWD, path)))
}

/// `path_readlink`: folder, path, its length, a buffer, its length, where its used length goes.
pub(crate) fn read_link(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let path = path!(call.path(0, 1));
    let target = match at::readlinkat(CWD, path, Vec::new()) {
        Ok(target) => target.into_bytes(),
        Err(e) => return Ok(errors::said(Err(e))),
    };
    // As readlink(2) does, cuts off what does not fit.
    let fitting = usize::try_from(call.number(4)).map_or(target.len(), |room| room.min(target.len()));
    let put = call.put(call.number(3), &target[..fitting]) && call.put_size(5, fitting);
    Ok(if put { 0 } else { Errno::Fault as i32 })
}

/// `path_link`: folder, flags, path, its length, the other folder, path, its length.
pub(crate) fn link(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let old = path!(call.path(0, 2));
    let new = path!(call.path(4, 5));
    let flags = if call.follows(1) { AtFlags::SYMLINK_FOLLOW } else { AtFlags::empty() };
    Ok(errors::said(at::linkat(CWD, old, CWD, new, flags)))
}

/// `path_rename`: folder, path, its length, the other folder, path, its length.
pub(crate) fn rename(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let old = path!(call.path(0, 1));
    let new = path!(call.path(3, 4));
    let (from, to) = (real(&old), real(&new));
    let is_folder = from.as_ref().is_some_and(|from| fs::symlink_metadata(from).is_ok_and(|old| old.is_dir()));
    if is_folder {
        // So that wasmer-wasix remembers the destination's folder.
        errors::carried(|| call.look_up(3, 4).map(|()| 0))?;
    }
    remembered::note(&old);
    remembered::note(&new);
    let renamed = at::renameat(CWD, old, CWD, new);
    if let (Ok(()), true, Some(from), Some(to)) = (renamed, is_folder, from, to) {
        remembered::move_folder(&call.tree(), &from, &to);
    }
    Ok(errors::said(renamed))
}

/// Resolves the links on the way to a name: folders are remembered by such paths. None if there is no way to it.
fn real(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?;
    Some(fs::canonicalize(path.parent()?).ok()?.join(name))
}

/// Returns the target of the link at `path`, with the links on the way resolved as by the kernel, for which `..` of the root is the root.
/// wasmer-wasix would join the texts, and leave the root by such a `..`.
pub(crate) fn target(path: &Path) -> std::io::Result<PathBuf> {
    let target = fs::read_link(path)?;
    let whole = path.parent().unwrap_or(Path::new("/")).join(&target);
    // A missing file is named in its real folder; if that folder is missing too, the text alone decides.
    Ok(real(&whole).or_else(|| fs::canonicalize(&whole).ok()).unwrap_or_else(|| without_dots(&whole)))
}

/// Resolves a path from the root by its text alone.
fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for name in catamaran_worker::names(path) {
        match name == ".." {
            true => _ = clean.pop(),
            false => clean.push(name),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::{real, target, without_dots};

    #[test]
    fn links_on_the_way_are_followed_and_the_last_one_is_not() {
        let folder = std::env::temp_dir().join(format!("catamaran-names-{}", std::process::id()));
        fs::create_dir_all(folder.join("one/two")).unwrap();
        let folder = fs::canonicalize(folder).unwrap();
        symlink("one/two", folder.join("link")).unwrap();
        symlink("../one/nowhere", folder.join("one/dangling")).unwrap();
        symlink("../".repeat(40) + "etc/there", folder.join("up")).unwrap();
        symlink("..", folder.join("one/two/parent")).unwrap();
        symlink("no/folder/../file", folder.join("lost")).unwrap();
        assert_eq!(real(&folder.join("link/parent")).unwrap(), folder.join("one/two/parent"));
        assert_eq!(real(&folder.join("link/")).unwrap(), folder.join("link"));
        assert_eq!(real(&folder.join("nowhere/name")), None);
        assert_eq!(real(Path::new("/")), None);
        assert_eq!(target(&folder.join("link")).unwrap(), folder.join("one/two"));
        assert_eq!(target(&folder.join("one/dangling")).unwrap(), folder.join("one/nowhere"));
        assert_eq!(target(&folder.join("up")).unwrap(), Path::new("/etc/there"));
        assert_eq!(target(&folder.join("one/two/parent")).unwrap(), folder.join("one"));
        assert_eq!(target(&folder.join("lost")).unwrap(), folder.join("no/file"));
        assert!(target(&folder.join("one")).is_err());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_parent_of_the_root_is_the_root() {
        assert_eq!(without_dots(Path::new("/a/../../../b/./c/")), Path::new("/b/c"));
    }
}
