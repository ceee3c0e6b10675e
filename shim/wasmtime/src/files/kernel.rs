//! Makes a refused call anew by the kernel, which follows links as for a native container's process, and answers with its own error number.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self as at, AtFlags, CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags, Timestamps};
use rustix::io::{Errno, Result};

use catamaran_worker::links::{self, Expanded};

/// The folder that a path begins at.
#[derive(Clone, Copy)]
pub(super) struct Base<'a> {
    pub(super) folder: BorrowedFd<'a>,
    /// Whether the folder is the container's root as the guest was given it. A link that leads out of any other open folder stays refused,
    /// so that handing on such a folder hands on nothing else.
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

    /// Finds where `path` leads, and follows a link at its end if `follow`. Returns None if the path by itself leads out of the folder.
    pub(super) fn entry(&self, path: &[u8], follow: bool) -> Result<Option<Entry>> {
        // A C library turns its caller's `/` into `.`, to which the kernel gives other answers.
        if self.is_root && path == b"." {
            return Ok(Some(Entry {
                folder: self.folder.try_clone_to_owned().map_err(kernels)?,
                path: b"/".into(),
                name: 0,
            }));
        }
        self.place(path, follow)?.map(|path| Entry::open(self.folder, path)).transpose()
    }

    /// Opens the file that `path` leads to, found as by [`Self::entry`], and creates it if `how` says so.
    pub(super) fn open(&self, path: &[u8], follow: bool, how: OFlags) -> Result<Option<OwnedFd>> {
        let Some(path) = self.place(path, follow)? else { return Ok(None) };
        // The links of a path from the root have been followed.
        let last = if follow && !self.is_root { OFlags::empty() } else { OFlags::NOFOLLOW };
        let mode = if how.contains(OFlags::CREATE) { Mode::from_raw_mode(0o666) } else { Mode::empty() };
        beneath(self.folder, &path, how | last, mode).map(Some)
    }

    /// Returns the path below the folder; if the folder is the root, a path without links.
    fn place(&self, path: &[u8], follow: bool) -> Result<Option<Vec<u8>>> {
        Ok(match self.is_root {
            true => match links::expand(self.folder, path, follow)? {
                Expanded::Outside => None,
                Expanded::At(path) => Some(path),
                Expanded::Descriptor(_) => return Err(Errno::NOENT),
            },
            false => Some(path.into()),
        })
    }
}

fn kernels(e: std::io::Error) -> Errno {
    Errno::from_io_error(&e).unwrap_or(Errno::IO)
}

/// Opens `path`, but nothing outside of `folder`, whatever became of the path since its links were followed.
fn beneath(folder: BorrowedFd<'_>, path: &[u8], how: OFlags, mode: Mode) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    at::openat2(folder, path, how | OFlags::CLOEXEC, mode, resolve).map_err(|e| match e {
        Errno::XDEV => Errno::PERM,
        e => e,
    })
}

/// The guest's own descriptor that a path below the container's root leads to.
pub(super) fn descriptor(path: &[u8], follow: bool) -> Option<u32> {
    match links::expand(root().ok()?.as_fd(), path, follow) {
        Ok(Expanded::Descriptor(number)) => Some(number),
        _ => None,
    }
}

/// Whether a path can only be a folder's, so that a link at its end is followed. Only the kernel says what it means to make, move or remove
/// such a path: wasmtime-wasi takes the slash away, or refuses it.
pub(super) fn is_folder(path: &[u8]) -> bool {
    matches!(path.rsplit(|&byte| byte == b'/').next(), Some(b"" | b"." | b".."))
}

/// A name in a folder.
pub(super) struct Entry {
    folder: OwnedFd,
    path: Vec<u8>,
    /// Where in the path the name begins.
    name: usize,
}

impl Entry {
    /// Opens the folder of `path`'s last name; never one outside of `base`, whatever became of the path since.
    fn open(base: BorrowedFd<'_>, path: Vec<u8>) -> Result<Self> {
        let slashes = path.iter().rev().take_while(|&&byte| byte == b'/').count();
        let name = path[..path.len() - slashes].iter().rposition(|&byte| byte == b'/').map_or(0, |n| n + 1);
        let folder = if name == 0 { b"." } else { &path[..name] };
        let folder = beneath(base, folder, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self { folder, path, name })
    }

    fn name(&self) -> &[u8] {
        &self.path[self.name..]
    }

    /// Returns the entry's path, without links.
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
        // Of all calls on a name, only this one follows a link with a slash behind it, which must not lead out of the folder either.
        if self.name().ends_with(b"/") {
            beneath(self.folder.as_fd(), self.name(), OFlags::PATH, Mode::empty())?;
        }
        at::linkat(&self.folder, self.name(), &to.folder, to.name(), AtFlags::empty())
    }

    /// Makes the entry a link to `text`.
    pub(super) fn symlink(&self, text: &[u8]) -> Result<()> {
        at::symlinkat(text, &self.folder, self.name())
    }

    /// Returns the text of the link.
    pub(super) fn read_link(&self) -> Result<Vec<u8>> {
        at::readlinkat(&self.folder, self.name(), Vec::new()).map(CString::into_bytes)
    }

    pub(super) fn set_times(&self, times: &Timestamps) -> Result<()> {
        at::utimensat(&self.folder, self.name(), times, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Returns why the entry cannot be opened; None if it can be, or if only an open that may change something would tell.
    pub(super) fn refusal(&self, asked: Asked) -> Option<Errno> {
        // NONBLOCK, so as not to wait for the other end of a FIFO.
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
