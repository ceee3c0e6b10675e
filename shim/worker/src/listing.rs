//! Lists a folder's names for a guest that reads them piece by piece (WASI's `fd_readdir`).
//!
//! The kernel's position in a folder takes 64 bits, of which a guest's C library keeps 32 (`telldir`). So a guest's position is
//! the number of names that it has read, and [`Listing`] keeps the kernel's position for each. It also keeps the names that the
//! kernel returned last: the next piece begins within them, whatever was removed since, and no name is read twice.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, RawDir, SeekFrom, fstat, seek, statat};

/// The bytes asked of the kernel at once, as many as a C library asks for.
const CHUNK: usize = 32 << 10;

/// The bytes before each name (WASI's `dirent`): the next position, the inode, the name's length, the file's type.
const HEADER: usize = 24;

/// An open folder that is being read.
pub struct Listing {
    folder: OwnedFd,
    device: u64,
    /// The kernel's positions; a guest's position is an index into them.
    positions: Vec<u64>,
    /// The guest's position before the names of `chunk`.
    before: usize,
    chunk: Vec<Name>,
}

struct Name {
    /// The guest's position behind this name.
    behind: usize,
    inode: u64,
    kind: FileType,
    name: Vec<u8>,
}

/// A name, with the data that a guest's inode number is made of.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The device of the folder.
    pub device: u64,
    /// The kernel's number.
    pub inode: u64,
    /// Whether it is a symbolic link.
    pub is_link: bool,
}

impl Listing {
    /// Lists a folder that is open for reading, and whose position nobody else uses.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(folder: OwnedFd) -> io::Result<Self> {
        let device = fstat(&folder)?.st_dev;
        seek(&folder, SeekFrom::Start(0))?;
        Ok(Self { folder, device, positions: vec![0], before: 0, chunk: Vec::new() })
    }

    /// Fills `buffer` with the names from the guest's position `from` on, in the form of `fd_readdir`, the last one cut off if
    /// it does not fit, and returns the number of bytes filled. Less than the whole buffer means that the folder has ended.
    /// `inode` makes a guest's inode number.
    ///
    /// # Errors
    /// The kernel's.
    pub fn fill(&mut self, from: u64, buffer: &mut [u8], inode: impl Fn(Found<'_>) -> u64) -> io::Result<usize> {
        let Some(mut next) = self.turn_to(usize::try_from(from).unwrap_or(usize::MAX))? else { return Ok(0) };
        let mut filled = 0;
        while filled < buffer.len() {
            let Some(name) = self.chunk.get(next) else {
                self.before = self.chunk.last().map_or(self.before, |name| name.behind);
                next = 0;
                match self.read()? {
                    true => continue,
                    false => break,
                }
            };
            let is_link = name.kind == FileType::Symlink;
            let found = Found { name: &name.name, device: self.device, inode: name.inode, is_link };
            for part in [&name.header(inode(found))[..], &name.name] {
                let length = part.len().min(buffer.len() - filled);
                buffer[filled..filled + length].copy_from_slice(&part[..length]);
                filled += length;
            }
            next += 1;
        }
        Ok(filled)
    }

    /// Goes to a guest's position and returns the index of the next name in `chunk`, or None if the folder ends before it.
    fn turn_to(&mut self, position: usize) -> io::Result<Option<usize>> {
        if position == 0 {
            // As after rewinddir(3), files made since are listed.
            self.positions.truncate(1);
        } else if position == self.before {
            return Ok(Some(0));
        } else if let Some(index) = self.chunk.iter().position(|name| name.behind == position) {
            return Ok(Some(index + 1));
        } else {
            while self.positions.len() <= position {
                self.go_to(self.positions.len() - 1)?;
                if !self.read()? {
                    return Ok(None);
                }
            }
        }
        self.go_to(position)?;
        Ok(Some(0))
    }

    fn go_to(&mut self, position: usize) -> io::Result<()> {
        self.chunk.clear();
        self.before = position;
        seek(&self.folder, SeekFrom::Start(self.positions[position]))?;
        Ok(())
    }

    /// Reads the names behind `before`, where the kernel's position is. Returns false if there are none.
    fn read(&mut self) -> io::Result<bool> {
        self.chunk.clear();
        let mut buffer = vec![MaybeUninit::uninit(); CHUNK];
        let mut at = self.before;
        let mut names = RawDir::new(self.folder.as_fd(), &mut buffer);
        while let Some(entry) = names.next() {
            let entry = entry?;
            at = behind(&mut self.positions, at, entry.next_entry_cookie());
            let kind = match entry.file_type() {
                // Some file systems do not tell the type. A file that is gone by now is listed all the same.
                FileType::Unknown => statat(&self.folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |found| FileType::from_raw_mode(found.st_mode)),
                told => told,
            };
            let name = entry.file_name().to_bytes().to_vec();
            self.chunk.push(Name { behind: at, inode: entry.ino(), kind, name });
            if names.is_buffer_empty() {
                break;
            }
        }
        Ok(!self.chunk.is_empty())
    }
}

/// Returns the guest's position for the kernel's `position`, the next one behind `at`. A position that was known before keeps its
/// number, so that files removed or made since shift none.
fn behind(positions: &mut Vec<u64>, at: usize, position: u64) -> usize {
    let known = positions.iter().skip(at + 1).position(|&known| known == position);
    known.map_or_else(
        || {
            positions.push(position);
            positions.len() - 1
        },
        |ahead| at + 1 + ahead,
    )
}

impl Name {
    fn header(&self, inode: u64) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&(self.behind as u64).to_le_bytes());
        header[8..16].copy_from_slice(&inode.to_le_bytes());
        header[16..20].copy_from_slice(&(self.name.len() as u32).to_le_bytes());
        header[20] = wasis(self.kind);
        header
    }
}

/// Returns WASI's number for a file's type (`filetype`), which has none for a FIFO.
fn wasis(kind: FileType) -> u8 {
    match kind {
        FileType::BlockDevice => 1,
        FileType::CharacterDevice => 2,
        FileType::Directory => 3,
        FileType::RegularFile => 4,
        FileType::Socket => 6,
        FileType::Symlink => 7,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
