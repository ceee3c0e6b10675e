//! The guest's standard streams: the process's own descriptors, without buffers and without threads.
//!
//! wasmer-wasix writes through a helper thread that tells of an error one write too late, and reads ahead of the guest.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, Interest, ReadBuf};
use virtual_fs::{FsError, VirtualFile};

/// What a pipe takes at least once it is ready, and what is reported to a guest that asks.
const ROOM: usize = 4096;

/// Standard output or error: each of the guest's writes is one write to the descriptor, and waits where that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Output {
    Standard,
    Error,
}

impl Output {
    /// As a plain file: no buffer and no lock between the bytes and the kernel.
    fn write(self, bytes: &[u8]) -> io::Result<usize> {
        rustix::io::retry_on_intr(|| match self {
            Output::Standard => rustix::io::write(rustix::stdio::stdout(), bytes),
            Output::Error => rustix::io::write(rustix::stdio::stderr(), bytes),
        })
        .map_err(Into::into)
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

/// Standard input. It keeps nothing of its own: what the guest has not read is still in the pipe.
#[derive(Debug)]
pub(crate) enum Input {
    /// A pipe, a terminal or a socket: the event loop says when there is something.
    Watched(AsyncFd<File>),
    /// A regular file or /dev/null, which epoll does not take because they are always ready; or a stream that is closed.
    Ready(Option<File>),
}

impl Input {
    /// Over a duplicate of the process's standard input. Must be called within the event loop's context.
    pub(crate) fn inherit() -> io::Result<Self> {
        match io::stdin().as_fd().try_clone_to_owned() {
            Ok(stdin) => Self::over(File::from(stdin)),
            Err(e) if e.raw_os_error() == Some(libc::EBADF) => Ok(Self::Ready(None)),
            Err(e) => Err(e),
        }
    }

    #[expect(unsafe_code, reason = "tokio watches a raw descriptor")]
    fn over(file: File) -> io::Result<Self> {
        // SAFETY: the descriptor must stay open and the same while it is watched. `File` owns it and hands out the same
        // number always; the `AsyncFd` owns the `File`, is reached only through `&` from then on, and drops it last.
        match unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) } {
            Ok(watched) => Ok(Self::Watched(watched)),
            Err(refused) => match refused.into_parts() {
                (file, e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(Self::Ready(Some(file))),
                (_, e) => Err(e),
            },
        }
    }

    /// Waits until `what` is at hand. The descriptor itself stays blocking: its file description is shared with whoever
    /// else has the pipe or terminal, and O_NONBLOCK would be theirs too.
    fn when_ready<T>(&self, cx: &mut Context<'_>, mut what: impl FnMut(&File) -> io::Result<T>) -> Poll<io::Result<T>> {
        let watched = match self {
            Input::Watched(watched) => watched,
            Input::Ready(Some(file)) => return Poll::Ready(what(file)),
            Input::Ready(None) => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        loop {
            if has_input(watched.get_ref()) {
                return Poll::Ready(what(watched.get_ref()));
            }
            // epoll tells of changes; what it told may have been read since.
            ready!(watched.poll_read_ready(cx))?.clear_ready();
        }
    }
}

/// Whether a read would return at once, be it with bytes, the end, or an error.
fn has_input(file: &File) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // If poll itself fails, the read tells why.
    rustix::event::poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&at_once)).map_or(true, |ready| ready > 0)
}

impl AsyncRead for Input {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = |mut file: &File| loop {
            match file.read(buffer.initialize_unfilled()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        };
        let count = ready!(self.when_ready(cx, read))?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Input {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::PermissionDenied.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
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

stream!(
    Input,
    |_: &Input| 0,
    |input: &Input, cx: &mut Context<'_>| input.when_ready(cx, |file| {
        // Nothing is what the end of input looks like; of a file, or where the number cannot be had, a byte is promised.
        let count = match input {
            Input::Watched(_) => rustix::io::ioctl_fionread(file).unwrap_or(1),
            Input::Ready(_) => 1,
        };
        Ok(count as usize)
    }),
    denied()
);
