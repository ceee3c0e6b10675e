//! A terminal. Its slave is all three streams of a container's process, and the shim copies between its master and the client's streams.
//!
//! ```text
//! client --- FIFO ---> input  ---> master ===== slave   the process, whose controlling terminal it is
//!        <-- FIFO ---- output <---
//! ```
//!
//! The end of the input hangs up the terminal, as in containerd's own shims, because nobody can type any more (`stdinOnce`). The input does
//! not end if the client only goes away, because the shim keeps the FIFO open until CloseIO.
//!
//! The shim copies no other bytes of containers. It must do so here, because a terminal lies between process and client. A client that does
//! not read stops its own terminal, and no other.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;

use catamaran_host::readable::{readable, registered};
use log::warn;
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::error::{Doing, Result};

/// Bytes copied at once: as many as a terminal holds.
const CHUNK: usize = 4096;

/// The shim's side of a terminal.
pub(super) struct Terminal {
    /// The tasks that copy own the master, which closes when the last of them ends.
    master: Weak<AsyncFd<OwnedFd>>,
    input: Option<JoinHandle<()>>,
    output: JoinHandle<()>,
}

/// Makes a terminal. Returns its master, and the slave for a process.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let doing = || "making a terminal".to_owned();
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).doing(doing)?;
    rustix::pty::unlockpt(&master).doing(doing)?;
    // Opened through the master and not by name, because /dev/pts may be another instance.
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).doing(doing)?;
    Ok((master, slave))
}

impl Terminal {
    /// Begins to copy from `input`, if any, to the terminal, and from the terminal to `output`, if any.
    pub(super) fn begin(master: OwnedFd, input: Option<OwnedFd>, output: Option<OwnedFd>) -> Result<Self> {
        let doing = || "copying a terminal's streams".to_owned();
        rustix::io::ioctl_fionbio(&master, true).doing(doing)?;
        let master = Arc::new(registered(master, Interest::READABLE | Interest::WRITABLE).doing(doing)?);
        let hung_up = Arc::new(Notify::new());
        let input = match input {
            None => None,
            Some(input) => {
                rustix::io::ioctl_fionbio(&input, true).doing(doing)?;
                let input = readable(input).doing(doing)?;
                let (master, hung_up) = (master.clone(), hung_up.clone());
                Some(tokio::spawn(async move {
                    log_failure("input", copy_in(&input, &master).await);
                    hung_up.notify_one();
                }))
            }
        };
        let output = match output {
            None => None,
            Some(output) => {
                rustix::io::ioctl_fionbio(&output, true).doing(doing)?;
                Some(registered(output, Interest::WRITABLE).doing(doing)?)
            }
        };
        let weak = Arc::downgrade(&master);
        let output =
            tokio::spawn(async move { log_failure("output", copy_out(&master, output.as_ref(), &hung_up).await) });
        Ok(Self { master: weak, input, output })
    }

    /// Whether there may be output that was not copied yet.
    pub(super) fn unread(&self) -> bool {
        !self.output.is_finished()
    }

    /// Sets the size of its window, in characters. The terminal's processes get SIGWINCH.
    pub(super) fn resize(&self, width: u16, height: u16) -> Result<()> {
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        match self.master.upgrade() {
            Some(master) => rustix::termios::tcsetwinsize(master.get_ref(), size),
            // The terminal was hung up, so that nobody looks at it.
            None => Ok(()),
        }
        .doing(|| "resizing a terminal".to_owned())
    }
}

impl Drop for Terminal {
    /// Stops copying the input. The output is copied to its end, or until its reader is gone.
    fn drop(&mut self) {
        if let Some(input) = &self.input {
            input.abort();
        }
    }
}

fn log_failure(what: &str, copied: io::Result<()>) {
    match copied {
        // The client reads no more.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
        Err(e) => warn!("a terminal's {what}: {e}"),
        Ok(()) => {}
    }
}

async fn copy_in(input: &AsyncFd<OwnedFd>, master: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = input.async_io(Interest::READABLE, |from| Ok(rustix::io::read(from, &mut chunk)?)).await?;
        if count == 0 {
            return Ok(());
        }
        match write_all(master, chunk.get(..count).unwrap_or_default()).await {
            // No process has the slave open any more.
            Err(e) if e.raw_os_error() == Some(Errno::IO.raw_os_error()) => return Ok(()),
            written => written?,
        }
    }
}

/// Copies until no process has the slave open (a read fails with EIO), or until the terminal is hung up and its output is copied.
async fn copy_out(master: &AsyncFd<OwnedFd>, output: Option<&AsyncFd<OwnedFd>>, hung_up: &Notify) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut over = pin!(hung_up.notified());
    loop {
        let read = async {
            let mut reading = pin!(master.async_io(Interest::READABLE, |from| Ok(rustix::io::read(from, &mut chunk)?)));
            // Output comes before the hang-up.
            poll_fn(|context| match reading.as_mut().poll(context) {
                Poll::Pending => over.as_mut().poll(context).map(|()| None),
                Poll::Ready(read) => Poll::Ready(Some(read)),
            })
            .await
        };
        let count = match read.await {
            None => return Ok(()),
            Some(Err(e)) if e.raw_os_error() == Some(Errno::IO.raw_os_error()) => return Ok(()),
            Some(read) => read?,
        };
        if count == 0 {
            return Ok(());
        }
        if let Some(output) = output {
            write_all(output, chunk.get(..count).unwrap_or_default()).await?;
        }
    }
}

async fn write_all(to: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = to.async_io(Interest::WRITABLE, |to| Ok(rustix::io::write(to, bytes)?)).await?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}
