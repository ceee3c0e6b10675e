//! The container's standard streams: containerd's FIFOs, used by the worker itself.
//!
//! The shim opens them, because they lie on the host; what it keeps are the other ends. The read ends of stdout and
//! stderr make a dead containerd a full pipe instead of a broken one. The write end of stdin keeps a guest from reading
//! an end of file before the client came, or when it only detached; CloseIO lets it go.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;
use rustix::fs::OFlags;

use crate::error::{Doing, Error, Result};

/// Where containerd wants the streams: paths, empty for none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Paths {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Both sides of the three streams.
pub(crate) struct Stdio {
    /// For the worker.
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) kept: Kept,
}

/// The ends that stay in the shim while the container lives.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    stdin: Option<File>,
    /// Held, never read.
    outputs: Vec<File>,
}

impl Kept {
    /// CloseIO: the guest's stdin ends when the client's own end does.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Whether something is left that the client has not read.
    pub(crate) fn unread(&self) -> bool {
        // A descriptor of ours that does not say holds up nobody.
        self.outputs.iter().any(|fifo| rustix::io::ioctl_fionread(fifo).is_ok_and(|bytes| bytes > 0))
    }
}

/// Opens what `paths` names.
pub(crate) fn open(paths: &Paths) -> Result<Stdio> {
    let (stdin, stdin_kept) = input(&paths.stdin)?;
    let mut outputs = Vec::new();
    let stdout = output("stdout", &paths.stdout, &mut outputs)?;
    let stderr = output("stderr", &paths.stderr, &mut outputs)?;
    Ok(Stdio { stdin, stdout, stderr, kept: Kept { stdin: stdin_kept, outputs } })
}

fn input(path: &str) -> Result<(OwnedFd, Option<File>)> {
    if path.is_empty() {
        return Ok((null()?, None));
    }
    require_fifo("stdin", path)?;
    // A reader first: opening a FIFO for writing without one is refused, and without O_NONBLOCK would wait.
    let reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).on(path)?;
    let writer = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path).on(path)?;
    Ok((blocking(reader, path)?, Some(writer)))
}

fn output(name: &str, path: &str, kept: &mut Vec<File>) -> Result<OwnedFd> {
    if path.is_empty() {
        return null();
    }
    require_fifo(name, path)?;
    kept.push(File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).on(path)?);
    let writer = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path).on(path)?;
    blocking(writer, path)
}

fn null() -> Result<OwnedFd> {
    Ok(catamaran_worker::devices::null().on("/dev/null")?.into())
}

fn require_fifo(name: &str, path: &str) -> Result<()> {
    let place = || format!("the request's {name}");
    if path.contains("://") {
        return Err(Error::refused(place(), path, "this version takes the path of a FIFO, not a logger's URI"));
    }
    if !std::fs::metadata(Path::new(path)).on(path)?.file_type().is_fifo() {
        return Err(Error::refused(place(), path, "the path of a FIFO"));
    }
    Ok(())
}

/// The worker reads and writes blocking.
fn blocking(file: File, path: &str) -> Result<OwnedFd> {
    let flags = rustix::fs::fcntl_getfl(&file).on(path)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK).on(path)?;
    Ok(file.into())
}
