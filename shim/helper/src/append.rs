//! The logger for `file://`: reads a container's output and appends it to files.
//!
//! The logger is a process of its own, because a compromised worker with the file could truncate it or change its mode, and because a disk
//! that does not answer must hold up only this container.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;

use crate::error::{Doing, Error, Result};

/// The capacity of a pipe.
const CHUNK: usize = 64 << 10;

/// One stream on its way to its file.
struct Stream {
    /// None once the stream has ended.
    from: Option<File>,
    to: File,
}

/// Copies the pipes at standard input and standard output to the files that `arguments` name, in this order, until the pipes end. Writes a
/// null byte to standard error once the files are open, or else the reason why they are not.
pub(crate) fn append(arguments: &[OsString]) -> Result<()> {
    let doing = || "taking the streams".to_owned();
    let files: Vec<_> = arguments.iter().map(|path| open(Path::new(path))).collect::<Result<_>>()?;
    let mut pipes = [File::from(rustix::io::dup(rustix::stdio::stdin()).doing(doing)?)]
        .into_iter()
        .chain([File::from(rustix::io::dup(rustix::stdio::stdout()).doing(doing)?)]);
    let mut streams: Vec<_> = files.into_iter().map(|to| Stream { from: pipes.next(), to }).collect();
    drop(pipes);
    rustix::io::write(rustix::stdio::stderr(), &[0]).doing(doing)?;
    let null = File::options().read(true).write(true).open("/dev/null").on("/dev/null")?;
    // The inherited descriptors would keep the pipes open otherwise.
    rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| rustix::stdio::dup2_stderr(&null))
        .doing(doing)?;
    copy(&mut streams)
}

/// Opens a file to append to, as containerd's own shim does. Does not wait if the path is not a regular file.
fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)
            .doing(|| format!("making the folder {}", folder.display()))?;
    }
    let refused = |found: &str| {
        let expected = "a file, which is created if it is missing; for a FIFO write its path without file://";
        Err(Error::refused(path.display().to_string(), found, expected))
    };
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return refused("a directory"),
        Ok(found) if found.file_type().is_fifo() => return refused("a FIFO"),
        // If the path cannot be examined, opening it fails below and names the reason.
        _ => {}
    }
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().append(true).create(true).mode(0o644).custom_flags(flags).open(path).on(path)?;
    let flags = rustix::fs::fcntl_getfl(&file).on(path)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK).on(path)?;
    Ok(file)
}

/// Copies until all streams have ended. If a file takes no more, that output is lost, and the guest and the copying go on, because the disk
/// may have room again later. Returns the first error at the end.
fn copy(streams: &mut [Stream]) -> Result<()> {
    let mut outcome = Ok(());
    let mut chunk = vec![0; CHUNK];
    loop {
        let waiting: Vec<_> = streams.iter().filter_map(|stream| stream.from.as_ref()).collect();
        if waiting.is_empty() {
            return outcome;
        }
        let mut polled: Vec<_> = waiting.into_iter().map(|from| PollFd::new(from, PollFlags::IN)).collect();
        match rustix::event::poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => continue,
            done => done.doing(|| "waiting for output".to_owned())?,
        };
        let ready: Vec<_> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        let open = streams.iter_mut().filter(|stream| stream.from.is_some());
        for stream in open.zip(ready).filter_map(|(stream, ready)| ready.then_some(stream)) {
            let wrote = stream.pass_on(&mut chunk);
            outcome = outcome.and(wrote);
        }
    }
}

impl Stream {
    /// Reads once, and writes what was read.
    fn pass_on(&mut self, chunk: &mut [u8]) -> Result<()> {
        let Some(from) = &mut self.from else { return Ok(()) };
        match from.read(chunk) {
            Ok(0) => {
                self.from = None;
                Ok(())
            }
            Ok(length) => self.to.write_all(&chunk[..length]).doing(|| "appending to a log".to_owned()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(e) => {
                self.from = None;
                Err(e).doing(|| "reading output".to_owned())
            }
        }
    }
}
