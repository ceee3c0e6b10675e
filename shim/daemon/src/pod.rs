//! The containers of one shim, by id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use containerd_shim_protos::events::task::{TaskCreate, TaskDelete, TaskExit, TaskIO, TaskStart};

use crate::container::{Container, Exit, Request};
use crate::error::{Error, Result};
use crate::events::Publisher;

/// A container's place: taken from the first moment of its creation, so that no id is created twice.
enum Place {
    Creating,
    Taken(Arc<Container>),
}

pub(crate) struct Pod {
    /// Never held across an await; a creation holds its place, not the lock.
    places: Mutex<HashMap<String, Place>>,
    publisher: Publisher,
}

impl Pod {
    pub(crate) fn new(publisher: Publisher) -> Self {
        Self { places: Mutex::default(), publisher }
    }

    fn places(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places().is_empty()
    }

    /// The container, or NotFound: also while it is being created, and after its deletion.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>> {
        match self.places().get(id) {
            Some(Place::Taken(container)) => Ok(container.clone()),
            Some(Place::Creating) | None => Err(Error::NotFound(format!("container {id}"))),
        }
    }

    /// Creates a container and begins to watch it. Events: create, and later exit.
    pub(crate) async fn create(self: &Arc<Self>, request: Request) -> Result<Arc<Container>> {
        let id = request.id.clone();
        {
            let mut places = self.places();
            if places.contains_key(&id) {
                return Err(Error::Exists(id));
            }
            places.insert(id.clone(), Place::Creating);
        }
        let rootfs = request.rootfs.clone();
        let container = match Container::create(request).await {
            Ok(container) => Arc::new(container),
            Err(e) => {
                self.places().remove(&id);
                return Err(e);
            }
        };
        self.places().insert(id, Place::Taken(container.clone()));
        self.publisher.publish(TaskCreate {
            container_id: container.id.clone(),
            bundle: container.bundle.to_string_lossy().into_owned(),
            rootfs,
            io: Some(TaskIO {
                stdin: container.stdio.stdin.clone(),
                stdout: container.stdio.stdout.clone(),
                stderr: container.stdio.stderr.clone(),
                ..Default::default()
            })
            .into(),
            pid: container.pid,
            ..Default::default()
        });
        // After the create event: an exit is never told before it.
        let (publisher, watched) = (self.publisher.clone(), container.clone());
        tokio::spawn(async move {
            let exit = watched.watch().await;
            publisher.publish(TaskExit {
                container_id: watched.id.clone(),
                id: watched.id.clone(),
                pid: watched.pid,
                exit_status: exit.code,
                exited_at: Some(exit.at).into(),
                ..Default::default()
            });
        });
        Ok(container)
    }

    /// Starts a container. The event is queued before anything else can run on this thread, an exit's included.
    pub(crate) fn start(&self, id: &str) -> Result<Arc<Container>> {
        let container = self.container(id)?;
        container.start()?;
        self.publisher.publish(TaskStart {
            container_id: container.id.clone(),
            pid: container.pid,
            ..Default::default()
        });
        Ok(container)
    }

    /// Deletes a container that has stopped or was never started.
    pub(crate) async fn delete(&self, id: &str) -> Result<(Arc<Container>, Exit)> {
        let container = self.container(id)?;
        let exit = container.delete().await?;
        // Of two deletions at once, one tells.
        if self.places().remove(id).is_some() {
            self.publisher.publish(TaskDelete {
                container_id: container.id.clone(),
                pid: container.pid,
                exit_status: exit.code,
                exited_at: Some(exit.at.clone()).into(),
                ..Default::default()
            });
        }
        Ok((container, exit))
    }
}
