//! The calls of the task API as a shim gets them, and its answers.

use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, CreateTaskRequest, DeleteRequest, ExecProcessRequest,
    KillRequest, PauseRequest, PidsRequest, ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest,
    StateRequest, StatsRequest, UpdateTaskRequest, WaitRequest,
};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::ttrpc::{self, Code, context::Context};

use super::shim::{Case, Standing};

const TERM: u32 = 15;
const KILL: u32 = 9;

/// How long to wait for the answer to a Wait: if none comes by then, the container has not ended.
const WAIT: i64 = 150_000_000;
const PATIENCE: i64 = 20_000_000_000;

/// A call with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the API's own words")]
pub enum Call {
    Create,
    Start,
    Term,
    Kill,
    /// Signal 0, which only looks.
    Look,
    /// A signal that Linux does not have.
    Signal99,
    Wait,
    State,
    Pids,
    CloseIO,
    Delete,
    Connect,
    Stats,
    Update,
    Pause,
    Resume,
    Exec,
    ResizePty,
    Checkpoint,
    Shutdown,
}

impl Call {
    /// All calls.
    pub const ALL: [Self; 20] = [
        Self::Create,
        Self::Start,
        Self::Term,
        Self::Kill,
        Self::Look,
        Self::Signal99,
        Self::Wait,
        Self::State,
        Self::Pids,
        Self::CloseIO,
        Self::Delete,
        Self::Connect,
        Self::Stats,
        Self::Update,
        Self::Pause,
        Self::Resume,
        Self::Exec,
        Self::ResizePty,
        Self::Checkpoint,
        Self::Shutdown,
    ];

    /// The calls that change a container's state, and those whose answers such a change affects.
    pub const OF_LIFE: [Self; 10] = [
        Self::Create,
        Self::Start,
        Self::Term,
        Self::Kill,
        Self::Wait,
        Self::Pids,
        Self::Pause,
        Self::Resume,
        Self::Delete,
        Self::Shutdown,
    ];
}

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It succeeded.
    Done,
    /// It was refused with this code.
    Refused(Code),
    /// A Wait that goes on.
    Waits,
}

fn any(kind: &str, json: &str) -> Option<Any> {
    let type_url = format!("types.containerd.io/opencontainers/runtime-spec/1/{kind}");
    Some(Any { type_url, value: json.as_bytes().to_vec(), ..Default::default() })
}

/// A process for Exec, as in a spec.
const PROCESS: &str = r#"{"cwd":"/","args":["/sleep"],"user":{"uid":0,"gid":0}}"#;

impl Case<'_> {
    /// Sends one call and waits for its answer.
    ///
    /// # Panics
    /// When the shim does not answer as a shim does.
    pub fn call(&self, call: Call) -> Answer {
        match self.send(call) {
            Ok(()) => Answer::Done,
            Err(ttrpc::Error::RpcStatus(status)) => match status.code() {
                Code::DEADLINE_EXCEEDED if call == Call::Wait => Answer::Waits,
                code => Answer::Refused(code),
            },
            // The client's own clock ended the call, not the shim.
            Err(e) if call == Call::Wait && e.to_string().contains("timeout") => Answer::Waits,
            Err(e) => panic!("{call:?} in {:?}: {e}", self.id),
        }
    }

    /// The same as [`Case::call`], with the error itself.
    ///
    /// # Errors
    /// The shim's refusal, or the connection's error.
    pub fn send(&self, call: Call) -> ttrpc::Result<()> {
        let (task, id) = (&self.shim.task, self.id.clone());
        let ctx = self.patience(call);
        let signal = |signal| KillRequest { id: id.clone(), signal, ..Default::default() };
        match call {
            Call::Create => task.create(ctx, &self.order()).map(drop),
            Call::Start => task.start(ctx, &StartRequest { id, ..Default::default() }).map(drop),
            Call::Term => task.kill(ctx, &signal(TERM)).map(drop),
            Call::Kill => task.kill(ctx, &signal(KILL)).map(drop),
            Call::Look => task.kill(ctx, &signal(0)).map(drop),
            Call::Signal99 => task.kill(ctx, &signal(99)).map(drop),
            Call::Wait => task.wait(ctx, &WaitRequest { id, ..Default::default() }).map(drop),
            Call::State => task.state(ctx, &StateRequest { id, ..Default::default() }).map(drop),
            Call::Pids => task.pids(ctx, &PidsRequest { id, ..Default::default() }).map(drop),
            Call::CloseIO => task.close_io(ctx, &CloseIORequest { id, stdin: true, ..Default::default() }).map(drop),
            Call::Delete => task.delete(ctx, &DeleteRequest { id, ..Default::default() }).map(drop),
            Call::Connect => task.connect(ctx, &ConnectRequest { id, ..Default::default() }).map(drop),
            Call::Stats => task.stats(ctx, &StatsRequest { id, ..Default::default() }).map(drop),
            Call::Update => {
                let resources = any("LinuxResources", r#"{"cpu":{"shares":512}}"#).into();
                task.update(ctx, &UpdateTaskRequest { id, resources, ..Default::default() }).map(drop)
            }
            Call::Pause => task.pause(ctx, &PauseRequest { id, ..Default::default() }).map(drop),
            Call::Resume => task.resume(ctx, &ResumeRequest { id, ..Default::default() }).map(drop),
            Call::Exec => {
                let spec = any("Process", PROCESS).into();
                let request = ExecProcessRequest { id, exec_id: "further".to_owned(), spec, ..Default::default() };
                task.exec(ctx, &request).map(drop)
            }
            Call::ResizePty => {
                let request = ResizePtyRequest { id, width: 80, height: 24, ..Default::default() };
                task.resize_pty(ctx, &request).map(drop)
            }
            Call::Checkpoint => {
                let path = self.bundle.join("checkpoint").display().to_string();
                task.checkpoint(ctx, &CheckpointTaskRequest { id, path, ..Default::default() }).map(drop)
            }
            Call::Shutdown => task.shutdown(ctx, &ShutdownRequest { id, ..Default::default() }).map(drop),
        }
    }

    /// Only the Wait of a container that has not ended may last for ever. Every other call answers, however busy the machine is.
    fn patience(&self, call: Call) -> Context {
        let lasts = call == Call::Wait && !matches!(self.standing(), Standing::None | Standing::Stopped);
        ttrpc::context::with_timeout(if lasts { WAIT } else { PATIENCE })
    }

    fn order(&self) -> CreateTaskRequest {
        CreateTaskRequest {
            id: self.id.clone(),
            bundle: self.bundle.display().to_string(),
            // One pipe for both: runc's shim takes no container with only one of them.
            stdout: self.bundle.join("stdout").display().to_string(),
            stderr: self.bundle.join("stdout").display().to_string(),
            ..Default::default()
        }
    }
}
