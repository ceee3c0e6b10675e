//! Walks a container's tree: the one that the worker will build, or that of a running container.
//!
//! The walk looks up one name at a time, in the descriptor of the folder before, and resolves symbolic links itself, against the
//! container's root. The kernel follows no link and no `..`: for `..` the walk returns to the folder that it came from. So no link leads
//! out of its mount, whatever is renamed meanwhile, and a name costs one look-up at any depth. All look-ups in a tree share one budget.

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

/// The most links in one path, as in the kernel (path_resolution(7)).
const MOST_LINKS: usize = 40;
/// The most names that are looked up in one tree, for all paths together. Links can make one path a hundred thousand names long.
const MOST_STEPS: usize = 4096;
/// The most bytes of links that are read, for all paths together.
const MOST_BYTES: usize = 256 << 10;
/// The most nested folders, because the walk holds a descriptor for each.
const DEEPEST: usize = 256;
/// The most bytes of a path, as in the kernel (`PATH_MAX`).
const LONGEST_PATH: usize = 4096;

/// A container's tree.
pub(crate) struct Tree<'a> {
    /// In the order of mounting, the root first. A mount without a descriptor is a new file system, which is empty.
    mounts: Vec<(PathBuf, Option<BorrowedFd<'a>>)>,
    steps: Cell<usize>,
    bytes: Cell<usize>,
}

/// The state of a walk.
struct Here<'a, 'b> {
    tree: &'b Tree<'a>,
    /// The current path, without links: a name for each of `folders` but the first, which is the root.
    path: PathBuf,
    folders: Vec<Position>,
}

/// The file or folder at a path.
struct Position {
    /// None for a folder that the worker will make because a mount lies below it.
    at: Option<OwnedFd>,
    /// The index of its mount in the tree. A later mount hides the earlier ones below it.
    mount: usize,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(root: BorrowedFd<'a>) -> Self {
        let mounts = vec![(PathBuf::from("/"), Some(root))];
        Self { mounts, steps: Cell::new(MOST_STEPS), bytes: Cell::new(MOST_BYTES) }
    }

    /// Adds a mount on top of the present tree. Resolves its destination as the worker will.
    pub(crate) fn mount(&mut self, destination: &str, tree: Option<BorrowedFd<'a>>) -> io::Result<()> {
        let (place, _) = self.walk(Path::new(destination), Missing::IsFine)?;
        self.mounts.push((place, tree));
        Ok(())
    }

    /// Returns a message if the budget is used up. From then on nothing is found in the tree.
    pub(crate) fn exhausted(&self) -> Option<String> {
        let over = self.steps.get() == 0 || self.bytes.get() == 0;
        over.then(|| {
            format!(
                "the search for it ended after {MOST_STEPS} names or {MOST_BYTES} bytes of links: write a shorter path, through \
                 fewer links"
            )
        })
    }

    /// Opens a regular file for reading. Returns also its path without links if the root file system itself has the file. The errors are
    /// those of open(2): `NotFound`, `IsADirectory` and so on.
    pub(crate) fn open(&self, path: &Path) -> io::Result<(File, Option<PathBuf>)> {
        let (place, found) = self.walk(path, Missing::IsAnError)?;
        // A folder that the worker will make.
        let found = found.ok_or(Errno::ISDIR)?;
        match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Errno::ISDIR.into()),
            // Opening a FIFO would block, and opening a device may have any effect.
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
        // Opens the file that was examined, by its descriptor. O_NONBLOCK: does not wait for a lease on it.
        let flags = nix::libc::O_NONBLOCK;
        let file =
            File::options().read(true).custom_flags(flags).open(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
        let root = self.mounts[0].1.ok_or(Errno::NOENT)?;
        let in_root = mount_of(found.as_fd())? == mount_of(root)?;
        Ok((file, in_root.then_some(place)))
    }

    /// Follows `path`. Returns the place that it leads to, without links, and the file there.
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

    /// Fails with `ENOTDIR` if this is no folder: only a folder has `.` and `..`.
    fn check_folder(&self) -> rustix::io::Result<()> {
        let at = self.folders.last().and_then(|position| position.at.as_ref());
        match at.map(rustix::fs::fstat).transpose()? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => Err(Errno::NOTDIR),
            _ => Ok(()),
        }
    }

    /// Follows `.` or `..`. At the root, `..` is the root.
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

    /// Looks up `name` here, in the last mount that covers it.
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
            // The worker will make this folder, because a mount lies below it.
            Err(Errno::NOENT) if mounts.iter().any(|(at, _)| *at != path && at.starts_with(&path)) => {
                Ok(Position { at: None, mount: position.mount })
            }
            found => Ok(Position { at: Some(found?), mount: position.mount }),
        }
    }
}

/// Returns the names of a path. A path that ends with `/` gets the last name `.`, because it can name only a folder.
fn names(path: &Path) -> VecDeque<OsString> {
    let mut names = catamaran_worker::names(path);
    let bytes = path.as_os_str().as_bytes();
    if bytes.ends_with(b"/") || bytes.ends_with(b"/.") {
        names.push_back(OsString::from("."));
    }
    names
}

/// Returns a link's target, or None if `at` is no link.
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

/// Returns the id of the mount of a file.
fn mount_of(file: BorrowedFd<'_>) -> io::Result<u64> {
    let status = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    if status.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        let e = "this kernel, before 5.8, does not report a file's mount: use a later one";
        return Err(io::Error::new(io::ErrorKind::Unsupported, e));
    }
    Ok(status.stx_mnt_id)
}

/// The meaning of a missing name for a walk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    IsFine,
    IsAnError,
}

#[cfg(test)]
mod tests;
