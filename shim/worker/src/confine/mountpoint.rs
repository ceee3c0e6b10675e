//! Finds a path of the spec, a mount's place or the working directory, in the container's tree, or makes it there.
//!
//! Images and volumes hold links, and a volume's other user may change them during a look-up. Every look-up is an openat2 that
//! stays inside the root, so that the file that it finds lies inside; the mount is then placed through the descriptor.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// The most names looked up for one path, those of links included: as many as fit into a long path.
const MOST_STEPS: usize = 2048;
/// The deepest nesting of folders on the way to a place that is missing.
const DEEPEST: usize = 256;

/// A place for a mount.
pub(super) struct MountPoint {
    pub(super) at: OwnedFd,
    /// The mode (inode(7), «The file type and mode») of a place that was there before; None for a new one.
    pub(super) found: Option<u32>,
}

/// The treatment of a dangling link on the way to a missing place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dangling {
    /// Its target is made.
    IsMade,
    IsAnError,
}

/// Resolves a path of the spec below the container's root.
pub(super) fn resolve(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    crate::retried(|| rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), inside))
}

/// Opens the place of a mount, creating what is missing of it as the spec demands of a runtime. A dangling link's target is made
/// too: `/var/run` of many images is a link to a `/run` that they do not have.
pub(super) fn open_or_make(root: BorrowedFd<'_>, path: &str, folder: bool) -> io::Result<MountPoint> {
    let found = match resolve(root, Path::new(path)) {
        Ok(at) => Some(at),
        Err(Errno::NOENT) => None,
        Err(e) => return Err(e.into()),
    };
    let existed = found.is_some();
    let at = match found {
        Some(at) => at,
        None => make(root, Path::new(path), folder, Dangling::IsMade)?,
    };
    let mode = rustix::fs::fstat(&at)?.st_mode;
    match (FileType::from_raw_mode(mode) == FileType::Directory, folder) {
        (false, true) => Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            "the container has a file there: a folder cannot be mounted",
        )),
        (true, false) => Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "the container has a folder there: a file cannot be mounted",
        )),
        _ => Ok(MountPoint { at, found: existed.then_some(mode & 0o7777) }),
    }
}

/// Makes the folder `path` and its missing parents, as mkdir(1) does with `-p`.
pub(super) fn make_folder(root: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    let at = match resolve(root, Path::new(path)) {
        Ok(at) => at,
        Err(Errno::NOENT) => make(root, Path::new(path), true, Dangling::IsAnError)?,
        Err(e) => return Err(e.into()),
    };
    match FileType::from_raw_mode(rustix::fs::fstat(&at)?.st_mode) {
        FileType::Directory => Ok(()),
        _ => Err(Errno::NOTDIR.into()),
    }
}

/// Walks along `path` and makes what is missing: folders, and at its end a file if `folder` is false. Each name is looked up in
/// the folder before it, which is kept open, and `..` goes back by one folder: a name costs one look-up however deep it lies, and
/// no rename leads out of the root.
fn make(root: BorrowedFd<'_>, path: &Path, folder: bool, dangling: Dangling) -> io::Result<OwnedFd> {
    let mut todo = crate::names(path);
    // The last `own` names are the path's; those before them are a link's.
    let mut own = todo.len();
    let mut folders = vec![rustix::io::fcntl_dupfd_cloexec(root, 0)?];
    for _ in 0..MOST_STEPS {
        let Some(here) = folders.last() else { return Err(Errno::NOENT.into()) };
        let Some(name) = todo.pop_front() else {
            return folders.pop().ok_or_else(|| Errno::NOENT.into());
        };
        let linked = todo.len() >= own;
        own = own.min(todo.len());
        if name == ".." {
            folders.truncate((folders.len() - 1).max(1));
            continue;
        }
        match open_name(here, &name) {
            Ok(found) => {
                if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) != FileType::Symlink {
                    if folders.len() > DEEPEST {
                        return Err(Errno::NAMETOOLONG.into());
                    }
                    folders.push(found);
                    continue;
                }
                let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    folders.truncate(1);
                }
                for part in crate::names(&target).into_iter().rev() {
                    todo.push_front(part);
                }
            }
            Err(Errno::NOENT) if linked && dangling == Dangling::IsAnError => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "a link on the way leads to what is not there",
                ));
            }
            Err(Errno::NOENT) => {
                let made = if todo.is_empty() && !folder {
                    let new = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    rustix::fs::openat(here, &name, new, Mode::from_raw_mode(0o644)).map(drop)
                } else {
                    rustix::fs::mkdirat(here, &name, Mode::from_raw_mode(0o755))
                };
                match made {
                    // We made it, or somebody else did meanwhile: look it up again.
                    Ok(()) | Err(Errno::EXIST) => {
                        todo.push_front(name);
                        own += usize::from(!linked);
                    }
                    Err(e) => return Err(e.into()),
                }
            }
            Err(e) => return Err(e.into()),
        }
    }
    Err(Errno::LOOP.into())
}

/// Opens `name` in a folder, without following a link.
fn open_name(folder: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    crate::retried(|| rustix::fs::openat2(folder, name, flags, Mode::empty(), inside))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc;
    use std::fs;
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// Makes a root for links of all kinds, in a folder that none may lead to.
    fn root(name: &str) -> (PathBuf, PathBuf) {
        let folder = std::env::temp_dir().join(format!("catamaran-mountpoint-{}-{name}", std::process::id()));
        let root = folder.join("root");
        fs::create_dir_all(root.join("var")).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/file"), "").unwrap();
        (folder, root)
    }

    /// Opens or makes `path`, and returns its real path below the root.
    fn place(root: &Path, path: &str, folder: bool) -> io::Result<String> {
        let fd = fs::File::open(root).unwrap();
        let point = open_or_make(fd.as_fd(), path, folder)?;
        let real = fs::read_link(format!("/proc/self/fd/{}", point.at.as_raw_fd())).unwrap();
        let inside = real.strip_prefix(root.canonicalize().unwrap()).expect("it led outside");
        Ok(format!("/{}", inside.display()))
    }

    #[test]
    fn missing_mount_points_are_made() {
        let (folder, root) = root("made");
        assert_eq!(place(&root, "/a/b/c", true).unwrap(), "/a/b/c");
        assert_eq!(place(&root, "/a/b/d/file", false).unwrap(), "/a/b/d/file");
        assert!(root.join("a/b/d/file").is_file() && root.join("a/b/c").is_dir());
        assert_eq!(place(&root, "/etc/file", false).unwrap(), "/etc/file");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn links_of_a_mount_point_stay_in_the_tree() {
        let (folder, root) = root("links");
        for (link, target) in [
            ("var/run", "/run"),
            ("var/lock", "../lock/deep"),
            ("out", "../../../../../../outside"),
            ("far", "/var/../../../../outside"),
            ("file", "/no/such/file"),
            ("loop", "loop"),
            ("ping", "pong"),
            ("pong", "/ping"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        assert_eq!(place(&root, "/var/run/secrets/a", true).unwrap(), "/run/secrets/a");
        assert_eq!(place(&root, "/var/lock", true).unwrap(), "/lock/deep");
        assert_eq!(place(&root, "/out/x", true).unwrap(), "/outside/x");
        assert_eq!(place(&root, "/far", true).unwrap(), "/outside");
        assert_eq!(place(&root, "/file", false).unwrap(), "/no/such/file");
        for round in ["/loop", "/loop/x", "/ping/x"] {
            assert_eq!(place(&root, round, true).unwrap_err().raw_os_error(), Some(libc::ELOOP), "{round}");
        }
        assert!(!folder.join("outside").exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_is_made_as_mkdir_makes_it() {
        let (folder, root) = root("folder");
        for (link, target) in
            [("to", "/etc/."), ("out", "../../../../outside"), ("dangling", "/no/such"), ("near", "var/../none")]
        {
            symlink(target, root.join(link)).unwrap();
        }
        let fd = fs::File::open(&root).unwrap();
        let make = |path: &str| make_folder(fd.as_fd(), path);
        for (path, made) in [
            ("/", ""),
            ("/etc", "etc"),
            ("/a/b/c", "a/b/c"),
            ("/new/../other//./c/", "other/c"),
            ("/to/a/b", "etc/a/b"),
            ("/var/../../../up", "up"),
        ] {
            make(path).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert!(root.join(made).is_dir(), "{path}");
        }
        assert_eq!(fs::metadata(root.join("a/b")).unwrap().permissions().mode() & 0o7777, 0o755);
        for dangling in ["/dangling", "/dangling/x", "/out", "/out/x", "/near", "/a/../near/x"] {
            assert_eq!(make(dangling).unwrap_err().kind(), io::ErrorKind::AlreadyExists, "{dangling}");
        }
        for below in ["/etc/file", "/etc/file/x", "/to/file/x"] {
            assert_eq!(make(below).unwrap_err().kind(), io::ErrorKind::NotADirectory, "{below}");
        }
        assert!(!root.join("no").exists() && !root.join("none").exists() && !folder.join("outside").exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_is_not_mounted_on_a_file() {
        let (folder, root) = root("kinds");
        assert_eq!(place(&root, "/etc/file", true).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert_eq!(place(&root, "/etc", false).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(place(&root, "/etc/file/below", true).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn only_the_mode_of_an_existing_mount_point_is_returned() {
        let (folder, root) = root("modes");
        fs::set_permissions(root.join("etc"), fs::Permissions::from_mode(0o1750)).unwrap();
        let fd = fs::File::open(&root).unwrap();
        assert_eq!(open_or_make(fd.as_fd(), "/etc", true).unwrap().found, Some(0o1750));
        assert_eq!(open_or_make(fd.as_fd(), "/new", true).unwrap().found, None);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_volume_that_changes_meanwhile_leads_nowhere_outside() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let (folder, root) = root("race");
        let outside = folder.join("outside");
        fs::create_dir_all(&outside).unwrap();
        let volume = root.join("volume");
        fs::create_dir_all(volume.join("real")).unwrap();
        symlink(outside.canonicalize().unwrap(), volume.join("absolute")).unwrap();
        symlink("../../outside", volume.join("relative")).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // `x` is by turns a folder, a link out of the root, or nothing.
                for name in ["real", "absolute", "relative"].iter().cycle() {
                    let _ = fs::rename(volume.join(name), volume.join("x"));
                    let _ = fs::rename(volume.join("x"), volume.join(name));
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let mut led = 0;
            for n in 0..2000 {
                // Any refusal will do; `place` itself checks that nothing is found outside.
                led += u32::from(place(&root, &format!("/volume/x/{n}"), true).is_ok());
            }
            stop.store(true, Ordering::Relaxed);
            assert!(led > 0, "nothing was ever found: the race tried nothing");
        });
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something was made outside");
        fs::remove_dir_all(folder).unwrap();
    }
}
