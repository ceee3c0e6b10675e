//! The guests' standard output and error: the container's, which a thread of its own writes. The reader of the container's log may be slow
//! or gone, which must hold up the guests that write and no others.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// The most bytes of one write: more than a pipe takes as a whole, and more than a guest's library writes at once.
const WRITE_MAX: usize = 64 << 10;
/// The most writes that wait for the thread.
const WAITING: usize = 64;
const STACK: usize = 64 << 10;

/// Standard output or standard error.
#[derive(Debug, Clone, Copy)]
enum Which {
    Out,
    Err,
}

/// An order that waits for the thread.
enum Order {
    Write(Which, Bytes),
    /// Ends the thread, after all that was ordered before.
    End,
}

/// The thread, which the first write starts.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<OnceLock<Mutex<Option<Writer>>>>);

struct Writer {
    queue: mpsc::Sender<Order>,
    thread: std::thread::JoinHandle<()>,
}

impl Output {
    pub(crate) fn stdout(&self) -> Stream {
        Stream { output: self.clone(), which: Which::Out }
    }

    pub(crate) fn stderr(&self) -> Stream {
        Stream { output: self.clone(), which: Which::Err }
    }

    fn queue(&self) -> Option<mpsc::Sender<Order>> {
        let writer = self.0.get_or_init(|| Mutex::new(Writer::start().ok()));
        writer.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|writer| writer.queue.clone())
    }

    /// Writes the server's own words to standard error, after all that the guests have written. If there is no room the words are lost,
    /// since a server does not wait for them.
    pub(crate) fn tell(&self, words: String) {
        if let Some(queue) = self.queue() {
            let _ = queue.try_send(Order::Write(Which::Err, words.into()));
        }
    }

    /// The same for a guest's words, which wait for room.
    pub(crate) async fn tell_when_there_is_room(&self, words: String) {
        if let Some(queue) = self.queue() {
            // An error means that the thread has ended, as it does with the server.
            let _ = queue.send(Order::Write(Which::Err, words.into())).await;
        }
    }

    /// Waits until all orders are written. Must not be called within an event loop.
    pub(crate) fn finish(&self) {
        let writer = self.0.get().and_then(|writer| writer.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(Writer { queue, thread }) = writer {
            // An order ends the thread, and not the end of the queue, which the streams of idle instances keep open.
            if queue.blocking_send(Order::End).is_ok() {
                let _ = thread.join();
            }
        }
    }
}

impl Writer {
    fn start() -> io::Result<Self> {
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let err = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let (queue, mut waiting) = mpsc::channel::<Order>(WAITING);
        let thread = std::thread::Builder::new().name("output".to_owned()).stack_size(STACK);
        let thread = thread.spawn(move || {
            while let Some(Order::Write(which, bytes)) = waiting.blocking_recv() {
                let mut file = match which {
                    Which::Out => &out,
                    Which::Err => &err,
                };
                // An error means that the reader is gone for good: there is nobody to tell.
                let _ = file.write_all(&bytes);
            }
        })?;
        Ok(Self { queue, thread })
    }
}

/// Standard output or standard error, as a guest has it.
pub(crate) struct Stream {
    output: Output,
    which: Which,
}

impl IsTerminal for Stream {
    /// A terminal belongs to one program that somebody types to.
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Written { queue: self.output.queue().map(PollSender::new), which: self.which })
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Opened { queue: self.output.queue(), which: self.which })
    }
}

/// A stream as a guest of WASI 0.3 has it.
struct Written {
    queue: Option<PollSender<Order>>,
    which: Which,
}

impl AsyncWrite for Written {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let which = self.which;
        let queue = self.queue.as_mut().ok_or_else(gone)?;
        std::task::ready!(queue.poll_reserve(cx)).map_err(|_| gone())?;
        let bytes = &bytes[..bytes.len().min(WRITE_MAX)];
        queue.send_item(Order::Write(which, Bytes::copy_from_slice(bytes))).map_err(|_| gone())?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A stream as a guest of WASI 0.2 has it.
struct Opened {
    queue: Option<mpsc::Sender<Order>>,
    which: Which,
}

#[async_trait]
impl Pollable for Opened {
    async fn ready(&mut self) {
        if let Some(queue) = &self.queue {
            // An error means that the thread has ended, which the next write reports.
            let _ = queue.reserve().await;
        }
    }
}

impl OutputStream for Opened {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let queue = self.queue.as_ref().ok_or(StreamError::Closed)?;
        queue.try_send(Order::Write(self.which, bytes)).map_err(|e| match e {
            mpsc::error::TrySendError::Closed(_) => StreamError::Closed,
            mpsc::error::TrySendError::Full(_) => StreamError::trap("a write that there was no room for"),
        })
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match &self.queue {
            None => Err(StreamError::Closed),
            Some(queue) if queue.capacity() == 0 => Ok(0),
            Some(_) => Ok(WRITE_MAX),
        }
    }
}
