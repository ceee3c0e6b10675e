//! The container's file tree, as the process sees it: every path goes to the kernel as the guest's world names it.
//!
//! wasmer-wasix's own host file system copies a file that is renamed to another folder, reads and writes through helper
//! threads, and opens nothing on a read-only mount, because it opens for writing first.
//!
//! Calls with a folder's descriptor where the standard library makes others: the filter of system calls knows no other.

use std::fs::{self, OpenOptions as Std};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::SystemTime;

use rustix::fs::{self as at, AtFlags, CWD, Mode};
use virtual_fs::{
    DirEntry, FileOpener, FileSystem, FileType, FsError, Metadata, OpenOptions, OpenOptionsConfig, ReadDir, Result,
    VirtualFile,
};

use crate::file::Open;
use crate::remembered::{self, Links};

/// The process's own root directory.
#[derive(Debug)]
pub(crate) struct Root;

fn done(answer: rustix::io::Result<()>) -> Result<()> {
    answer.map_err(|e| refusal(e.into()))
}

/// Removes a name that is no folder's.
pub(crate) fn remove(path: &Path) -> Result<()> {
    done(at::unlinkat(CWD, absolute(path), AtFlags::empty()))
}

/// A path as the guest's world names it, from the root.
fn absolute(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}

impl FileSystem for Root {
    fn readlink(&self, path: &Path) -> Result<PathBuf> {
        fs::read_link(absolute(path)).map_err(refusal)
    }

    fn read_dir(&self, path: &Path) -> Result<ReadDir> {
        let folder = absolute(path);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&folder).map_err(refusal)? {
            let entry = entry.map_err(refusal)?;
            // A name that is gone meanwhile, or that may not be looked at, is a name all the same.
            let metadata = entry.metadata().map(|m| described(&m)).map_err(refusal);
            entries.push(DirEntry { path: folder.join(entry.file_name()), metadata });
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(ReadDir::new(entries))
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        done(at::mkdirat(CWD, absolute(path), Mode::from_raw_mode(0o777)))
    }

    /// A link at `target` to `source`, which is kept as it is.
    fn create_symlink(&self, source: &Path, target: &Path) -> Result<()> {
        done(at::symlinkat(source, CWD, absolute(target)))
    }

    fn hard_link(&self, source: &Path, target: &Path) -> Result<()> {
        done(at::linkat(CWD, absolute(source), CWD, absolute(target), AtFlags::empty()))
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        done(at::unlinkat(CWD, absolute(path), AtFlags::REMOVEDIR))
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async {
            let (from, to) = (absolute(from), absolute(to));
            remembered::note(&from, Links::Go);
            remembered::note(&to, Links::Go);
            done(at::renameat(CWD, from, CWD, to))
        })
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        let metadata = fs::metadata(absolute(path)).map(|m| described(&m)).map_err(refusal)?;
        // wasmer-wasix takes the size before it truncates, and keeps it.
        let truncated = remembered::opening().truncate && metadata.ft.is_file();
        Ok(if truncated { Metadata { len: 0, ..metadata } } else { metadata })
    }

    fn symlink_metadata(&self, path: &Path) -> Result<Metadata> {
        let path = absolute(path);
        let metadata = fs::symlink_metadata(&path).map(|m| described(&m)).map_err(refusal)?;
        remembered::note(&path, Links::Stay);
        Ok(metadata)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        remove(path)
    }

    fn new_open_options(&self) -> OpenOptions<'_> {
        OpenOptions::new(self)
    }
}

impl FileOpener for Root {
    fn open(&self, path: &Path, asked: &OpenOptionsConfig) -> Result<Box<dyn VirtualFile + Send + Sync + 'static>> {
        let path = absolute(path);
        let mut options = Std::new();
        options.read(asked.read).write(asked.write).create(asked.create).create_new(asked.create_new);
        options.truncate(asked.truncate);
        // As the guest asks: wasmer-wasix seeks to what was the end. The standard library takes only one of the two.
        let append = if remembered::opening().append { libc::O_APPEND } else { 0 };
        options.custom_flags(libc::O_NOCTTY | append);
        remembered::note(&path, Links::Stay);
        let file = options.open(&path).map_err(refusal)?;
        Ok(Box::new(Open::new(file, path)))
    }
}

fn described(metadata: &fs::Metadata) -> Metadata {
    let kind = metadata.file_type();
    Metadata {
        ft: FileType {
            dir: kind.is_dir(),
            file: kind.is_file(),
            symlink: kind.is_symlink(),
            char_device: kind.is_char_device(),
            block_device: kind.is_block_device(),
            socket: kind.is_socket(),
            fifo: kind.is_fifo(),
        },
        accessed: nanoseconds(metadata.accessed()),
        created: nanoseconds(metadata.created()),
        modified: nanoseconds(metadata.modified()),
        len: metadata.len(),
    }
}

/// Since 1970; 0 for a time before it, or one that the file system does not know.
pub(crate) fn nanoseconds(time: io::Result<SystemTime>) -> u64 {
    let since = time.ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.and_then(|since| since.as_nanos().try_into().ok()).unwrap_or(0)
}

/// The kernel's answer as wasmer-wasix's file systems have it; the conversion that it brings knows half of them.
pub(crate) fn refusal(e: io::Error) -> FsError {
    match e.raw_os_error() {
        // wasmer-wasix opens for writing first, and as asked only if that is not permitted.
        Some(libc::EROFS | libc::ETXTBSY | libc::EPERM | libc::EACCES) => FsError::PermissionDenied,
        Some(libc::ENOTDIR) => FsError::BaseNotDirectory,
        Some(libc::EISDIR) => FsError::NotAFile,
        Some(libc::ENOTEMPTY) => FsError::DirectoryNotEmpty,
        Some(libc::ENOSPC | libc::EDQUOT) => FsError::StorageFull,
        Some(libc::ENODEV | libc::ENXIO) => FsError::NoDevice,
        Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EXDEV) => FsError::Unsupported,
        Some(libc::EIO) => FsError::IOError,
        _ => e.into(),
    }
}
