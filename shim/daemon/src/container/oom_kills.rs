//! What a container knows of the kernel's kills in its cgroup.

use std::path::Path;
use std::sync::atomic::Ordering;

use catamaran_cgroup::Watch;
use log::warn;

use super::Container;

impl Container {
    /// Tells of the kernel's kills in the container's cgroup, if that can be had. Without it a kill is found at the exit.
    pub(crate) fn watch_kills(&self) -> Option<Watch> {
        self.cgroup.watch_kills().unwrap_or_else(|e| {
            warn!("container {}: a kill for want of memory is found at its exit alone: {e}", self.id());
            None
        })
    }

    /// How often the kernel has killed in the container's cgroup because memory ran out, since this was asked last. When the
    /// worker has ended, a kill of it is counted.
    pub(crate) fn new_kills(&self) -> u64 {
        let now = self.cgroup.kills().unwrap_or_else(|e| {
            warn!("container {}: {e}", self.id());
            None
        });
        let now = now.unwrap_or(0);
        now.saturating_sub(self.kills.fetch_max(now, Ordering::Relaxed))
    }

    /// There was one more, which the cgroup does not say any more.
    pub(crate) fn saw_kill(&self) {
        self.kills.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether there ever was one.
    pub(crate) fn was_killed(&self) -> bool {
        self.kills.load(Ordering::Relaxed) > 0
    }

    /// Whether it was this shim that sent a SIGKILL.
    pub(crate) fn kill_was_asked_for(&self) -> bool {
        self.process.kill_was_asked_for()
    }

    /// systemd removes a scope's when it is empty.
    pub(crate) fn cgroup_is_gone(&self) -> bool {
        self.cgroup.files("memory").is_some_and(|folder| !folder.exists())
    }

    /// The slice that its cgroup lies in, if it is a scope of systemd's.
    pub(crate) fn slice(&self) -> Option<&Path> {
        self.cgroup.slice()
    }
}
