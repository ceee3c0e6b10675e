//! Walks the container's tree, as the worker will build it, or as it is in a running container.
//!
//! The walk takes one name after the other, each from the descriptor of the folder before it, and resolves symbolic links against
//! the container's root. The kernel follows no link and goes up in no step: `..` is the folder that the walk came from. So
//! no link of the image or of a volume leads out of its mount, whatever is renamed meanwhile, and a name costs one look-up
//! however deep it lies. All look-ups in one tree share one budget.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

/// The most links in one path, which is as many as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;
/// The most names that are looked at in one tree, for all paths together, because links can name a hundred thousand for each.
const MOST_STEPS: usize = 4096;
/// The most bytes of links that are read, for all paths together.
const MOST_BYTES: usize = 256 << 10;
/// The most folders that lie one in the other, because each of them is open meanwhile.
const DEEPEST: usize = 256;
/// The kernel refuses longer paths, too (`PATH_MAX`).
const LONGEST_PATH: usize = 4096;

/// A container's tree.
pub(crate) struct Tree<'a> {
    /// In the order of mounting, the root first. A mount without a descriptor is an empty file system, which cannot be looked into.
    mounts: Vec<(PathBuf, Option<BorrowedFd<'a>>)>,
    steps: Cell<usize>,
    bytes: Cell<usize>,
}

/// The position of a walk.
struct Here<'a, 'b> {
    tree: &'b Tree<'a>,
    /// Without links. It has a name for each of `folders` but the first, which is the root.
    path: PathBuf,
    folders: Vec<Position>,
}

/// What lies at a path.
struct Position {
    /// None for a folder that the worker will make, because a mount lies below it.
    at: Option<OwnedFd>,
    /// Which of the tree's mounts it lies in. A later one hides all earlier ones below it.
    mount: usize,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(root: BorrowedFd<'a>) -> Self {
        let mounts = vec![(PathBuf::from("/"), Some(root))];
        Self { mounts, steps: Cell::new(MOST_STEPS), bytes: Cell::new(MOST_BYTES) }
    }

    /// Adds a mount over what is there so far; its place is resolved as the worker will resolve it.
    pub(crate) fn mount(&mut self, destination: &str, tree: Option<BorrowedFd<'a>>) -> io::Result<()> {
        let (place, _) = self.walk(Path::new(destination), Missing::IsFine)?;
        self.mounts.push((place, tree));
        Ok(())
    }

    /// Returns a message if the budget is used up: nothing is found in the tree any more.
    pub(crate) fn exhausted(&self) -> Option<String> {
        let over = self.steps.get() == 0 || self.bytes.get() == 0;
        over.then(|| {
            format!(
                "the search went through {MOST_STEPS} names or {MOST_BYTES} bytes of links, and goes on no further: give a \
                 short path"
            )
        })
    }

    /// Opens a regular file for reading, and returns its path without links if it lies in the root file system itself.
    /// The errors are those of open(2): `NotFound`, `IsADirectory` and so on.
    pub(crate) fn open(&self, path: &Path) -> io::Result<(File, Option<PathBuf>)> {
        let (place, found) = self.walk(path, Missing::IsAnError)?;
        // A folder that the worker is yet to make.
        let found = found.ok_or(Errno::ISDIR)?;
        match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Errno::ISDIR.into()),
            // A FIFO would block, a device might do anything.
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
        // The very file that was looked at, through the descriptor and no name.
        // O_NONBLOCK: waits for no lease on it.
        let flags = nix::libc::O_NONBLOCK;
        let file =
            File::options().read(true).custom_flags(flags).open(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
        let root = self.mounts[0].1.ok_or(Errno::NOENT)?;
        let in_root = mount_of(found.as_fd())? == mount_of(root)?;
        Ok((file, in_root.then_some(place)))
    }

    /// Follows `path` to the place that it names, link-free, and to what lies there.
    fn walk(&self, path: &Path, missing: Missing) -> io::Result<(PathBuf, Option<OwnedFd>)> {
        if path.as_os_str().len() >= LONGEST_PATH {
            return Err(Errno::NAMETOOLONG.into());
        }
        let mut todo = names(path);
        let mut here = Here::at_root(self)?;
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            spend(&self.steps, 1)?;
            if name == ".." || name == "." {
                here.check_folder()?;
                here.up_by(&name);
                continue;
            }
            let next = match here.look_up(&name) {
                Err(Errno::NOENT) if missing == Missing::IsFine => {
                    let mut path = here.path.join(&name);
                    path.extend(todo.iter().filter(|name| *name != "."));
                    return Ok((path, None));
                }
                next => next?,
            };
            let Some(target) = next.at.as_ref().map(link).transpose()?.flatten() else {
                here.down(&name, next)?;
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(Errno::LOOP.into());
            }
            spend(&self.bytes, target.as_os_str().len())?;
            if target.is_absolute() {
                here.return_to_root();
            }
            for part in names(&target).into_iter().rev() {
                todo.push_front(part);
            }
        }
        let found = here.folders.pop().and_then(|position| position.at);
        Ok((here.path, found))
    }
}

impl<'a, 'b> Here<'a, 'b> {
    fn at_root(tree: &'b Tree<'a>) -> rustix::io::Result<Self> {
        let mount = tree.mounts.iter().rposition(|(at, _)| at == Path::new("/")).ok_or(Errno::NOENT)?;
        let at = tree.mounts[mount].1.map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 0)).transpose()?;
        Ok(Self { tree, path: PathBuf::from("/"), folders: vec![Position { at, mount }] })
    }

    fn return_to_root(&mut self) {
        self.path = PathBuf::from("/");
        self.folders.truncate(1);
    }

    /// Returns `ENOTDIR` for all but a folder: nothing else has names in it, `.` and `..` included.
    fn check_folder(&self) -> rustix::io::Result<()> {
        let at = self.folders.last().and_then(|position| position.at.as_ref());
        match at.map(rustix::fs::fstat).transpose()? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => Err(Errno::NOTDIR),
            _ => Ok(()),
        }
    }

    /// Goes by `.` or `..`, which at the root is the root.
    fn up_by(&mut self, name: &OsStr) {
        if name == ".." && self.folders.len() > 1 {
            self.folders.pop();
            self.path.pop();
        }
    }

    fn down(&mut self, name: &OsStr, position: Position) -> rustix::io::Result<()> {
        if self.folders.len() > DEEPEST {
            return Err(Errno::NAMETOOLONG);
        }
        self.path.push(name);
        self.folders.push(position);
        Ok(())
    }

    /// Looks up `name` here, seen through the last mount that covers it.
    fn look_up(&self, name: &OsStr) -> rustix::io::Result<Position> {
        let position = self.folders.last().ok_or(Errno::NOENT)?;
        let (path, mounts) = (self.path.join(name), &self.tree.mounts);
        if let Some(mount) = mounts.iter().rposition(|(at, _)| *at == path).filter(|mount| *mount > position.mount) {
            let at = mounts[mount].1.map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 0)).transpose()?;
            return Ok(Position { at, mount });
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_MAGICLINKS | ResolveFlags::BENEATH;
        let found = match &position.at {
            Some(folder) => {
                catamaran_worker::retried(|| rustix::fs::openat2(folder, name, flags, Mode::empty(), resolve))
            }
            None => Err(Errno::NOENT),
        };
        match found {
            // The worker will make it: a mount lies below.
            Err(Errno::NOENT) if mounts.iter().any(|(at, _)| *at != path && at.starts_with(&path)) => {
                Ok(Position { at: None, mount: position.mount })
            }
            found => Ok(Position { at: Some(found?), mount: position.mount }),
        }
    }
}

/// Returns the names of a path, with a `.` at the end of one that ends in a `/`: such a path names a folder and no file.
fn names(path: &Path) -> VecDeque<OsString> {
    let mut names = catamaran_worker::names(path);
    let bytes = path.as_os_str().as_bytes();
    if bytes.ends_with(b"/") || bytes.ends_with(b"/.") {
        names.push_back(OsString::from("."));
    }
    names
}

/// Returns where a link leads, or None if `at` is no link.
fn link(at: &OwnedFd) -> rustix::io::Result<Option<PathBuf>> {
    if FileType::from_raw_mode(rustix::fs::fstat(at)?.st_mode) != FileType::Symlink {
        return Ok(None);
    }
    let target = rustix::fs::readlinkat(at, "", Vec::new())?;
    Ok(Some(PathBuf::from(OsStr::from_bytes(target.as_bytes()))))
}

fn spend(budget: &Cell<usize>, much: usize) -> rustix::io::Result<()> {
    let left = budget.get().saturating_sub(much);
    budget.set(left);
    if left == 0 { Err(Errno::NAMETOOLONG) } else { Ok(()) }
}

/// Returns the mount that a file was found on.
fn mount_of(file: BorrowedFd<'_>) -> io::Result<u64> {
    let status = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    if status.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        let e = "this kernel does not tell a file's mount (before 5.8)";
        return Err(io::Error::new(io::ErrorKind::Unsupported, e));
    }
    Ok(status.stx_mnt_id)
}

/// What a name that does not exist means for a walk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    IsFine,
    IsAnError,
}

#[cfg(test)]
mod tests;
