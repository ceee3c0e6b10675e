//! The task service (containerd's api/runtime/task/v3): each call checked, handed to the pod, and answered.
//!
//! Checkpoint, which this shim does not implement, answers Unimplemented. The generated default would answer NotFound, by which containerd
//! understands that the task is gone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use catamaran_cache::counters::{self, Count};
use catamaran_cache::places;
use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse,
    DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest, PauseRequest, PidsRequest, PidsResponse,
    ProcessInfo, ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest, StartResponse, StateRequest,
    StateResponse, StatsRequest, StatsResponse, Status, UpdateTaskRequest, WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim_async::Task;
use containerd_shim_protos::ttrpc::r#async::TtrpcContext;
use containerd_shim_protos::ttrpc::{self, Result as Answer};
use log::{info, warn};

use crate::cleanup::state::Folder;
use crate::container::{Container, Exec, ExecRequest, Phase, Process, Request};
use crate::error::{Error, Result};
use crate::pod::Pod;
use crate::pod::events::Publisher;
use crate::rpc::status;
use crate::stdio;

/// How long the last events may delay the answer to Shutdown, for which containerd waits three seconds.
const LAST_EVENTS: Duration = Duration::from_secs(2);

pub(crate) struct TaskService {
    pub(crate) pod: Arc<Pod>,
    pub(crate) namespace: String,
    pub(crate) publisher: Publisher,
    /// Where this server listens.
    pub(crate) socket: PathBuf,
    /// The folder for the server's records, for a later cleanup.
    pub(crate) state: Folder,
    /// containerd's gRPC socket.
    pub(crate) address: String,
}

/// The process that a request is about: a container's own, or an exec.
enum Subject {
    Own(Arc<Container>),
    Exec(Arc<Container>, Arc<Exec>),
}

impl Subject {
    fn container(&self) -> &Container {
        match self {
            Subject::Own(container) | Subject::Exec(container, _) => container,
        }
    }

    fn phase(&self) -> Phase {
        match self {
            Subject::Own(container) => container.phase(),
            Subject::Exec(_, exec) => exec.process.phase(),
        }
    }

    fn process(&self) -> &Process {
        match self {
            Subject::Own(container) => &container.process,
            Subject::Exec(_, exec) => &exec.process,
        }
    }
}

/// Returns the exec's id in the form of the answer to Pids (containerd's api/runc/options): field 1, a text.
fn details(exec_id: &str) -> Any {
    let mut details = containerd_shim_protos::protobuf::UnknownFields::new();
    details.add_length_delimited(1, exec_id.as_bytes().to_vec());
    let mut value = Vec::new();
    {
        let mut out = containerd_shim_protos::protobuf::CodedOutputStream::vec(&mut value);
        // Writing into memory cannot fail.
        let _ = out.write_unknown_fields(&details).and_then(|()| out.flush());
    }
    Any { type_url: "containerd.runc.v1.ProcessDetails".to_owned(), value, ..Default::default() }
}

fn creation(req: CreateTaskRequest, service: &TaskService) -> Result<Request> {
    if !req.checkpoint.is_empty() || !req.parent_checkpoint.is_empty() {
        // Not Unimplemented: containerd takes that answer to Create for an older shim's, and asks again.
        return Err(Error::refused("the request", "a checkpoint", "none: this shim does not restore checkpoints"));
    }
    Ok(Request {
        id: req.id,
        namespace: service.namespace.clone(),
        bundle: PathBuf::from(req.bundle),
        rootfs: req.rootfs,
        stdio: stdio::Paths { stdin: req.stdin, stdout: req.stdout, stderr: req.stderr, terminal: req.terminal },
        state: service.state.clone(),
        address: service.address.clone(),
        options: req.options.into_option().unwrap_or_default(),
        given_up: Arc::default(),
    })
}

impl TaskService {
    fn subject(&self, id: &str, exec_id: &str) -> Result<Subject> {
        let container = self.pod.container(id)?;
        if exec_id.is_empty() {
            return Ok(Subject::Own(container));
        }
        let exec = container.exec(exec_id)?;
        Ok(Subject::Exec(container, exec))
    }

    /// Ends a closed pod, before the call that closed it is answered: after the answer containerd may start the next shim of this id. That
    /// shim binds the same socket, must find no state of this pod, and must send its events after ours. The state is set aside here, and
    /// the server removes it once it has ended.
    async fn leave(&self) {
        info!("shutting down");
        self.publisher.flush(LAST_EVENTS).await;
        if let Err(e) = std::fs::remove_file(&self.socket) {
            warn!("{}: {e}", self.socket.display());
        }
        // A creation that still goes on needs the state until it ends.
        if self.pod.is_empty()
            && let Err(e) = self.state.set_aside()
        {
            warn!("{e}");
        }
        self.pod.end();
    }
}

#[async_trait]
impl Task for TaskService {
    async fn create(&self, _ctx: &TtrpcContext, req: CreateTaskRequest) -> Answer<CreateTaskResponse> {
        let request = creation(req, self)?;
        let pod = self.pod.clone();
        // Runs in a task of its own, so that a client that gives up does not leave half a container.
        let created = tokio::spawn(async move { pod.create(request).await }).await;
        self.pod.settle();
        let created = created.map_err(|e| ttrpc::Error::Others(format!("the creation broke off: {e}")))?;
        if let Some(reason) = created.as_ref().err().and_then(status::reason) {
            counters::add(&places::root(), &[Count::Refused(reason)]);
        }
        if created.is_err() && self.pod.close_forsaken() {
            self.leave().await;
        }
        Ok(CreateTaskResponse { pid: created?.process.pid(), ..Default::default() })
    }

    async fn start(&self, _ctx: &TtrpcContext, req: StartRequest) -> Answer<StartResponse> {
        let pod = self.pod.clone();
        // A task of its own, as in Create: a start that has begun goes on if its client gives up.
        let started = tokio::spawn(async move {
            match req.exec_id.as_str() {
                "" => pod.start(&req.id).await.map(|container| container.process.pid()),
                exec_id => pod.start_exec(&req.id, exec_id).await.map(|exec| exec.process.pid()),
            }
        });
        let started = started.await;
        self.pod.settle();
        let pid = started.map_err(|e| ttrpc::Error::Others(format!("the start broke off: {e}")))??;
        Ok(StartResponse { pid, ..Default::default() })
    }

    async fn state(&self, _ctx: &TtrpcContext, req: StateRequest) -> Answer<StateResponse> {
        let subject = self.subject(&req.id, &req.exec_id)?;
        let (container, process) = (subject.container(), subject.process());
        let status = match subject.phase() {
            Phase::Created => Status::CREATED,
            Phase::Running => Status::RUNNING,
            Phase::Pausing => Status::PAUSING,
            Phase::Paused => Status::PAUSED,
            Phase::Stopped => Status::STOPPED,
        };
        let exit = process.exit();
        Ok(StateResponse {
            id: container.id().to_owned(),
            bundle: container.bundle().to_string_lossy().into_owned(),
            pid: process.pid(),
            status: status.into(),
            stdin: process.stdio.stdin.clone(),
            stdout: process.stdio.stdout.clone(),
            stderr: process.stdio.stderr.clone(),
            terminal: process.terminal(),
            exit_status: exit.as_ref().map_or(0, |exit| exit.code),
            exited_at: exit.map(|exit| exit.at).into(),
            exec_id: req.exec_id,
            ..Default::default()
        })
    }

    async fn wait(&self, _ctx: &TtrpcContext, req: WaitRequest) -> Answer<WaitResponse> {
        // Drop our reference before waiting: a process deleted before it was started ends only when its last reference goes.
        let ended = self.subject(&req.id, &req.exec_id)?.process().wait();
        let exit = ended.await?;
        Ok(WaitResponse { exit_status: exit.code, exited_at: Some(exit.at).into(), ..Default::default() })
    }

    /// `all` makes no difference to a Wasm container, which is one process.
    async fn kill(&self, _ctx: &TtrpcContext, req: KillRequest) -> Answer<Empty> {
        match self.subject(&req.id, &req.exec_id)? {
            Subject::Own(container) => container.signal(req.signal, req.all)?,
            Subject::Exec(container, exec) => container.kill_exec(&exec, req.signal)?,
        }
        Ok(Empty::default())
    }

    async fn delete(&self, _ctx: &TtrpcContext, req: DeleteRequest) -> Answer<DeleteResponse> {
        self.pod.settle();
        if !req.exec_id.is_empty() {
            let container = self.pod.container(&req.id)?;
            let exec = container.exec(&req.exec_id)?;
            let exit = container.delete_exec(&exec)?;
            exec.end_logger().await;
            return Ok(DeleteResponse {
                pid: exec.process.pid(),
                exit_status: exit.as_ref().map_or(0, |exit| exit.code),
                exited_at: exit.map(|exit| exit.at).into(),
                ..Default::default()
            });
        }
        let pod = self.pod.clone();
        let deleted = tokio::spawn(async move { pod.delete(&req.id).await }).await;
        let (container, exit) = deleted.map_err(|e| ttrpc::Error::Others(format!("the deletion broke off: {e}")))??;
        if self.pod.close_forsaken() {
            self.leave().await;
        }
        Ok(DeleteResponse {
            pid: container.process.pid(),
            exit_status: exit.code,
            exited_at: Some(exit.at).into(),
            ..Default::default()
        })
    }

    async fn pids(&self, _ctx: &TtrpcContext, req: PidsRequest) -> Answer<PidsResponse> {
        let container = self.pod.container(&req.id)?;
        let execs = container.running_execs();
        let info = |pid| execs.iter().find(|(_, of)| *of == pid).map(|(id, _)| details(id)).into();
        let processes = container.pids()?.into_iter();
        let processes = processes.map(|pid| ProcessInfo { pid, info: info(pid), ..Default::default() }).collect();
        Ok(PidsResponse { processes, ..Default::default() })
    }

    async fn close_io(&self, _ctx: &TtrpcContext, req: CloseIORequest) -> Answer<Empty> {
        let subject = self.subject(&req.id, &req.exec_id)?;
        if req.stdin {
            subject.process().close_stdin();
        }
        Ok(Empty::default())
    }

    async fn connect(&self, _ctx: &TtrpcContext, req: ConnectRequest) -> Answer<ConnectResponse> {
        // Connect is the first call of a restarted containerd.
        self.publisher.retry();
        // containerd also calls Connect before there is a container: that is no error.
        let task_pid = self.pod.container(&req.id).map_or(0, |container| container.process.pid());
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        })
    }

    async fn shutdown(&self, _ctx: &TtrpcContext, _req: ShutdownRequest) -> Answer<Empty> {
        if self.pod.close() {
            self.leave().await;
        }
        Ok(Empty::default())
    }

    async fn pause(&self, _ctx: &TtrpcContext, req: PauseRequest) -> Answer<Empty> {
        let pod = self.pod.clone();
        // A task of its own, as in Create: a client that gives up leaves nothing half frozen.
        let paused = tokio::spawn(async move { pod.pause(&req.id).await }).await;
        paused.map_err(|e| ttrpc::Error::Others(format!("the pause broke off: {e}")))??;
        Ok(Empty::default())
    }

    async fn resume(&self, _ctx: &TtrpcContext, req: ResumeRequest) -> Answer<Empty> {
        self.pod.resume(&req.id)?;
        Ok(Empty::default())
    }

    async fn checkpoint(&self, _ctx: &TtrpcContext, req: CheckpointTaskRequest) -> Answer<Empty> {
        // Answers NotFound if there is no such container.
        self.pod.container(&req.id)?;
        Err(Error::Uncheckpointed(req.id).into())
    }

    async fn exec(&self, _ctx: &TtrpcContext, req: ExecProcessRequest) -> Answer<Empty> {
        let stdio = stdio::Paths { stdin: req.stdin, stdout: req.stdout, stderr: req.stderr, terminal: req.terminal };
        let spec = req.spec.into_option().unwrap_or_default();
        self.pod.exec(&req.id, ExecRequest { id: req.exec_id, stdio, spec })?;
        Ok(Empty::default())
    }

    async fn resize_pty(&self, _ctx: &TtrpcContext, req: ResizePtyRequest) -> Answer<Empty> {
        self.subject(&req.id, &req.exec_id)?.process().resize(req.width, req.height)?;
        Ok(Empty::default())
    }

    async fn update(&self, _ctx: &TtrpcContext, req: UpdateTaskRequest) -> Answer<Empty> {
        let container = self.pod.container(&req.id)?;
        // A task of its own, as in Create: a half-written update is undone even if the client has given up.
        let updated = tokio::spawn(async move { container.update(req.resources.into_option()).await }).await;
        updated.map_err(|e| ttrpc::Error::Others(format!("the update broke off: {e}")))??;
        Ok(Empty::default())
    }

    async fn stats(&self, _ctx: &TtrpcContext, req: StatsRequest) -> Answer<StatsResponse> {
        let stats = self.pod.container(&req.id)?.stats()?;
        Ok(StatsResponse { stats: Some(stats).into(), ..Default::default() })
    }
}
