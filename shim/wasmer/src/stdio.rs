//! The guest's standard streams: the process's own descriptors, without buffers and without threads.
//!
//! wasmer-wasix writes through a helper thread that tells of an error one write too late.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};
use virtual_fs::{FsError, VirtualFile};

use crate::errors::of_a_file;
use crate::input::Input;

/// The bytes that a poll promises for a ready pipe: the least that it takes.
const ROOM: usize = 4096;

/// Standard output or error: each of the guest's writes is one write to the descriptor, and waits where that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Output {
    Standard,
    Error,
}

impl Output {
    /// Writes as to a plain file, with no buffer and no lock between the bytes and the kernel.
    fn write(self, bytes: &[u8]) -> io::Result<usize> {
        rustix::io::retry_on_intr(|| match self {
            Output::Standard => rustix::io::write(rustix::stdio::stdout(), bytes),
            Output::Error => rustix::io::write(rustix::stdio::stderr(), bytes),
        })
        .map_err(|e| of_a_file(e.into()))
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Output {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::PermissionDenied.into()))
    }
}

/// A stream has no position, size or times, and no name to be removed.
macro_rules! stream {
    ($stream:ty, $special:expr, $read:expr, $write:expr) => {
        impl AsyncSeek for $stream {
            fn start_seek(self: Pin<&mut Self>, _: io::SeekFrom) -> io::Result<()> {
                Err(io::ErrorKind::NotSeekable.into())
            }

            fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
                Poll::Ready(Err(io::ErrorKind::NotSeekable.into()))
            }
        }

        impl VirtualFile for $stream {
            fn last_accessed(&self) -> u64 {
                0
            }

            fn last_modified(&self) -> u64 {
                0
            }

            fn created_time(&self) -> u64 {
                0
            }

            fn size(&self) -> u64 {
                0
            }

            fn set_len(&mut self, _: u64) -> virtual_fs::Result<()> {
                Err(FsError::InvalidInput)
            }

            fn unlink(&mut self) -> virtual_fs::Result<()> {
                Err(FsError::InvalidInput)
            }

            fn get_special_fd(&self) -> Option<u32> {
                Some($special(self))
            }

            fn poll_read_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
                $read(&self, cx)
            }

            fn poll_write_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<usize>> {
                $write
            }
        }
    };
}

fn denied() -> Poll<io::Result<usize>> {
    Poll::Ready(Err(io::ErrorKind::PermissionDenied.into()))
}

stream!(
    Output,
    |output: &Output| match output {
        Output::Standard => 1,
        Output::Error => 2,
    },
    |_: &Output, _: &mut Context<'_>| denied(),
    Poll::Ready(Ok(ROOM))
);

stream!(Input, |_: &Input| 0, |input: &Input, cx: &mut Context<'_>| input.poll_count(cx), denied());
