//! A kubelet's files outside the folders that can be configured: links to containers' logs, and the socket of device plugins. The end of a
//! cluster removes both, and the next start removes those of a killed cluster.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use catamaran_harness::{sweep_stale, wait_until};
use rustix::fs::FlockOperation;

/// The kubelet's own constant: a link to each container's log, whose target names the node's folder.
const LINKS: &str = "/var/log/containers";
/// The kubelet's own constant. It empties the folder when it starts.
const DEVICE_PLUGINS: &str = "/var/lib/kubelet/device-plugins";
/// The beginning of the name of every test node's folder.
const NODES: &str = "catamaran-test-";
/// How long a test program waits for another one's cluster to end.
const TURN: Duration = Duration::from_secs(900);

/// The right to run the machine's only test kubelet. Dropping this removes the kubelet's files outside.
pub(crate) struct Outside {
    _lock: File,
}

impl Outside {
    /// Waits for other test programs' clusters to end.
    ///
    /// # Panics
    /// When the machine has a kubelet of its own, which would lose its device plugins.
    pub(crate) fn take() -> Self {
        let lock = lock();
        wait_until(TURN, "another cluster on this machine to end", || {
            rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()
        });
        let socket = Path::new(DEVICE_PLUGINS).join("kubelet.sock");
        assert!(
            UnixStream::connect(&socket).is_err(),
            "a kubelet runs on this machine ({} answers): use another one for these tests",
            socket.display()
        );
        clean();
        Self { _lock: lock }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        clean();
    }
}

fn lock() -> File {
    let path = std::env::temp_dir().join("catamaran-cluster.lock");
    File::create(&path).unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()))
}

/// Removes everything of clusters whose owners were killed.
///
/// # Panics
/// When the lock that keeps two programs apart cannot be taken.
pub fn sweep() {
    sweep_stale();
    if rustix::fs::flock(lock(), FlockOperation::NonBlockingLockExclusive).is_ok() {
        clean();
    }
}

/// The links to logs of tests' nodes.
pub(crate) fn links() -> Vec<PathBuf> {
    let entries = fs::read_dir(LINKS).into_iter().flatten().flatten().map(|entry| entry.path());
    let ours = |path: &Path| fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains(NODES));
    entries.filter(|path| ours(path)).collect()
}

fn clean() {
    for link in links() {
        let _ = fs::remove_file(link);
    }
    // A folder with other files in it stays.
    for file in ["kubelet.sock", "kubelet_internal_checkpoint"] {
        let _ = fs::remove_file(Path::new(DEVICE_PLUGINS).join(file));
    }
    for folder in [LINKS, DEVICE_PLUGINS, "/var/lib/kubelet"] {
        let _ = fs::remove_dir(folder);
    }
}
