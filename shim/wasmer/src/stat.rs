//! Answers a guest with what the kernel says of a file at that moment. wasmer-wasix keeps what it knew when the file was
//! opened, and makes a file's number out of its path.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use wasmer::RuntimeError;
use wasmer_wasix::wasmer_wasix_types::wasi::{Errno, Filetype};

use crate::call::{Call, Descriptor, Which};
use crate::descriptors;
use crate::errors::wasis;

/// `path_filestat_get`: folder, flags of the look-up, path, its length, where to put it.
pub(crate) fn by_path(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let path = match call.path(0, 2)? {
        Ok(path) => path,
        Err(refused) => return Ok(refused),
    };
    let follows = call.follows(1);
    let found = if follows { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
    match found {
        Ok(metadata) => Ok(put(call, 4, &metadata)),
        Err(e) => match descriptors::leads_to(&path, follows) {
            Some(descriptor) => of(call, descriptor, 4).map(descriptors::found),
            None => Ok(wasis(e.raw_os_error().unwrap_or(libc::EINVAL)) as i32),
        },
    }
}

/// `fd_filestat_get`: descriptor, where to put it.
pub(crate) fn by_descriptor(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    call.below_the_root(&[0]);
    // A descriptor has 32 bits.
    let descriptor = call.number(0) as u32;
    of(call, descriptor, 1)
}

fn of(call: &mut Call<'_>, descriptor: u32, to: usize) -> Result<i32, RuntimeError> {
    let metadata = match call.what(descriptor)? {
        Descriptor::File(opened) => opened.file.metadata(),
        Descriptor::Folder(folder) => fs::symlink_metadata(folder),
        Descriptor::Other(_) => return call.instead(Which::Stat, descriptor),
    };
    match metadata {
        Ok(metadata) => Ok(put(call, to, &metadata)),
        // A folder that was removed meanwhile.
        Err(_) => call.instead(Which::Stat, descriptor),
    }
}

/// Puts WASI's `filestat`: device, number, type, links, size, and the times of reading, writing and changing.
fn put(call: &Call<'_>, to: usize, metadata: &Metadata) -> i32 {
    let words = [
        metadata.dev(),
        metadata.ino(),
        kind(metadata.file_type()) as u64,
        metadata.nlink(),
        metadata.size(),
        nanoseconds(metadata.atime(), metadata.atime_nsec()),
        nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    ]
    .map(u64::to_le_bytes);
    if call.put(call.number(to), words.as_flattened()) { 0 } else { Errno::Fault as i32 }
}

/// The type of a file, as WASI has it, which has none for a pipe.
fn kind(kernels: fs::FileType) -> Filetype {
    match kernels {
        kind if kind.is_file() => Filetype::RegularFile,
        kind if kind.is_dir() => Filetype::Directory,
        kind if kind.is_symlink() => Filetype::SymbolicLink,
        kind if kind.is_char_device() => Filetype::CharacterDevice,
        kind if kind.is_block_device() => Filetype::BlockDevice,
        kind if kind.is_socket() => Filetype::SocketStream,
        _ => Filetype::Unknown,
    }
}

/// Nanoseconds since 1970; 0 for a time before it.
fn nanoseconds(seconds: i64, rest: i64) -> u64 {
    let whole = i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    whole.try_into().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nanoseconds;

    #[test]
    fn a_time_before_1970_is_reported_as_zero() {
        assert_eq!((nanoseconds(1, 5), nanoseconds(-1, 5), nanoseconds(0, 0)), (1_000_000_005, 0, 0));
        assert_eq!(nanoseconds(i64::MAX, 0), 0);
    }
}
