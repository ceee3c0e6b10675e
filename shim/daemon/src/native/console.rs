//! The socket by which runc hands over the master of a terminal that runc has made in the container (runc's docs/terminals.md).

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::IoSliceMut;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

use crate::error::{Doing, Result};

/// How long to wait for the terminal. runc sends it before runc ends, so that it is there already.
const LONGEST: Duration = Duration::from_secs(5);
/// The longest name of a terminal, which runc sends along.
const LONGEST_NAME: usize = 4096;

/// A socket that receives one terminal. Dropping this removes the socket.
pub(crate) struct Console {
    /// The socket's own folder. Only root can enter it, because any process that reaches the socket could send another terminal.
    folder: PathBuf,
    listener: UnixListener,
}

/// The socket's name, which is short because a socket's address has 108 bytes (unix(7)).
const NAME: &str = "s";

impl Console {
    /// Listens in `folder`, an empty folder that only root can enter. The folder is removed with the socket.
    pub(crate) fn open(folder: PathBuf) -> Result<Self> {
        let listener = UnixListener::bind(folder.join(NAME)).on(folder.join(NAME));
        match listener {
            Ok(listener) => Ok(Self { folder, listener }),
            Err(e) => {
                // If this fails, the next `delete` removes the empty folder.
                let _ = std::fs::remove_dir_all(&folder);
                Err(e)
            }
        }
    }

    /// Returns the socket's path, for runc.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// Returns the terminal's master. Call this once runc has ended.
    pub(crate) async fn master(&self) -> Result<OwnedFd> {
        let received = tokio::time::timeout(LONGEST, self.receive()).await;
        let received = received.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        received.doing(|| "receiving the terminal that runc has made".to_owned())
    }

    async fn receive(&self) -> std::io::Result<OwnedFd> {
        let (stream, _) = self.listener.accept().await?;
        stream.async_io(Interest::READABLE, || receive(&stream)).await
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // If this fails, the next `delete` removes the rest.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Receives one descriptor, which comes with a name.
fn receive(stream: &UnixStream) -> std::io::Result<OwnedFd> {
    let mut name = [0; LONGEST_NAME];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(&mut name)];
    let message = rustix::net::recvmsg(stream, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT)?;
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(std::io::Error::other("more than one descriptor"));
    }
    let rights = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    rights.ok_or_else(|| std::io::Error::other("a message without a descriptor"))
}
