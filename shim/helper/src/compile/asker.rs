//! The asker: the caller that waits for a driver's answer, usually a shim for a start. If the asker gives up or is killed, its end of the
//! socket closes.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use catamaran_cache::order::{Answer, Order};
use catamaran_worker::control;
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::error::{Doing, Result};

/// The driver's end of the socket to the shim.
pub(super) struct Asker {
    control: OwnedFd,
}

impl Asker {
    /// Returns the asker at standard input.
    pub(super) fn from_stdin() -> Result<Self> {
        let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3);
        Ok(Self { control: control.doing(|| "receiving an order for the compile driver".to_owned())? })
    }

    pub(super) fn order(&self) -> Result<(Order, Vec<OwnedFd>)> {
        control::receive_with(self.control.as_fd()).doing(|| "receiving an order for the compile driver".to_owned())
    }

    pub(super) fn answer(&self, words: &Answer, artifact: Option<&File>) -> Result<()> {
        let artifact = artifact.map(AsFd::as_fd);
        control::send_with(self.control.as_fd(), words, artifact.as_slice()).doing(|| "answering the shim".to_owned())
    }

    /// Waits for `time`, or until the asker leaves. Returns true if it leaves.
    pub(super) fn leaves_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
            // The asker sends nothing after its order, so the socket becomes readable only when it closes.
            let mut watched = [PollFd::from_borrowed_fd(self.control.as_fd(), PollFlags::IN)];
            match rustix::event::poll(&mut watched, Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(ready) => return ready > 0,
                // Treats the asker as present, and waits all the same, so that the caller's loop does not spin.
                Err(_) => {
                    std::thread::sleep(left);
                    return false;
                }
            }
        }
    }

    /// Returns an asker that waits until its other end is dropped.
    #[cfg(test)]
    pub(super) fn pair() -> (Self, OwnedFd) {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        (Self { control: ours }, theirs)
    }
}
