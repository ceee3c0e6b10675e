//! The record of a native container. It is written before the container is made, so that `delete` can remove a container that outlives its
//! shim.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use log::warn;
use serde::{Deserialize, Serialize};

use super::Runtime;
use super::rootfs::unmount;
use crate::error::{Doing, Result};

/// The runtime that has a container, and the mount that was made for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) runtime: Runtime,
    /// The mount point of the root file system, if this shim mounted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rootfs: Option<PathBuf>,
}

impl Record {
    /// Has runc remove the container `id`, which also runs its poststop hooks, and unmounts its root file system. If runc fails or takes
    /// too long, removes runc's state without runc; the processes then end when the caller removes the cgroup.
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
