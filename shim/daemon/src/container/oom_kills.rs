//! Counts the kernel's kills in a container's cgroup.

use std::path::Path;
use std::sync::atomic::Ordering;

use catamaran_cgroup::Watch;
use log::warn;

use super::Container;

impl Container {
    /// Watches for the kernel's kills in the container's cgroup. Returns None if the system cannot report them: the exit then shows a kill.
    pub(crate) fn watch_kills(&self) -> Option<Watch> {
        self.cgroup.watch_kills().unwrap_or_else(|e| {
            warn!("container {}: an out-of-memory kill is reported only when the container ends: {e}", self.id());
            None
        })
    }

    /// Returns the number of the kernel's out-of-memory kills in the container's cgroup since the last call. The kernel counts a kill of
    /// the worker before the worker has ended.
    pub(crate) fn new_kills(&self) -> u64 {
        let now = self.cgroup.kills().unwrap_or_else(|e| {
            warn!("container {}: {e}", self.id());
            None
        });
        let now = now.unwrap_or(0);
        now.saturating_sub(self.kills.fetch_max(now, Ordering::Relaxed))
    }

    /// Counts a kill that the cgroup no longer shows.
    pub(crate) fn saw_kill(&self) {
        self.kills.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the kernel has killed in the cgroup at all.
    pub(crate) fn was_killed(&self) -> bool {
        self.kills.load(Ordering::Relaxed) > 0
    }

    /// Whether this shim has sent a SIGKILL.
    pub(crate) fn kill_was_asked_for(&self) -> bool {
        self.process.kill_was_asked_for()
    }

    /// Whether the cgroup is gone: systemd removes the cgroup of a scope when it is empty.
    pub(crate) fn cgroup_is_gone(&self) -> bool {
        self.cgroup.files("memory").is_some_and(|folder| !folder.exists())
    }

    /// Returns the slice that the cgroup lies in if it is a systemd scope.
    pub(crate) fn slice(&self) -> Option<&Path> {
        self.cgroup.slice()
    }
}
