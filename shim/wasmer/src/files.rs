//! The container's file tree, as the process sees it: every path goes to the kernel as the guest's world names it.
//!
//! wasmer-wasix's own host file system copies a file that is renamed to another folder, reads and writes through helper
//! threads, and opens nothing on a read-only mount, because it opens for writing first.
//!
//! Uses calls with a folder's descriptor (`*at`) where the standard library uses others: the filter of system calls knows no
//! other.

use std::fs::{self, OpenOptions as Std};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use rustix::fs::{self as at, AtFlags, CWD, Mode};
use virtual_fs::{
    DirEntry, FileOpener, FileSystem, FileType, Metadata, OpenOptions, OpenOptionsConfig, ReadDir, Result, VirtualFile,
};

use crate::errors::{not_found, refusal};
use crate::file::Open;
use crate::kernel::{absolute, described, done, kind, remove};
use crate::opened::Opened;
use crate::{folders, names, opening, remembered};

/// The process's own root directory.
#[derive(Debug)]
pub(crate) struct Root;

impl FileSystem for Root {
    /// Resolves a link for wasmer-wasix; a guest's own readlink is the kernel's ([`names::read_link`]).
    fn readlink(&self, path: &Path) -> Result<PathBuf> {
        names::target(&absolute(path)).map_err(not_found)
    }

    fn read_dir(&self, path: &Path) -> Result<ReadDir> {
        let folder = absolute(path);
        folders::is_asked(&folder)?;
        let entry = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.map_err(refusal)?;
            // A name whose kind is unknown, because its file is gone meanwhile, is listed all the same.
            let ft = entry.file_type().map(kind).unwrap_or_else(|_| FileType::new_file());
            let metadata = Ok(Metadata { ft, accessed: 0, created: 0, modified: 0, len: 0 });
            Ok(DirEntry { path: entry.path(), metadata })
        };
        Ok(ReadDir::new(fs::read_dir(&folder).map_err(refusal)?.map(entry).collect::<Result<_>>()?))
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        done(at::mkdirat(CWD, absolute(path), Mode::from_raw_mode(0o777)))?;
        remembered::note_folder();
        Ok(())
    }

    /// Makes a link at `target` whose text is `source`, unchanged.
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
            done(at::renameat(CWD, from, CWD, to))
        })
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        match opening::found() {
            Some(metadata) => Ok(metadata),
            None => fs::metadata(absolute(path)).map(|m| described(&m)).map_err(refusal),
        }
    }

    fn symlink_metadata(&self, path: &Path) -> Result<Metadata> {
        let path = absolute(path);
        let metadata = match opening::found() {
            Some(metadata) => metadata,
            None => fs::symlink_metadata(&path).map(|m| described(&m)).map_err(not_found)?,
        };
        match metadata.ft.is_dir() {
            true => remembered::note_folder(),
            false => remembered::note(&path),
        }
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
        if let Some(opened) = opening::file() {
            return Ok(Box::new(Open::new(opened?)));
        }
        // Not the guest's `path_open`.
        let path = absolute(path);
        let mut options = Std::new();
        options.read(asked.read).write(asked.write).create(asked.create).create_new(asked.create_new);
        options.truncate(asked.truncate).custom_flags(libc::O_NOCTTY);
        remembered::note(&path);
        let file = options.open(&path).map_err(refusal)?;
        Ok(Box::new(Open::new(Opened::new(file, path, false))))
    }
}
