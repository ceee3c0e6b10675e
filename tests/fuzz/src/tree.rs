//! A path in a container's tree, walked by the search and by the kernel: openat2(2) with `RESOLVE_IN_ROOT`, which resolves links as in a
//! chroot. The tree is made of the input, in a folder of its own, without root.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use catamaran_helper::untrusted::{self, Opened};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::Taken;

/// The limit of lines that are read, and of names in a path that is made: any process must be able to remove the tree's folders.
const MOST_LINES: usize = 64;
const DEEPEST: usize = 64;
/// The limit of mounts.
const MOST_MOUNTS: usize = 4;

/// Opens a path in a tree of this root and these mounts; returns None if it gives up.
pub type Opener = dyn Fn(BorrowedFd<'_>, &[(String, BorrowedFd<'_>)], &Path) -> Option<Opened>;

/// Lines, whose first word is their kind:
///
/// ```text
/// d PATH           a folder              f PATH   a file              p PATH   a FIFO
/// l PATH TARGET    a symbolic link       m PATH   a mount of a second tree, where lines after `volume` are made
/// ? PATH           a path to open
/// ```
///
/// # Panics
/// When the search opens another file than the kernel, or fails otherwise.
pub fn target(input: &[u8]) -> Taken {
    differential(input, &|root, mounts, path| untrusted::open(root, mounts, path))
}

/// The same with any opener. Returns whether a file was found.
///
/// # Panics
/// As the target does.
pub fn differential(input: &[u8], opener: &Opener) -> Taken {
    let Ok(trees) = Trees::new(input) else { return false };
    let mounts: Vec<_> = trees.mounts.iter().map(|place| (place.clone(), trees.volume.as_fd())).collect();
    let mut taken = false;
    for path in &trees.asked {
        let Some(opened) = opener(trees.root.as_fd(), &mounts, path) else { continue };
        let found = opened.as_ref().ok().and_then(|(file, _)| File::metadata(file).ok()).map(|it| (it.dev(), it.ino()));
        taken |= found.is_some();
        // A found file is always in one of the two trees.
        assert!(found.is_none_or(|found| trees.files.contains(&found)), "{path:?} leads out of the tree");
        if mounts.is_empty() {
            assert_eq!(said(&opened), by_kernel(trees.root.as_fd(), path), "{path:?}");
            let place = opened.ok().and_then(|(_, place)| place);
            let plainly = place.as_ref().map(|place| file_at(trees.root.as_fd(), place, ResolveFlags::NO_SYMLINKS));
            assert!(plainly.is_none_or(|it| it.ok() == found), "{path:?} is not at {place:?}, where it is said to be");
        }
    }
    taken
}

/// The outcome of opening a path: a regular file by its number, or the kernel's error number.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    File(u64),
    Error(Option<i32>),
}

fn said(opened: &Opened) -> Said {
    match opened {
        Ok((file, _)) => file.metadata().map_or_else(|e| Said::Error(e.raw_os_error()), |it| Said::File(it.ino())),
        Err(e) => Said::Error(e.raw_os_error()),
    }
}

fn by_kernel(root: BorrowedFd<'_>, path: &Path) -> Said {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let opened = catamaran_worker::retried(|| rustix::fs::openat2(root, path, flags, Mode::empty(), resolve));
    let stat = match opened.and_then(rustix::fs::fstat) {
        Ok(stat) => stat,
        Err(e) => return Said::Error(Some(e.raw_os_error())),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Said::File(stat.st_ino),
        FileType::Directory => Said::Error(Some(Errno::ISDIR.raw_os_error())),
        // The search opens no file that would block: an error of its own.
        _ => Said::Error(None),
    }
}

fn file_at(root: BorrowedFd<'_>, path: &Path, resolve: ResolveFlags) -> rustix::io::Result<(u64, u64)> {
    let resolve = resolve | ResolveFlags::IN_ROOT;
    let opened = catamaran_worker::retried(|| rustix::fs::openat2(root, path, OFlags::PATH, Mode::empty(), resolve))?;
    rustix::fs::fstat(opened).map(|stat| (stat.st_dev, stat.st_ino))
}

/// The trees that an input describes. Dropping this removes them.
struct Trees {
    folder: PathBuf,
    root: OwnedFd,
    volume: OwnedFd,
    /// The regular files of both trees, by device and number.
    files: HashSet<(u64, u64)>,
    mounts: Vec<String>,
    asked: Vec<PathBuf>,
}

impl Trees {
    fn new(input: &[u8]) -> io::Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        // A folder in memory, if there is one.
        let shared = Path::new("/dev/shm");
        let above = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = above.join(format!("catamaran-fuzz-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder)?;
        let open = |name: &str| -> io::Result<OwnedFd> {
            std::fs::create_dir(folder.join(name))?;
            Ok(rustix::fs::openat(CWD, folder.join(name), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
        };
        let (root, volume) = (open("root")?, open("volume")?);
        // The target of a link that leads out.
        std::fs::write(folder.join("m"), "outside")?;
        let mut trees = Self { folder, root, volume, files: HashSet::new(), mounts: Vec::new(), asked: Vec::new() };
        let mut in_volume = false;
        for line in input.split(|byte| *byte == b'\n').take(MOST_LINES) {
            in_volume |= line == b"volume";
            trees.take(line, in_volume);
        }
        Ok(trees)
    }

    /// Makes one line's file; skips a file that cannot be made.
    fn take(&mut self, line: &[u8], in_volume: bool) {
        let mut words = line.splitn(3, |byte| *byte == b' ').filter(|word| !word.is_empty() && !word.contains(&0));
        let (Some(kind), Some(word)) = (words.next(), words.next()) else { return };
        let path = Path::new(OsStr::from_bytes(word));
        let tree = if in_volume { &self.volume } else { &self.root };
        let target = words.next().map(OsStr::from_bytes);
        match kind {
            b"?" => self.asked.push(path.to_owned()),
            b"m" if self.mounts.len() < MOST_MOUNTS => self.mounts.extend(path.to_str().map(str::to_owned)),
            _ => {
                if let Ok(Some(file)) = make(tree.as_fd(), kind, path, target) {
                    self.files.insert(file);
                }
            }
        }
    }
}

/// Makes a file in the tree, without following links on the way. Returns the identity of a regular file.
fn make(
    tree: BorrowedFd<'_>,
    kind: &[u8],
    path: &Path,
    target: Option<&OsStr>,
) -> rustix::io::Result<Option<(u64, u64)>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    if path.components().count() > DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let parent = catamaran_worker::retried(|| rustix::fs::openat2(tree, parent, flags, Mode::empty(), resolve))?;
    match kind {
        b"d" => rustix::fs::mkdirat(parent, name, Mode::RWXU)?,
        b"l" => rustix::fs::symlinkat(target.ok_or(Errno::INVAL)?, parent, name)?,
        b"p" => rustix::fs::mknodat(parent, name, FileType::Fifo, Mode::RUSR, 0)?,
        b"f" => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let stat = rustix::fs::fstat(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?)?;
            return Ok(Some((stat.st_dev, stat.st_ino)));
        }
        _ => return Err(Errno::INVAL),
    }
    Ok(None)
}

impl Drop for Trees {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
