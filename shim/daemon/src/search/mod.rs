//! A search: a process that looks, in place of the shim, at files that the pod controls: volumes, the files of an image, and the tree of a
//! running container.
//!
//! ```text
//! shim                               catamaran-helper (once a Create or an exec)
//! Create: root, mounts, words -----> root file system -> native or not -> bind mounts -> module -> digest
//! exec:   process, words ----------> its tree         -> module -> digest
//!         descriptors, digest <-----
//! ```
//!
//! A file system may never answer, and a thread that waits for it cannot even be killed. So the shim never waits for one itself, and
//! answers all other calls meanwhile. A search that takes longer than a moment is moved into a cgroup of its own inside the pod's, so that
//! the pod is charged for it. A shorter one is not moved, because the move takes longer than most searches. A search that does not answer
//! is killed and left to the kernel. When its process is gone, the shim removes its cgroup, or else the next `delete` on the node does.

mod client;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use catamaran_cache::places::environment;
use catamaran_cgroup::Cgroup;
use catamaran_files::search::{Answer, DOING, Order};
use catamaran_host::child;
use catamaran_host::errand::{self, Conversation};
use catamaran_host::programs;
use catamaran_host::readable::readable;
use catamaran_worker::control;
use log::{info, warn};
use nix::libc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::cleanup::state::{Folder, State};
use crate::error::{Doing, Error, Result};
pub(crate) use client::{Native, Prepared, wanted};

/// The pod is charged for a search that takes longer.
const MOMENT: Duration = Duration::from_millis(100);
/// The longest wait for an answer: a slower search waits for a file system that does not answer.
const LONGEST: Duration = Duration::from_secs(30);
/// How long a killed search may take to end: a slower one hangs in the kernel.
const TO_END: Duration = Duration::from_secs(1);
/// The longest pause between two tries to remove a search's cgroup.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The most killed searches of a pod that may hang. With so many no further search is started.
const MOST_STUCK: usize = 8;

/// How many killed searches hang in the kernel.
static STUCK: AtomicUsize = AtomicUsize::new(0);

/// Where a search is charged, and where that is recorded.
pub(crate) struct Charge {
    /// `linux.cgroupsPath` of the container.
    pub(crate) cgroup: String,
    pub(crate) states: Folder,
}

/// A running search, which is killed when this is dropped.
pub(crate) struct Search {
    pid: u32,
    /// None only while this is dropped.
    pidfd: Option<OwnedFd>,
    control: AsyncFd<OwnedFd>,
    charge: Charge,
    /// Its own cgroup, once it is in one.
    cgroup: Option<Cgroup>,
}

impl Search {
    pub(crate) fn start(charge: Charge) -> Result<Self> {
        let stuck = STUCK.load(Ordering::Relaxed);
        if stuck >= MOST_STUCK {
            return Err(Error::unavailable(
                "the pod's volumes and images",
                format!("{stuck} searches in them were ended and still wait for a file system that does not answer"),
                "file systems that answer",
            ));
        }
        let doing = || DOING.to_owned();
        let Conversation { control, pid, pidfd } = errand::converse(programs::SEARCH, environment(), doing)?;
        match rustix::io::ioctl_fionbio(&control, true).map_err(Into::into).and_then(|()| readable(control)) {
            Ok(control) => Ok(Self { pid, pidfd: Some(pidfd), control, charge, cgroup: None }),
            Err(e) => {
                // The search ends, because its socket is closed.
                child::reap(pidfd);
                Err(e).doing(doing)
            }
        }
    }

    /// Gives the search an order. Call [`Search::answer`] next.
    fn order(&mut self, order: &Order, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        control::send_in_memory(self.control.get_ref().as_fd(), order, descriptors).doing(|| DOING.to_owned())
    }

    /// Waits for the answer to the order.
    async fn answer(&mut self) -> Result<(Answer, Vec<OwnedFd>)> {
        let received = match tokio::time::timeout(MOMENT, received(&self.control)).await {
            Ok(received) => received,
            Err(_) => {
                self.move_into_pod().await?;
                tokio::time::timeout(LONGEST, received(&self.control)).await.map_err(|_| no_answer())?
            }
        };
        let (answer, descriptors): (Answer, _) = received.map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => self.ended(),
            _ => Error::system(DOING, e),
        })?;
        match answer {
            Answer::Failed(failure) => Err(failure.into_error().into()),
            answer => Ok((answer, descriptors)),
        }
    }

    async fn move_into_pod(&mut self) -> Result<()> {
        if self.cgroup.is_some() {
            return Ok(());
        }
        let cgroup = Cgroup::plan(&format!("{}-search-{}", self.charge.cgroup, self.pid), None)?;
        self.charge.states.write(&self.name(), &State::of_search(cgroup.folders().to_vec()))?;
        let cgroup = self.cgroup.insert(cgroup);
        cgroup.create()?;
        Ok(cgroup.take_in(self.pid).await?)
    }

    /// Returns the name of the record that names its cgroup.
    fn name(&self) -> String {
        format!("search-{}", self.pid)
    }

    /// Explains why a process that has closed its socket gave no answer.
    fn ended(&self) -> Error {
        let code = self.pidfd.as_ref().and_then(child::ended);
        let code = code.map_or_else(String::new, |code| format!(" with {code}"));
        let limit = self.cgroup.as_ref().and_then(Cgroup::limit_hit).map_or_else(String::new, |hit| format!(": {hit}"));
        let source = std::io::Error::other(format!("the process that searches ended{code}{limit}"));
        Error::system(DOING, source)
    }
}

async fn received(control: &AsyncFd<OwnedFd>) -> std::io::Result<(Answer, Vec<OwnedFd>)> {
    control.async_io(Interest::READABLE, |socket| control::receive_in_memory(socket.as_fd())).await
}

fn no_answer() -> Error {
    Error::unavailable(
        "the container's volumes and image",
        format!("a file system that did not answer within {LONGEST:?}"),
        "file systems that answer",
    )
}

impl Drop for Search {
    fn drop(&mut self) {
        let (Some(pidfd), name) = (self.pidfd.take(), self.name()) else { return };
        // The search has nothing to finish: its answer has come, or nobody wants it any more.
        let _ = child::signal(&pidfd, libc::SIGKILL);
        let (cgroup, states) = (self.cgroup.take(), self.charge.states.clone());
        let pid = self.pid;
        tokio::spawn(async move {
            let mut end = std::pin::pin!(child::wait(pidfd));
            let ended = match tokio::time::timeout(TO_END, end.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => {
                    STUCK.fetch_add(1, Ordering::Relaxed);
                    let ended = end.await;
                    STUCK.fetch_sub(1, Ordering::Relaxed);
                    ended
                }
            };
            if let Err(e) = ended {
                warn!("{e}");
            }
            let Some(cgroup) = cgroup else { return };
            info!("a search that took longer than {MOMENT:?} has ended (process {pid})");
            let mut pause = MOMENT;
            while let Err(e) = catamaran_cgroup::remove(cgroup.folders())
                .await
                .map_err(Error::from)
                .and_then(|()| states.forget(&name))
            {
                // Descriptors may be short for a while. If the cgroup stays, the next `delete` on the node removes it.
                if pause > LONGEST_PAUSE {
                    return warn!("{e}");
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        });
    }
}
