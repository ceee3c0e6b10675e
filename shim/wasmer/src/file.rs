//! A file that the guest opened: each read and write is a system call of the guest's own thread.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use rustix::fs as at;
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};
use virtual_fs::{FsError, VirtualFile};

use crate::errors::{of_a_file, refusal};
use crate::kernel::{self, nanoseconds};
use crate::opened::{self, Opened};
use crate::times;

/// The number of bytes for which a poll calls a file ready.
const ROOM: usize = 4096;

/// An open file of the container's tree.
#[derive(Debug)]
pub(crate) struct Open {
    opened: Arc<Opened>,
    /// The position after the last seek.
    position: u64,
}

impl Open {
    pub(crate) fn new(opened: Arc<Opened>) -> Self {
        Self { opened, position: 0 }
    }

    fn time(&self, which: impl FnOnce(&std::fs::Metadata) -> io::Result<SystemTime>) -> u64 {
        nanoseconds(self.opened.file.metadata().and_then(|metadata| which(&metadata)))
    }
}

/// Repeats a call that a signal interrupted.
fn whole<T>(mut call: impl FnMut() -> io::Result<T>) -> Poll<io::Result<T>> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return Poll::Ready(done.map_err(of_a_file)),
        }
    }
}

impl AsyncRead for Open {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        whole(|| (&self.opened.file).read(buffer.initialize_unfilled())).map_ok(|count| buffer.advance(count))
    }
}

impl AsyncWrite for Open {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = whole(|| (&self.opened.file).write(bytes));
        self.opened.written();
        written
    }

    /// Does nothing: wasmer-wasix flushes a file when it is closed, and a close costs no trip to the disk. A guest's fsync is
    /// the kernel's ([`crate::syncing`]).
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for Open {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        opened::is_asked(&self.opened)?;
        match (&self.opened.file).seek(position) {
            Ok(position) => {
                self.position = position;
                Ok(())
            }
            // A pipe or a terminal has no position: wasmer-wasix seeks before each read and write all the same.
            Err(e) if e.kind() == io::ErrorKind::NotSeekable => Ok(()),
            Err(e) => Err(of_a_file(e)),
        }
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.position))
    }
}

impl VirtualFile for Open {
    fn last_accessed(&self) -> u64 {
        self.time(std::fs::Metadata::accessed)
    }

    fn last_modified(&self) -> u64 {
        self.time(std::fs::Metadata::modified)
    }

    fn created_time(&self) -> u64 {
        self.time(std::fs::Metadata::created)
    }

    /// Takes the times from the guest's call, not from wasmer-wasix, which loses "now": that needs other rights than a named
    /// moment.
    fn set_times(&mut self, _accessed: Option<u64>, _modified: Option<u64>) -> virtual_fs::Result<()> {
        times::take().map_or(Ok(()), |times| at::futimens(&self.opened.file, &times).map_err(|e| refusal(e.into())))
    }

    fn size(&self) -> u64 {
        self.opened.file.metadata().map_or(0, |metadata| metadata.len())
    }

    fn set_len(&mut self, size: u64) -> Result<(), FsError> {
        self.opened.file.set_len(size).map_err(refusal)
    }

    fn unlink(&mut self) -> Result<(), FsError> {
        kernel::remove(&self.opened.path)
    }

    fn poll_read_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(ROOM))
    }

    fn poll_write_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(ROOM))
    }
}
