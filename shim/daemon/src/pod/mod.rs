//! The containers of one shim, by id.

pub(crate) mod events;
mod memory;
mod oom_watcher;
mod pauses;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use catamaran_cgroup::Slice;
use containerd_shim_protos::events::task::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskIO, TaskStart,
};
use log::{info, warn};
use tokio::sync::Notify;

use self::events::Publisher;
use crate::container::{Container, Exec, ExecRequest, Exit, Request};
use crate::error::{Error, Result};
use memory::Memory;
use oom_watcher::OomWatcher;

/// A container of the pod, known from the first moment of its creation, so that no id is created twice.
enum Member {
    Creating {
        /// Deleted before the container existed: containerd gave up waiting and forgot it.
        unwanted: bool,
        given_up: Arc<Notify>,
    },
    Created(Arc<Container>),
}

impl Member {
    fn container(&self) -> Option<&Container> {
        match self {
            Member::Created(container) => Some(container),
            Member::Creating { .. } => None,
        }
    }

    /// Marks a creation as unwanted, and wakes it if it waits. Does nothing to a created container.
    fn give_up(&mut self) {
        if let Member::Creating { unwanted, given_up } = self {
            *unwanted = true;
            given_up.notify_one();
        }
    }
}

#[derive(Default)]
struct Members {
    by_id: HashMap<String, Member>,
    /// Shutdown was accepted: nothing is created any more, and the shim ends with the last member.
    closing: bool,
    /// Shutdown was refused because there were containers, but no holder: that was deleted before them. containerd will not call Shutdown
    /// again, so the shim ends with its last container.
    forsaken: bool,
}

impl Members {
    /// Removes the containers that containerd has forgotten.
    fn forget(&mut self) {
        self.by_id.retain(|_, member| member.container().is_none_or(|container| !container.is_forgotten()));
    }
}

pub(crate) struct Pod {
    /// Never locked across an await: a creation holds a [`Reservation`] instead.
    members: Mutex<Members>,
    publisher: Publisher,
    /// The slice of the containers that are systemd scopes: in Kubernetes all lie in one. Never held across an await.
    slice: Mutex<Weak<Slice>>,
    /// Notified once, when the pod was closed and is empty.
    ended: Arc<Notify>,
    memory: Memory,
}

/// Keeps an id for a running creation. Dropping this frees the id, however the creation ended.
struct Reservation<'a> {
    pod: &'a Pod,
    id: String,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut members = self.pod.members();
        if matches!(members.by_id.get(&self.id), Some(Member::Creating { .. })) {
            members.by_id.remove(&self.id);
        }
        self.pod.end_if_over(&members);
    }
}

impl Pod {
    pub(crate) fn new(publisher: Publisher, ended: Arc<Notify>) -> Self {
        Self { members: Mutex::default(), publisher, slice: Mutex::default(), ended, memory: Memory::default() }
    }

    /// Gives the memory that a call took back to the kernel, once the pod is quiet.
    pub(crate) fn settle(&self) {
        self.memory.settle();
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_if_over(&self, members: &Members) {
        if members.closing && members.by_id.is_empty() {
            self.ended.notify_one();
        }
    }

    /// Closes the pod, if it has no container. Nobody wants creations that still go on, because containerd does not call Shutdown while it
    /// waits for a Create.
    pub(crate) fn close(&self) -> bool {
        let mut members = self.members();
        members.forget();
        let taken = || members.by_id.values().filter_map(Member::container);
        if taken().next().is_some() {
            members.forsaken = !taken().any(|container| container.keeps_pod());
            return false;
        }
        members.closing = true;
        members.by_id.values_mut().for_each(Member::give_up);
        true
    }

    /// Whether the pod has neither containers nor creations.
    pub(crate) fn is_empty(&self) -> bool {
        self.members().by_id.is_empty()
    }

    /// Closes the pod, if Shutdown was refused earlier and the last container has gone since.
    pub(crate) fn close_forsaken(&self) -> bool {
        let mut members = self.members();
        members.forget();
        let over = members.forsaken && members.by_id.is_empty() && !members.closing;
        members.closing |= over;
        over
    }

    /// Lets a closed pod end: at once, or with its last unwanted creation.
    pub(crate) fn end(&self) {
        self.end_if_over(&self.members());
    }

    /// Returns the container, or NotFound while it is being created and after its deletion.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>> {
        match self.members().by_id.get(id) {
            Some(Member::Created(container)) => Ok(container.clone()),
            Some(Member::Creating { .. }) | None => Err(Error::NotFound(format!("container {id}"))),
        }
    }

    fn reserve(&self, request: &Request) -> Result<Reservation<'_>> {
        let id = &request.id;
        let mut members = self.members();
        members.forget();
        if members.closing {
            return Err(Error::Closing);
        }
        if members.by_id.contains_key(id) {
            return Err(Error::Exists(format!("container {id}")));
        }
        let given_up = request.given_up.clone();
        members.by_id.insert(id.clone(), Member::Creating { unwanted: false, given_up });
        Ok(Reservation { pod: self, id: id.clone() })
    }

    /// Creates a container and begins to watch it. Events: create, and later exit.
    pub(crate) async fn create(&self, request: Request) -> Result<Arc<Container>> {
        let reservation = self.reserve(&request)?;
        let rootfs = request.rootfs.clone();
        let container = Arc::new(Container::create(request).await?);
        if !self.take(&reservation.id, &container) {
            info!("container {} was given up while it was created", container.id());
            container.discard().await;
            return Err(Error::NotFound(format!("container {}", container.id())));
        }
        drop(reservation);
        self.publisher.publish(&TaskCreate {
            container_id: container.id().to_owned(),
            bundle: container.bundle().to_string_lossy().into_owned(),
            rootfs,
            io: Some(TaskIO {
                stdin: container.process.stdio.stdin.clone(),
                stdout: container.process.stdio.stdout.clone(),
                stderr: container.process.stdio.stderr.clone(),
                ..Default::default()
            })
            .into(),
            pid: container.process.pid(),
            ..Default::default()
        });
        // Watched after the create event, so that neither an exit nor a kill is reported before it.
        let (publisher, watched) = (self.publisher.clone(), container.clone());
        let oom =
            OomWatcher { container: watched.clone(), publisher: publisher.clone(), slice: self.slice_of(&watched) };
        let publishing = container.watch_kills().map(|watch| tokio::spawn(oom.clone().publish_all(watch)));
        tokio::spawn(async move {
            let exit = watched.ended().await;
            if let Some(publishing) = publishing {
                publishing.abort();
            }
            oom.publish_last(&exit).await;
            watched.make_known(&exit).await;
            publisher.publish(&TaskExit {
                container_id: watched.id().to_owned(),
                id: watched.id().to_owned(),
                pid: watched.process.pid(),
                exit_status: exit.code,
                exited_at: Some(exit.at).into(),
                ..Default::default()
            });
            watched.reap().await;
        });
        Ok(container)
    }

    /// Returns the slice that a container's scope lies in, which the pod's containers share.
    fn slice_of(&self, container: &Container) -> Option<Arc<Slice>> {
        let folder = container.slice()?;
        let mut known = self.slice.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slice) = known.upgrade().filter(|slice| slice.is(folder)) {
            return Some(slice);
        }
        let new = Slice::new(folder).unwrap_or_else(|e| {
            warn!("container {}: {e}", container.id());
            None
        });
        let new = new.map(Arc::new)?;
        *known = Arc::downgrade(&new);
        Some(new)
    }

    /// Makes a created container a member. Returns false if nobody wants it any more.
    fn take(&self, id: &str, container: &Arc<Container>) -> bool {
        let mut members = self.members();
        if members.closing || !matches!(members.by_id.get(id), Some(Member::Creating { unwanted: false, .. })) {
            return false;
        }
        members.by_id.insert(id.to_owned(), Member::Created(container.clone()));
        true
    }

    /// Starts a container. Its start event precedes its exit event: the task for the exit waits for the turn, or until this thread is free.
    pub(crate) async fn start(&self, id: &str) -> Result<Arc<Container>> {
        let container = self.container(id)?;
        let turn = container.turn_to_start().await?;
        container.start().await?;
        self.publisher.publish(&TaskStart {
            container_id: container.id().to_owned(),
            pid: container.process.pid(),
            ..Default::default()
        });
        container.after_start(turn).await?;
        Ok(container)
    }

    /// Adds a process to a container.
    pub(crate) fn exec(&self, id: &str, request: ExecRequest) -> Result<()> {
        let exec_id = request.id.clone();
        self.container(id)?.add_exec(request)?;
        self.publisher.publish(&TaskExecAdded { container_id: id.to_owned(), exec_id, ..Default::default() });
        Ok(())
    }

    /// Starts an exec. Events: its start, and later its exit, which precedes the container's exit.
    pub(crate) async fn start_exec(&self, id: &str, exec_id: &str) -> Result<Arc<Exec>> {
        let container = self.container(id)?;
        let exec = container.exec(exec_id)?;
        let turn = exec.turn_to_start().await;
        container.start_exec(&exec).await?;
        drop(turn);
        self.publisher.publish(&TaskExecStarted {
            container_id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            pid: exec.process.pid(),
            ..Default::default()
        });
        let (publisher, watched) = (self.publisher.clone(), exec.clone());
        tokio::spawn(async move {
            let exit = watched.ended().await;
            publisher.publish(&TaskExit {
                container_id: container.id().to_owned(),
                id: watched.id.clone(),
                pid: watched.process.pid(),
                exit_status: exit.code,
                exited_at: Some(exit.at.clone()).into(),
                ..Default::default()
            });
            watched.make_known(exit);
        });
        Ok(exec)
    }

    /// Deletes a container that has stopped or was never started. A container that is being created is NotFound, and is discarded once it
    /// is made.
    pub(crate) async fn delete(&self, id: &str) -> Result<(Arc<Container>, Exit)> {
        if let Some(member) = self.members().by_id.get_mut(id) {
            member.give_up();
        }
        let container = self.container(id)?;
        let exit = container.delete().await?;
        if !self.vacate(&container) {
            // Another call has deleted the container meanwhile, and reports the deletion.
            return Err(Error::NotFound(format!("container {id}")));
        }
        self.publisher.publish(&TaskDelete {
            container_id: container.id().to_owned(),
            pid: container.process.pid(),
            exit_status: exit.code,
            exited_at: Some(exit.at.clone()).into(),
            ..Default::default()
        });
        Ok((container, exit))
    }

    /// Removes this very container, not a later one with its id. Returns false if it is not a member.
    fn vacate(&self, container: &Arc<Container>) -> bool {
        let mut members = self.members();
        let own =
            matches!(members.by_id.get(container.id()), Some(Member::Created(taken)) if Arc::ptr_eq(taken, container));
        if own {
            members.by_id.remove(container.id());
        }
        own
    }
}
