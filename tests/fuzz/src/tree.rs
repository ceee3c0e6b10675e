//! A path in a container's tree, walked by the search and by the kernel: openat2(2) with `RESOLVE_IN_ROOT`, which resolves links as
//! in a chroot. The tree is made of the input, in a folder of its own; root is not needed.

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

/// So many lines are read, and so many names of a path that is made: the folders of the tree are to be removable by any process.
const MOST_LINES: usize = 64;
const DEEPEST: usize = 64;
/// As many mounts.
const MOST_MOUNTS: usize = 4;

/// Who opens a path in a tree of this root and these mounts. None where it gave up.
pub type Opener = dyn Fn(BorrowedFd<'_>, &[(String, BorrowedFd<'_>)], &Path) -> Option<Opened>;

/// Lines, of which the first word says what they are:
///
/// ```text
/// d PATH           a folder              f PATH   a file              p PATH   a FIFO
/// l PATH TARGET    a symbolic link       m PATH   a mount of a second tree, in which lines behind `volume` are made
/// ? PATH           a path that is asked for
/// ```
///
/// # Panics
/// Where the search opens another file than the kernel, or fails otherwise.
pub fn target(input: &[u8]) -> Taken {
    differential(input, &|root, mounts, path| untrusted::open(root, mounts, path))
}

/// The same with any opener. Says whether a file was found.
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
        // Never a file that is not in one of both trees.
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

/// What opening a path comes to: a regular file by its number, or the kernel's error number.
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
        // Nothing is opened that would have to be waited for: an error of the search's own.
        _ => Said::Error(None),
    }
}

fn file_at(root: BorrowedFd<'_>, path: &Path, resolve: ResolveFlags) -> rustix::io::Result<(u64, u64)> {
    let resolve = resolve | ResolveFlags::IN_ROOT;
    let opened = catamaran_worker::retried(|| rustix::fs::openat2(root, path, OFlags::PATH, Mode::empty(), resolve))?;
    rustix::fs::fstat(opened).map(|stat| (stat.st_dev, stat.st_ino))
}

/// What an input describes. Dropped, it is removed.
struct Trees {
    folder: PathBuf,
    root: OwnedFd,
    volume: OwnedFd,
    /// The regular files of both, by device and number.
    files: HashSet<(u64, u64)>,
    mounts: Vec<String>,
    asked: Vec<PathBuf>,
}

impl Trees {
    fn new(input: &[u8]) -> io::Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        // A folder in memory, where there is one.
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
        // What a link that leads out would lead to.
        std::fs::write(folder.join("m"), "outside")?;
        let mut trees = Self { folder, root, volume, files: HashSet::new(), mounts: Vec::new(), asked: Vec::new() };
        let mut in_volume = false;
        for line in input.split(|byte| *byte == b'\n').take(MOST_LINES) {
            in_volume |= line == b"volume";
            trees.take(line, in_volume);
        }
        Ok(trees)
    }

    /// What cannot be made is left out.
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

/// Makes something in the tree, and follows no link on the way. Answers what a regular file is known by.
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
