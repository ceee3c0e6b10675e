//! Opens both ends of a client's FIFOs: one for the worker, and one that the shim keeps.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;
use rustix::fs::{FileType, Mode, OFlags};

use crate::error::{Doing, Error, Result};

/// Returns the guest's end for reading, and our end for writing.
pub(super) fn input(name: &str, path: &Path) -> Result<(OwnedFd, File)> {
    let (reader, writer) = ends(name, path)?;
    Ok((blocking(reader, path)?, writer))
}

/// Returns the guest's end for writing, and our end for reading.
pub(super) fn output(name: &str, path: &Path) -> Result<(OwnedFd, File)> {
    let (reader, writer) = ends(name, path)?;
    Ok((blocking(writer, path)?, reader))
}

/// Whether a FIFO holds bytes that nobody has read. After an error none count, so that an exit does not wait.
pub(super) fn holds_bytes(reader: &File) -> bool {
    rustix::io::ioctl_fionread(reader).is_ok_and(|bytes| bytes > 0)
}

/// Opens a writer of the FIFO that the shim reads.
pub(super) fn writer_of(reader: &File) -> std::io::Result<File> {
    File::options().write(true).custom_flags(libc::O_NONBLOCK).open(format!("/proc/self/fd/{}", reader.as_raw_fd()))
}

/// Opens both ends, in non-blocking mode.
fn ends(name: &str, path: &Path) -> Result<(File, File)> {
    // The path is looked up only once, and its type is checked before it is opened, because opening a device has effects and may wait.
    let found = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let refused = |reason: String| {
        let expected = "a FIFO that the client has made; for a file write file:///path";
        Error::refused(format!("the request's {name}"), format!("{}: {reason}", path.display()), expected)
    };
    let found = found.map_err(|e| refused(std::io::Error::from(e).to_string()))?;
    match FileType::from_raw_mode(rustix::fs::fstat(&found).on(path)?.st_mode) {
        FileType::Fifo => {}
        FileType::Directory => return Err(refused("a directory".to_owned())),
        _ => return Err(refused("not a FIFO".to_owned())),
    }
    let link = format!("/proc/self/fd/{}", found.as_raw_fd());
    let open = |options: &mut std::fs::OpenOptions| options.custom_flags(libc::O_NONBLOCK).open(&link).on(path);
    // The reader comes first: without one, opening a FIFO for writing fails, or waits if it is without O_NONBLOCK.
    let reader = open(File::options().read(true))?;
    let writer = open(File::options().write(true))?;
    Ok((reader, writer))
}

/// Makes an end block, as the worker expects.
fn blocking(file: File, path: &Path) -> Result<OwnedFd> {
    let flags = rustix::fs::fcntl_getfl(&file).on(path)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK).on(path)?;
    Ok(file.into())
}
