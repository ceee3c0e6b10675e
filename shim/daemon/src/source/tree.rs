//! The container's tree before it exists, walked as the worker will build it.
//!
//! It is walked over the same detached mounts that the worker will attach, one name at a time, with symbolic links resolved
//! against the container's root. Every step is an openat2 that follows no link, so that no link of the image or of a volume
//! leads out of its mount.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// As many links as the kernel follows in one path (path_resolution(7)).
const MOST_LINKS: usize = 40;
/// As many names are looked at for one path; forty links of many parts could name a hundred thousand.
const MOST_STEPS: usize = 4096;

/// The container's tree before it is mounted.
pub(crate) struct Tree<'a> {
    /// In the order of mounting, the root first. What the shim cannot see into has no descriptor: an empty file system.
    mounts: Vec<(PathBuf, Option<BorrowedFd<'a>>)>,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(root: BorrowedFd<'a>) -> Self {
        Self { mounts: vec![(PathBuf::from("/"), Some(root))] }
    }

    /// Adds a mount over what is there so far; its place is resolved as the worker will resolve it.
    pub(crate) fn mount(&mut self, destination: &str, tree: Option<BorrowedFd<'a>>) -> io::Result<()> {
        let (place, _) = self.walk(Path::new(destination), Missing::IsFine)?;
        self.mounts.push((place, tree));
        Ok(())
    }

    /// Opens a regular file for reading, and answers its path without links where it lies in the root file system itself.
    /// `NotFound`, `IsADirectory` and so on as open(2) says them.
    pub(crate) fn open(&self, path: &Path) -> io::Result<(File, Option<PathBuf>)> {
        let (place, found) = self.walk(path, Missing::IsAnError)?;
        let found = found.ok_or(Errno::NOENT)?;
        match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Errno::ISDIR.into()),
            // A FIFO would block, a device might do anything.
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
        // The very file that was looked at, through the descriptor and no name.
        // Not to wait for somebody's lease on it.
        let flags = nix::libc::O_NONBLOCK;
        let file =
            File::options().read(true).custom_flags(flags).open(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
        let in_root = !self.mounts.iter().skip(1).any(|(at, _)| place.starts_with(at));
        Ok((file, in_root.then_some(place)))
    }

    /// Follows `path` to the place that it names, link-free, and to what lies there.
    fn walk(&self, path: &Path, missing: Missing) -> io::Result<(PathBuf, Option<OwnedFd>)> {
        let mut todo: VecDeque<OsString> = catamaran_worker::names(path);
        let mut here = PathBuf::from("/");
        let mut last = Some(self.entry(&here)?);
        let (mut links, mut steps) = (0, 0);
        while let Some(name) = todo.pop_front() {
            steps += 1;
            if steps > MOST_STEPS {
                return Err(Errno::NAMETOOLONG.into());
            }
            if name == ".." {
                here.pop();
                last = Some(self.entry(&here)?);
                continue;
            }
            let next = here.join(&name);
            let entry = match self.entry(&next) {
                Ok(entry) => entry,
                Err(Errno::NOENT) if missing == Missing::IsFine => {
                    here = next;
                    here.extend(todo);
                    return Ok((here, None));
                }
                Err(e) => return Err(e.into()),
            };
            if FileType::from_raw_mode(rustix::fs::fstat(&entry)?.st_mode) == FileType::Symlink {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = rustix::fs::readlinkat(&entry, "", Vec::new())?;
                let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                for part in catamaran_worker::names(target).into_iter().rev() {
                    todo.push_front(part);
                }
                continue;
            }
            here = next;
            last = Some(entry);
        }
        Ok((here, last))
    }

    /// What lies at a link-free path, seen through the last mount that covers it.
    fn entry(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let (at, tree) = self.mounts.iter().rfind(|(at, _)| path.starts_with(at)).ok_or(Errno::NOENT)?;
        let tree = tree.ok_or(Errno::NOENT)?;
        let inside = path.strip_prefix(at).map_err(|_| Errno::NOENT)?;
        if inside.as_os_str().is_empty() {
            return rustix::io::fcntl_dupfd_cloexec(tree, 0);
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_MAGICLINKS | ResolveFlags::BENEATH;
        match catamaran_worker::retried(|| rustix::fs::openat2(tree, inside, flags, Mode::empty(), resolve)) {
            // The worker will make it: a mount lies below. Any folder stands for it.
            Err(Errno::NOENT) if self.mounts.iter().any(|(at, _)| at != path && at.starts_with(path)) => {
                rustix::io::fcntl_dupfd_cloexec(self.mounts[0].1.ok_or(Errno::NOENT)?, 0)
            }
            found => found,
        }
    }
}

/// What a name that does not exist means for a walk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    IsFine,
    IsAnError,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("catamaran-source-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn read(tree: &Tree<'_>, path: &str) -> io::Result<String> {
        let mut text = String::new();
        tree.open(Path::new(path))?.0.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn links_stay_inside_and_mounts_cover() {
        let (root, volume) = (folder("root"), folder("volume"));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir_all(root.join("run")).unwrap();
        fs::write(root.join("a/b/m"), "root").unwrap();
        fs::write(volume.join("m"), "volume").unwrap();
        symlink("/a/b", root.join("absolute")).unwrap();
        symlink("../../../../../../etc/passwd", root.join("out")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/run", root.join("a/run")).unwrap();
        symlink("/a/b/m", volume.join("back")).unwrap();
        let (root_fd, volume_fd) = (File::open(&root).unwrap(), File::open(&volume).unwrap());
        let mut tree = Tree::new(root_fd.as_fd());
        assert_eq!(read(&tree, "/a/b/m").unwrap(), "root");
        assert_eq!(read(&tree, "/absolute/m").unwrap(), "root");
        assert_eq!(read(&tree, "/../../a/./b/../b/m").unwrap(), "root");
        assert_eq!(read(&tree, "/out").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read(&tree, "/loop").unwrap_err().raw_os_error(), Some(nix::libc::ELOOP));
        assert_eq!(read(&tree, "/a").unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read(&tree, "/a/b/m/x").unwrap_err().kind(), io::ErrorKind::NotADirectory);
        // A volume at a linked place, seen by both names; its own links start at the container's root.
        tree.mount("/a/run/new/place", Some(volume_fd.as_fd())).unwrap();
        assert_eq!(read(&tree, "/run/new/place/m").unwrap(), "volume");
        assert_eq!(read(&tree, "/a/run/new/place/back").unwrap(), "root");
        // An empty file system over it hides it.
        tree.mount("/run", None).unwrap();
        assert_eq!(read(&tree, "/run/new/place/m").unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::remove_dir_all(&root).unwrap();
        fs::remove_dir_all(&volume).unwrap();
    }
}
