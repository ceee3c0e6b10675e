//! Reports the kernel's out-of-memory kills in one container as `/tasks/oom`, before the exit that they cause.

use std::sync::Arc;
use std::time::Duration;

use catamaran_cache::counters::{self, Count};
use catamaran_cache::places;
use catamaran_cgroup::{Slice, Watch};
use catamaran_host::child;
use containerd_shim_protos::events::task::TaskOOM;
use log::warn;

use super::events::Publisher;
use crate::container::line::{Event, Line};
use crate::container::{Container, Exit};

/// How long an exit by a kill waits until containerd has the events before it. CRI learns the exit from Wait and the reason from the
/// event: a kubelet that asks in between reads "Error" in place of the reason.
const REASON_FIRST: Duration = Duration::from_secs(1);

/// Watches one container's cgroup for kills and publishes each.
#[derive(Clone)]
pub(super) struct OomWatcher {
    pub(super) container: Arc<Container>,
    pub(super) publisher: Publisher,
    /// The slice, if the container's cgroup is a systemd scope.
    pub(super) slice: Option<Arc<Slice>>,
}

impl OomWatcher {
    /// Publishes each kill. Ends only if watching fails; the caller aborts it at the exit.
    pub(super) async fn publish_all(self, watch: Watch) {
        loop {
            if let Err(e) = watch.changed().await {
                return warn!("container {}: watching for the kernel's kills: {e}", self.container.id());
            }
            let mut pauses = watch.pauses().iter();
            while !self.publish_new()
                && let Some(pause) = pauses.next()
            {
                tokio::time::sleep(*pause).await;
            }
        }
    }

    /// Publishes a kill that was not seen before the exit, and waits a moment until containerd has the event.
    pub(super) async fn publish_last(&self, exit: &Exit) {
        if !self.publish_new() && exit.code == child::KILLED && !self.container.kill_was_asked_for() && self.vanished()
        {
            self.container.saw_kill();
            self.publish(1);
        }
        if self.container.was_killed() {
            self.publisher.flush(REASON_FIRST).await;
        }
    }

    /// Publishes the kills since the last look. Returns whether there were any.
    fn publish_new(&self) -> bool {
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

    /// Whether the container's cgroup is gone, and its slice counts a kill that no container of the pod has shown.
    fn vanished(&self) -> bool {
        let Some(slice) = self.slice.as_ref().filter(|_| self.container.cgroup_is_gone()) else { return false };
        slice.take_unseen().unwrap_or_else(|e| {
            warn!("container {}: {e}", self.container.id());
            false
        })
    }

    fn publish(&self, kills: u64) {
        counters::add(&places::root(), &[Count::OomKills(self.container.process.engine(), kills)]);
        Line::new(Event::OutOfMemory, self.container.id()).log();
        self.publisher.publish(&TaskOOM { container_id: self.container.id().to_owned(), ..Default::default() });
    }
}
