//! Pauses and resumes containers, and publishes the events.

use containerd_shim_protos::events::task::{TaskPaused, TaskResumed};

use super::Pod;
use crate::error::Result;

impl Pod {
    /// Stops a container's processes. As with a start, the event is queued before anything else can run on this thread.
    pub(crate) async fn pause(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        container.pause().await?;
        self.publisher.publish(&TaskPaused { container_id: container.id().to_owned(), ..Default::default() });
        Ok(())
    }

    /// Lets a container's processes go on.
    pub(crate) fn resume(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        container.resume()?;
        self.publisher.publish(&TaskResumed { container_id: container.id().to_owned(), ..Default::default() });
        Ok(())
    }
}
