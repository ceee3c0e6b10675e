//! The kernel's kills in one container, told as `/tasks/oom` and before the exit that they are the reason of.

use std::sync::Arc;
use std::time::Duration;

use catamaran_cache::counters::{self, Count};
use catamaran_cache::places;
use catamaran_cgroup::{Slice, Watch};
use containerd_shim_protos::events::task::TaskOOM;
use log::{info, warn};

use super::events::Publisher;
use crate::container::{Container, Exit};

/// How long an exit may be held up by the events before it, where the kernel has killed: CRI learns the exit by Wait and its
/// reason by the event, and a kubelet that asks in between reads «Error».
const REASON_FIRST: Duration = Duration::from_secs(1);

/// What an exit by SIGKILL is counted as.
const KILLED: u32 = 137;

/// Watches one container's cgroup for them and publishes each.
#[derive(Clone)]
pub(super) struct OomWatcher {
    pub(super) container: Arc<Container>,
    pub(super) publisher: Publisher,
    /// Where the container's cgroup is a scope of systemd's.
    pub(super) slice: Option<Arc<Slice>>,
}

impl OomWatcher {
    /// Tells of each, for as long as it is awaited.
    pub(super) async fn tell_all(self, watch: Watch) {
        loop {
            if let Err(e) = watch.changed().await {
                return warn!("container {}: watching for the kernel's kills: {e}", self.container.id());
            }
            let mut pauses = watch.pauses().iter();
            while !self.tell()
                && let Some(pause) = pauses.next()
            {
                tokio::time::sleep(*pause).await;
            }
        }
    }

    /// Tells of one that was not told of before the end, and lets the event go first.
    pub(super) async fn tell_last(&self, exit: &Exit) {
        if !self.tell() && exit.code == KILLED && !self.container.kill_was_asked_for() && self.vanished() {
            self.container.saw_kill();
            self.publish(1);
        }
        if self.container.was_killed() {
            self.publisher.flush(REASON_FIRST).await;
        }
    }

    /// Tells, if there was one since it was looked for last.
    fn tell(&self) -> bool {
        let new = self.container.new_kills();
        if new == 0 {
            return false;
        }
        if let Some(slice) = &self.slice {
            slice.saw(new);
        }
        self.publish(new);
        true
    }

    /// Whether there was one in the container's cgroup, which is gone.
    fn vanished(&self) -> bool {
        let Some(slice) = self.slice.as_ref().filter(|_| self.container.cgroup_is_gone()) else { return false };
        slice.take_unseen().unwrap_or_else(|e| {
            warn!("container {}: {e}", self.container.id());
            false
        })
    }

    fn publish(&self, kills: u64) {
        counters::add(&places::root(), &[Count::OomKills(self.container.process.engine(), kills)]);
        info!("out of memory: the kernel killed in the cgroup of id={}", self.container.id());
        self.publisher.publish(&TaskOOM { container_id: self.container.id().to_owned(), ..Default::default() });
    }
}
