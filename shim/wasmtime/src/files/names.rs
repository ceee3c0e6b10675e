//! A folder's names, as a component reads them: one after the other. wasmtime-wasi reads all of them first, and looks at each.

use std::fs::File;

use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::{Errno, Result};
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry};

/// An open folder that is being read.
pub(super) struct Names(Dir);

impl Names {
    pub(super) fn open(folder: &File) -> Result<Self> {
        // Opened once more: a component may read a folder twice at once.
        Dir::read_from(folder).map(Self)
    }

    pub(super) fn next(&mut self) -> Result<Option<DirectoryEntry>> {
        while let Some(entry) = self.0.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not say. One that is gone meanwhile is a name all the same.
                FileType::Unknown => statat(self.0.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |found| FileType::from_raw_mode(found.st_mode)),
                told => told,
            };
            let name = name.to_str().map_err(|_| Errno::ILSEQ)?.to_owned();
            return Ok(Some(DirectoryEntry { type_: wasis(kind), name }));
        }
        Ok(None)
    }
}

fn wasis(kind: FileType) -> DescriptorType {
    match kind {
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::Directory => DescriptorType::Directory,
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Symlink => DescriptorType::SymbolicLink,
        _ => DescriptorType::Unknown,
    }
}
