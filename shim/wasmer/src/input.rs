//! Standard input: the process's own descriptor, without a buffer and without a thread.
//!
//! wasmer-wasix itself reads ahead of the guest, and holds a lock while a read waits, where no signal reaches it: so no read
//! of standard input waits there. A read that finds nothing returns, waits here, and is made again.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, IsTerminal, Read};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use wasmer::RuntimeError;
use wasmer_wasix::WasiThread;
use wasmer_wasix::runtime::task_manager::block_on;
use wasmer_wasix::wasmer_wasix_types::wasi::{Errno, Fdflags, Filetype, Signal};

use crate::call::{Call, Descriptor};
use crate::threads::{self, MOST_THREADS};
use crate::{errors, signals};

/// Standard input, as the guest's descriptors have it. Bytes that the guest has not read are still in the pipe.
#[derive(Debug, Clone)]
pub(crate) struct Input(Arc<Stream>);

#[derive(Debug)]
struct Stream {
    source: Source,
    /// The wakers of all threads that wait for it: the event loop itself keeps only one.
    waiting: Mutex<Vec<Waker>>,
}

#[derive(Debug)]
enum Source {
    /// A pipe, a terminal or a socket: the event loop says when there is something.
    Watched(AsyncFd<File>),
    /// A regular file or /dev/null, which epoll does not take because they are always ready; or a stream that is closed.
    Ready(Option<File>),
}

thread_local! {
    /// Whether this thread is in a read that is not to wait inside wasmer-wasix.
    static READING: Cell<bool> = const { Cell::new(false) };
    /// The stream in which that read found nothing.
    static EMPTY: RefCell<Option<Arc<Stream>>> = const { RefCell::new(None) };
}

/// Whether the guest asked for reads that do not wait, by its descriptor 0.
static AT_ONCE: AtomicBool = AtomicBool::new(false);

impl Input {
    /// Over a duplicate of the process's standard input. Must be called within the event loop's context.
    pub(crate) fn inherit() -> io::Result<Self> {
        // Not by the standard library's, which has a buffer of 8 kB.
        let source = match rustix::stdio::stdin().try_clone_to_owned() {
            Ok(stdin) => Source::over(File::from(stdin))?,
            Err(e) if e.raw_os_error() == Some(libc::EBADF) => Source::Ready(None),
            Err(e) => return Err(e),
        };
        Ok(Self(Arc::new(Stream { source, waiting: Mutex::default() })))
    }

    /// The number of bytes that can be read once there are any; 0 at the end of input.
    pub(crate) fn poll_count(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let file = ready!(self.0.poll_ready(cx))?;
        // For a file, or if the number is unknown, one byte is promised.
        Poll::Ready(Ok(match self.0.source {
            Source::Watched(_) => rustix::io::ioctl_fionread(file).unwrap_or(1) as usize,
            Source::Ready(_) => 1,
        }))
    }
}

impl Source {
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
}

impl Stream {
    /// Waits until a read would return at once. The descriptor itself stays blocking: other processes may share its file
    /// description, of a pipe or terminal, and O_NONBLOCK would be theirs too.
    fn poll_ready(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<io::Result<&File>> {
        let watched = match &self.source {
            Source::Watched(watched) => watched,
            Source::Ready(Some(file)) => return Poll::Ready(Ok(file)),
            Source::Ready(None) => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        let all = Waker::from(self.clone());
        loop {
            if has_input(watched.get_ref()) {
                return Poll::Ready(Ok(watched.get_ref()));
            }
            self.wait(cx.waker());
            // epoll reports changes: the input may have been read since.
            ready!(watched.poll_read_ready(&mut Context::from_waker(&all)))?.clear_ready();
        }
    }

    /// Has `waker` woken with all the others.
    fn wait(&self, waker: &Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.iter().any(|other| other.will_wake(waker)) {
            return;
        }
        // Some are of threads that have ended: each thread has one. A thread that is woken without need waits again.
        if waiting.len() > MOST_THREADS {
            waiting.drain(..).for_each(Waker::wake);
        }
        waiting.push(waker.clone());
    }
}

impl Wake for Stream {
    fn wake(self: Arc<Self>) {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Whether a read would return at once, be it with bytes, the end, or an error.
fn has_input(file: &File) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // If poll itself fails, the read tells why.
    rustix::event::poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&at_once)).map_or(true, |ready| ready > 0)
}

/// `fd_read` and `fd_pread`, of any descriptor.
pub(crate) fn read(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let mut tried = attempt(call)?;
    while let (said, Some(stream)) = tried {
        if call.number(0) == 0 && AT_ONCE.load(Ordering::Relaxed) {
            return Ok(Errno::Again as i32);
        }
        let Some(thread) = threads::thread() else { return Ok(said) };
        match block_on(stream.input_or_signal(&thread)) {
            Ok(Woken::Input) => tried = attempt(call)?,
            Ok(Woken::Signal) => {
                // The next attempt takes the signals off the thread, and runs their handlers first.
                let interrupts = signals::interrupts(&waiting(&thread));
                tried = attempt(call)?;
                if interrupts {
                    return Ok(tried.0);
                }
            }
            Err(_) => return Ok(Errno::Io as i32),
        }
    }
    Ok(tried.0)
}

/// Makes the call, and returns the stream in which it found nothing, if it ended so.
fn attempt(call: &mut Call<'_>) -> Result<(i32, Option<Arc<Stream>>), RuntimeError> {
    // A signal's handler may read within another read.
    let outer = (READING.replace(true), EMPTY.take());
    let said = call.made();
    READING.set(outer.0);
    let empty = EMPTY.replace(outer.1);
    let said = said?;
    // Some of the guest's buffers may have been filled before there was nothing more.
    Ok((said, empty.filter(|_| said == Errno::Intr as i32)))
}

enum Woken {
    Input,
    Signal,
}

impl Stream {
    async fn input_or_signal(self: Arc<Self>, thread: &WasiThread) -> io::Result<Woken> {
        poll_fn(|cx| match thread.has_signals_or_subscribe(cx.waker()) {
            true => Poll::Ready(Ok(Woken::Signal)),
            false => self.poll_ready(cx).map_ok(|_| Woken::Input),
        })
        .await
    }
}

/// The signals that are pending for a thread.
pub(crate) fn waiting(thread: &WasiThread) -> Vec<Signal> {
    thread.signals().lock().map(|signals| signals.0.clone()).unwrap_or_default()
}

/// `fd_fdstat_set_flags`: descriptor, WASI's `fdflags`.
pub(crate) fn set_flags(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let said = call.made()?;
    if said != 0 {
        return Ok(said);
    }
    let flags = Fdflags::from_bits_truncate(call.number(1) as u16);
    let (append, at_once) = (flags.contains(Fdflags::APPEND), flags.contains(Fdflags::NONBLOCK));
    if call.number(0) == 0 {
        AT_ONCE.store(at_once, Ordering::Relaxed);
    }
    // A descriptor has 32 bits.
    match call.what(call.number(0) as u32)? {
        Descriptor::File(opened) => Ok(errors::said(opened.set_flags(append, at_once))),
        _ => Ok(0),
    }
}

/// `fd_fdstat_get`: descriptor, address of WASI's `fdstat`. wasmer-wasix's answer for standard input never has flags; Go sets O_NONBLOCK,
/// checks it, and polls only if it is set: else a read that finds nothing is an error to it. wasmer-wasix also calls each of the three
/// streams a terminal, to which programs write line by line and in colours.
pub(crate) fn status(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    /// The flags' offset in it; the type is first.
    const FLAGS: u64 = 2;
    let said = call.made()?;
    if said != 0 {
        return Ok(said);
    }
    let (stream, at) = (call.number(0), call.number(1));
    let flagged = stream != 0
        || !AT_ONCE.load(Ordering::Relaxed)
        || call.put(at + FLAGS, &Fdflags::NONBLOCK.bits().to_le_bytes());
    let terminal = match stream {
        0 => io::stdin().is_terminal(),
        1 => io::stdout().is_terminal(),
        2 => io::stderr().is_terminal(),
        _ => true,
    };
    let told = terminal || call.put(at, &[Filetype::Unknown as u8]);
    Ok(if flagged && told { 0 } else { Errno::Fault as i32 })
}

impl AsyncRead for Input {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut file = match self.0.poll_ready(cx) {
            Poll::Ready(file) => file?,
            Poll::Pending if READING.get() => {
                EMPTY.set(Some(self.0.clone()));
                return Poll::Ready(Err(io::ErrorKind::Interrupted.into()));
            }
            Poll::Pending => return Poll::Pending,
        };
        let count = loop {
            match file.read(buffer.initialize_unfilled()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => break done?,
            }
        };
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
