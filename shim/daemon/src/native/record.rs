//! What is written down of a native container before it is made: it outlives its shim, and is to be ended without.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use log::warn;
use serde::{Deserialize, Serialize};

use super::Runtime;
use super::rootfs::unmount;
use crate::error::{Doing, Result};

/// Who has the container, and what was mounted for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) runtime: Runtime,
    /// Where its root file system is mounted, if it is by this shim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rootfs: Option<PathBuf>,
}

impl Record {
    /// Removes what runc has of the container `id`, which runs its poststop hooks, and what was mounted. Where runc itself
    /// fails, or does not answer in time, what it knew is removed without it. Its processes are the cgroup's matter.
    pub(crate) async fn clear(&self, id: &str, limit: Duration) -> Result<()> {
        let known = &self.runtime.root;
        let mut cleared = Ok(());
        if known.exists() {
            if known.join(id).exists()
                && let Err(e) = self.runtime.delete(id, limit).await
            {
                warn!("container {id}: {e}: its state is removed without runc");
            }
            cleared = match std::fs::remove_dir_all(known) {
                Err(e) if e.kind() != ErrorKind::NotFound => Err(e).on(known),
                _ => Ok(()),
            };
        }
        let unmounted = self.rootfs.as_ref().map_or(Ok(()), |place| unmount(place));
        cleared.and(unmounted)
    }
}
