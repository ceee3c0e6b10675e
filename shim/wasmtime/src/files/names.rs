//! Reads a folder's names for a component, one after the other. wasmtime-wasi would first read all of them, and look at each.

use std::fs::File;

use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::Result;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry};

/// An open folder that is being read.
pub(super) struct Names(Dir);

impl Names {
    pub(super) fn open(folder: &File) -> Result<Self> {
        // Opens the folder anew, because a component may read a folder twice at once.
        Dir::read_from(folder).map(Self)
    }

    pub(super) fn next(&mut self) -> Result<Option<DirectoryEntry>> {
        while let Some(entry) = self.0.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            // A component's names are UTF-8, so it has no word for a file whose name is not. Such a file is left out, so that the rest of
            // the folder can be read. A module of preview 1 gets the name's bytes.
            let Ok(text) = name.to_str() else { continue };
            let kind = match entry.file_type() {
                // Some file systems do not report the type. A file that is gone meanwhile is listed all the same.
                FileType::Unknown => statat(self.0.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |found| FileType::from_raw_mode(found.st_mode)),
                told => told,
            };
            return Ok(Some(DirectoryEntry { type_: wasis(kind), name: text.to_owned() }));
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
