//! Finds the file of an image's unpacked layer that an overlay shows. Unlike the overlay's file, it has the same identity in every mount.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use containerd_shim_protos::types::mount::Mount;
use nix::libc;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Opens the lower layer's file for `seen`, which lies at `path`, an absolute path without links in the root file system made from
/// `rootfs`. Returns None if the root file system is no overlay, if the container's own layer has anything on the path, or if size or time
/// of the lower file differ from those of `seen`.
///
/// A hostile image may make the overlay show another file there. So the caller must read the returned file, and not take it for `seen`.
pub(crate) fn find(rootfs: &[Mount], path: &Path, seen: &File) -> io::Result<Option<File>> {
    let [mount] = rootfs else { return Ok(None) };
    let option = |key: &str| mount.options.iter().find_map(|o| o.strip_prefix(key)?.strip_prefix('='));
    let (true, Some(lower)) = (mount.type_ == "overlay", option("lowerdir")) else { return Ok(None) };
    let Ok(path) = path.strip_prefix("/") else { return Ok(None) };
    let (Some(upper), Some(first)) = (option("upperdir"), path.components().next()) else { return Ok(None) };
    if open_beneath(Path::new(upper), first.as_ref())?.is_some() {
        return Ok(None);
    }
    // Only files on the host's own file system count, where the kernel sets the times. On an image's file system (erofs, a loop device,
    // FUSE) its author sets them.
    let host = std::fs::metadata(upper)?.dev();
    for layer in lower.split(':') {
        if let Some(found) = open_beneath(Path::new(layer), path)? {
            let (own, shown) = (found.metadata()?, seen.metadata()?);
            let same = own.size() == shown.size() && own.mtime_nsec() == shown.mtime_nsec();
            if !own.is_file() || own.dev() != host || !same || own.mtime() != shown.mtime() {
                return Ok(None);
            }
            // Opens the file that was examined. O_NONBLOCK: does not wait for a lease on it.
            let flags = libc::O_NONBLOCK;
            return File::options()
                .read(true)
                .custom_flags(flags)
                .open(format!("/proc/self/fd/{}", found.as_raw_fd()))
                .map(Some);
        }
    }
    Ok(None)
}

/// Opens a path below a folder, through no link. Uses O_PATH, because the file may be a device. Returns None if there is no file.
fn open_beneath(folder: &Path, path: &Path) -> io::Result<Option<File>> {
    let folder = File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(folder)?;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let open = || rustix::fs::openat2(&folder, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), inside);
    match catamaran_worker::retried(open) {
        Ok(found) => Ok(Some(found.into())),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_found_in_the_topmost_layer_unless_the_container_changed_it() {
        let folder = std::env::temp_dir().join(format!("catamaran-lower-{}", std::process::id()));
        for name in ["one/bin", "two/bin", "upper"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        for (layer, text) in [("one", "above"), ("two", "below")] {
            fs::write(folder.join(layer).join("bin/a.wasm"), text).unwrap();
        }
        std::os::unix::fs::symlink("/etc", folder.join("one/link")).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        let options = vec![format!("lowerdir={}:{}", at("one"), at("two")), format!("upperdir={}", at("upper"))];
        let mount = Mount { type_: "overlay".to_owned(), options, ..Default::default() };
        let seen = File::open(folder.join("one/bin/a.wasm")).unwrap();
        let find = |path: &str, seen: &File| find(std::slice::from_ref(&mount), Path::new(path), seen).unwrap();
        let found = find("/bin/a.wasm", &seen).unwrap();
        assert_eq!(found.metadata().unwrap().ino(), seen.metadata().unwrap().ino());
        assert!(find("/bin/none.wasm", &seen).is_none());
        assert!(find("/link/passwd", &seen).is_none(), "no link is followed");
        let other = File::open(folder.join("two/bin/a.wasm")).unwrap();
        other.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert!(find("/bin/a.wasm", &other).is_none(), "a file of another time is another file");
        let elsewhere = Path::new("/dev/shm").join(folder.file_name().unwrap());
        fs::create_dir_all(elsewhere.join("bin")).unwrap();
        fs::copy(folder.join("one/bin/a.wasm"), elsewhere.join("bin/a.wasm")).unwrap();
        let modified = seen.metadata().unwrap().modified().unwrap();
        File::options().write(true).open(elsewhere.join("bin/a.wasm")).unwrap().set_modified(modified).unwrap();
        let options = vec![format!("lowerdir={}", elsewhere.display()), format!("upperdir={}", at("upper"))];
        let other = Mount { type_: "overlay".to_owned(), options, ..Default::default() };
        let found = super::find(std::slice::from_ref(&other), Path::new("/bin/a.wasm"), &seen).unwrap();
        fs::remove_dir_all(&elsewhere).unwrap();
        assert!(found.is_none(), "a file on another file system does not count");
        fs::create_dir(folder.join("upper/bin")).unwrap();
        assert!(find("/bin/a.wasm", &seen).is_none(), "the container's own layer has the folder");
        fs::remove_dir_all(&folder).unwrap();
    }
}
