//! The guest's standard streams: the process's own descriptors, without buffers and without threads.
//!
//! wasmtime-wasi's inherited input starts a reader thread, and its file input reports a pipe as ready that is not: a
//! guest that polls input and a timer together, as Go's scheduler does, would miss the timer.

use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, OutputFile, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::{WasiCtxBuilder, async_trait};

/// Gives the guest the process's own streams. Must be called within the event loop's context.
///
/// # Errors
/// The stream that cannot be used; the text is for the user.
pub fn inherit(builder: &mut WasiCtxBuilder) -> Result<(), String> {
    let stream = |name: &'static str| move |e| format!("the container's standard {name} cannot be used: {e}");
    builder.stdin(Input::inherit().map_err(stream("input"))?);
    builder.stdout(Output::inherit(std::io::stdout()).map_err(stream("output"))?);
    builder.stderr(Output::inherit(std::io::stderr()).map_err(stream("error"))?);
    Ok(())
}

/// The most bytes of one read: a pipe's capacity.
const READ_MAX: usize = 64 << 10;

/// Standard output or error: each of the guest's writes is one write to the descriptor, and blocks if that blocks.
pub(crate) struct Output {
    file: OutputFile,
    terminal: bool,
}

impl Output {
    /// Makes an output over a duplicate of `stream`'s descriptor.
    pub(crate) fn inherit(stream: impl AsFd) -> std::io::Result<Self> {
        let file = File::from(stream.as_fd().try_clone_to_owned()?);
        let terminal = file.is_terminal();
        Ok(Self { file: OutputFile::new(file), terminal })
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        self.terminal
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        self.file.async_stream()
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        self.file.p2_stream()
    }
}

/// Standard input. Clones share the descriptor and keep nothing of their own, so they cannot take each other's bytes.
#[derive(Clone)]
pub(crate) struct Input(Arc<Source>);

enum Source {
    /// A pipe, a terminal or a socket: epoll says when there is something.
    Watched(AsyncFd<File>),
    /// A regular file or /dev/null, which epoll does not take because they are always ready.
    Ready(File),
}

impl Input {
    /// Makes an input over a duplicate of the process's standard input. Must be called within the event loop's context.
    pub(crate) fn inherit() -> std::io::Result<Self> {
        // Not by the standard library's, which has a buffer of 8 kB.
        Self::over(File::from(rustix::stdio::stdin().try_clone_to_owned()?))
    }

    /// Makes an input over `file`. Must be called within the event loop's context.
    #[expect(unsafe_code, reason = "tokio watches a raw descriptor")]
    pub(crate) fn over(file: File) -> std::io::Result<Self> {
        // SAFETY: the descriptor must stay open and the same while it is watched. `File` owns it and hands out the same
        // number always; the `AsyncFd` owns the `File`, is reached only through `&` from then on, and drops it last.
        match unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) } {
            Ok(watched) => Ok(Self(Arc::new(Source::Watched(watched)))),
            Err(refused) => match refused.into_parts() {
                (file, e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                    Ok(Self(Arc::new(Source::Ready(file))))
                }
                (_, e) => Err(e),
            },
        }
    }

    /// Reads once, or returns `None` if the read would block. The descriptor itself stays blocking, because O_NONBLOCK
    /// would also bind every other process that shares its file description.
    fn try_read(&self, buffer: &mut [u8]) -> Option<std::io::Result<usize>> {
        let mut file = match &*self.0 {
            Source::Watched(watched) if !has_input(watched.get_ref()) => return None,
            Source::Watched(watched) => watched.get_ref(),
            Source::Ready(file) => file,
        };
        match file.read(buffer) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => None,
            done => Some(done),
        }
    }
}

/// Whether a read would return at once, be it with bytes, the end, or an error.
fn has_input(file: &File) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // If poll itself fails, the read tells why.
    rustix::event::poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&at_once)).map_or(true, |ready| ready > 0)
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        match &*self.0 {
            Source::Watched(watched) => watched.get_ref().is_terminal(),
            Source::Ready(_) => false,
        }
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        let Source::Watched(watched) = &*self.0 else { return };
        // epoll reports changes; the reported bytes may have been read since. An error means that the event loop has ended.
        while let Ok(mut guard) = watched.readable().await {
            if has_input(watched.get_ref()) {
                return;
            }
            guard.clear_ready();
        }
    }
}

impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let mut buffer = vec![0; size.min(READ_MAX)];
        match self.try_read(&mut buffer) {
            None => Ok(Bytes::new()),
            Some(Ok(0)) => Err(StreamError::Closed),
            Some(Ok(n)) => {
                buffer.truncate(n);
                Ok(buffer.into())
            }
            Some(Err(e)) => Err(StreamError::LastOperationFailed(e.into())),
        }
    }
}

impl AsyncRead for Input {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        loop {
            let guard = match &*self.0 {
                Source::Watched(watched) => Some(ready!(watched.poll_read_ready(cx))?),
                Source::Ready(_) => None,
            };
            match (self.try_read(buffer.initialize_unfilled()), guard) {
                (Some(done), _) => return Poll::Ready(done.map(|n| buffer.advance(n))),
                (None, Some(mut guard)) => guard.clear_ready(),
                (None, None) => {}
            }
        }
    }
}
