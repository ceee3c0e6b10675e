//! What a refused call asks for, asked of the kernel: it follows links as a native container's process has them followed,
//! and says its own error number.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self as at, AtFlags, CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags, Timestamps};
use rustix::io::{Errno, Result};

use catamaran_worker::links::{self, Expanded};

/// The folder that a path begins at.
#[derive(Clone, Copy)]
pub(super) struct Base<'a> {
    pub(super) folder: BorrowedFd<'a>,
    /// Whether it is the container's root as the guest was given it. Below any other folder that is open, a link that leads
    /// out of it stays refused: who hands on such a folder hands on nothing else.
    pub(super) is_root: bool,
}

/// The process's own root, which is the container's.
pub(super) fn root() -> Result<OwnedFd> {
    at::openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

impl<'a> Base<'a> {
    /// The container's root.
    pub(super) fn root(folder: BorrowedFd<'a>) -> Self {
        Self { folder, is_root: true }
    }

    /// Where `path` leads; the link at its end is followed if `follow`. Nothing if it leads out of the folder by itself.
    pub(super) fn entry(&self, path: &str, follow: bool) -> Result<Option<Entry>> {
        let path = match self.is_root {
            true => match links::expand(self.folder, path.as_bytes(), follow)? {
                Expanded::Outside => None,
                Expanded::At(path) => Some(path),
                Expanded::Descriptor(_) => return Err(Errno::NOENT),
            },
            false => Some(path.into()),
        };
        path.map(|path| Entry::open(self.folder, path)).transpose()
    }
}

/// The guest's own descriptor that a path below the container's root leads to.
pub(super) fn descriptor(path: &str, follow: bool) -> Option<u32> {
    match links::expand(root().ok()?.as_fd(), path.as_bytes(), follow) {
        Ok(Expanded::Descriptor(number)) => Some(number),
        _ => None,
    }
}

/// Whether a path can only be a folder's: who looks at a link at its end sees what it leads to.
pub(super) fn is_folder(path: &str) -> bool {
    matches!(path.rsplit('/').next(), Some("" | "." | ".."))
}

/// A name in a folder.
pub(super) struct Entry {
    folder: OwnedFd,
    path: Vec<u8>,
    /// Where in the path the name begins.
    name: usize,
}

impl Entry {
    /// Opens the folder that `path` ends in; never one outside of `base`, whatever became of the path since.
    fn open(base: BorrowedFd<'_>, path: Vec<u8>) -> Result<Self> {
        let slashes = path.iter().rev().take_while(|&&byte| byte == b'/').count();
        let name = path[..path.len() - slashes].iter().rposition(|&byte| byte == b'/').map_or(0, |n| n + 1);
        let folder = if name == 0 { b"." } else { &path[..name] };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let folder = at::openat2(base, folder, flags, Mode::empty(), beneath).map_err(|e| match e {
            Errno::XDEV => Errno::PERM,
            e => e,
        })?;
        Ok(Self { folder, path, name })
    }

    fn name(&self) -> &[u8] {
        &self.path[self.name..]
    }

    /// The path to it without links.
    pub(super) fn path(&self) -> Result<&str> {
        std::str::from_utf8(&self.path).map_err(|_| Errno::ILSEQ)
    }

    pub(super) fn create_directory(&self) -> Result<()> {
        at::mkdirat(&self.folder, self.name(), Mode::from_raw_mode(0o777))
    }

    pub(super) fn remove_directory(&self) -> Result<()> {
        at::unlinkat(&self.folder, self.name(), AtFlags::REMOVEDIR)
    }

    pub(super) fn unlink(&self) -> Result<()> {
        at::unlinkat(&self.folder, self.name(), AtFlags::empty())
    }

    pub(super) fn rename(&self, to: &Self) -> Result<()> {
        at::renameat(&self.folder, self.name(), &to.folder, to.name())
    }

    pub(super) fn link(&self, to: &Self) -> Result<()> {
        at::linkat(&self.folder, self.name(), &to.folder, to.name(), AtFlags::empty())
    }

    /// Makes it a link to `text`.
    pub(super) fn symlink(&self, text: &str) -> Result<()> {
        at::symlinkat(text, &self.folder, self.name())
    }

    /// The text of the link that it is, which WASI wants to be UTF-8.
    pub(super) fn read_link(&self) -> Result<String> {
        let text = at::readlinkat(&self.folder, self.name(), Vec::new())?;
        text.into_string().map_err(|_| Errno::ILSEQ)
    }

    pub(super) fn set_times(&self, times: &Timestamps) -> Result<()> {
        at::utimensat(&self.folder, self.name(), times, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Why it cannot be opened; nothing if it can be, or if only an open that may change something would tell.
    pub(super) fn refusal(&self, asked: Asked) -> Option<Errno> {
        // Not to wait for who has the other end of a FIFO.
        let access = if asked.write { OFlags::WRONLY } else { OFlags::RDONLY };
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match at::openat(&self.folder, self.name(), flags, Mode::empty()) {
            Ok(_) => None,
            Err(Errno::NOENT) if asked.create => {
                let mount = at::fstatvfs(self.folder.as_fd()).ok()?;
                mount.f_flag.contains(StatVfsMountFlags::RDONLY).then_some(Errno::ROFS)
            }
            Err(e) => Some(e),
        }
    }
}

/// What a file is opened for.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) write: bool,
    pub(super) create: bool,
}
