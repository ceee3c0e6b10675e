//! System calls for files and for the tree alike, and the kernel's answers as wasmer-wasix has them.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{self as at, AtFlags, CWD};
use virtual_fs::{FileType, Metadata, Result};

use crate::errors::refusal;

/// The kernel's answer in wasmer-wasix's words.
pub(crate) fn done(answer: rustix::io::Result<()>) -> Result<()> {
    answer.map_err(|e| refusal(e.into()))
}

/// Removes a name that is no folder's.
pub(crate) fn remove(path: &Path) -> Result<()> {
    done(at::unlinkat(CWD, absolute(path), AtFlags::empty()))
}

/// A path as the guest's world names it, from the root.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}

/// The kernel's metadata of a file, as wasmer-wasix has it.
pub(crate) fn described(metadata: &fs::Metadata) -> Metadata {
    Metadata {
        ft: kind(metadata.file_type()),
        accessed: nanoseconds(metadata.accessed()),
        created: nanoseconds(metadata.created()),
        modified: nanoseconds(metadata.modified()),
        len: metadata.len(),
    }
}

/// The type of a file, as wasmer-wasix has it.
pub(crate) fn kind(kernels: fs::FileType) -> FileType {
    FileType {
        dir: kernels.is_dir(),
        file: kernels.is_file(),
        symlink: kernels.is_symlink(),
        char_device: kernels.is_char_device(),
        block_device: kernels.is_block_device(),
        socket: kernels.is_socket(),
        fifo: kernels.is_fifo(),
    }
}

/// Nanoseconds since 1970; 0 for a time before it, or one that the file system does not know.
pub(crate) fn nanoseconds(time: io::Result<SystemTime>) -> u64 {
    let since = time.ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.and_then(|since| since.as_nanos().try_into().ok()).unwrap_or(0)
}
