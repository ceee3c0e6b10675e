//! A container's task, driven call by call.
//!
//! ```text
//! Container::create --> created --start--> running --(exit)--> stopped --delete--> gone
//!                          |                 |  ^
//!                          |                 pause, resume
//!                          `------------- delete (never started) --------------------^
//! ```
//!
//! These are containerd's own calls, `containerd.services.tasks.v1`, so a refusal keeps its code.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use prost::Message;

use crate::api::containers::{GetContainerRequest, GetContainerResponse};
use crate::api::known::{Any, Timestamp};
use crate::api::processes::{
    CloseIORequest, ListPidsRequest, ListPidsResponse, MetricsRequest, MetricsResponse, ProcessDetails, ProcessInfo,
    ResizePtyRequest, UpdateTaskRequest,
};
use crate::api::snapshots::{Mount, MountsRequest, MountsResponse};
use crate::api::tasks::{
    CreateTaskRequest, CreateTaskResponse, DeleteResponse, DeleteTaskRequest, GetRequest, GetResponse, KillRequest,
    PauseTaskRequest, ResumeTaskRequest, StartRequest, StartResponse, Status as State, WaitRequest, WaitResponse,
};
use crate::container::{Container, Output};
use crate::deadline::{self, PATIENCE};
use crate::exec::ExecOrder;
use crate::grpc::{Address, Code, Status};
use crate::node::Node;
use crate::pipes::{Capture, Paths, Stdin};

/// A task's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The code; 128 plus the signal's number if a signal ended it.
    pub code: u32,
    /// The time, in nanoseconds since 1970; 0 if it was not reported.
    pub at: u128,
}

impl Exit {
    /// A time before 1970 means "never".
    pub(crate) fn new(code: u32, at: Option<Timestamp>) -> Self {
        let Timestamp { seconds, nanos } = at.unwrap_or_default();
        let nanoseconds = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self { code, at: u128::try_from(nanoseconds).unwrap_or(0) }
    }
}

/// A task that was created.
pub struct Task<'n> {
    pub(crate) node: &'n Node,
    id: String,
    pid: u32,
    begin: Instant,
    paths: Paths,
    stdout: Capture,
    stderr: Capture,
    stdin: Mutex<Option<Stdin>>,
    streams: [Option<String>; 3],
    text: Option<String>,
    hold_stdin: bool,
    limit: Duration,
}

impl<'n> Task<'n> {
    /// Creates a task on the container's own snapshot.
    pub(crate) fn create(container: &Container<'n>) -> Result<Self, Status> {
        Self::create_on(container, &container.node.address())
    }

    /// Creates a task on the container's snapshot at this address.
    pub(crate) fn create_on(container: &Container<'n>, snapshots: &Address) -> Result<Self, Status> {
        let Container { node, id, .. } = container;
        let paths = Paths::make(node.dir().join("fifo").join(id));
        let streams = container.streams.clone();
        let capture = |stream: &Option<String>, name| match stream {
            Some(_) => Capture::nothing(),
            None => Capture::fifo(&paths.of(name)),
        };
        let stdout = capture(&streams[1], "stdout");
        // A terminal has no stderr.
        let stderr = if container.terminal { Capture::nothing() } else { capture(&streams[2], "stderr") };
        let wanted = container.stdin.is_some() || container.hold_stdin;
        let stdin = wanted.then(|| Stdin::fifo(&paths.of("stdin")));
        let mut task = Self {
            node,
            id: id.clone(),
            pid: 0,
            begin: Instant::now(),
            paths,
            stdout,
            stderr,
            stdin: Mutex::new(stdin),
            streams,
            text: container.stdin.clone(),
            hold_stdin: container.hold_stdin,
            limit: container.limit,
        };
        let asked = MountsRequest { snapshotter: "overlayfs".to_owned(), key: id.clone() };
        let mounts = snapshots.call("containerd.services.snapshots.v1.Snapshots/Mounts", &asked, PATIENCE);
        match mounts.and_then(|found: MountsResponse| task.request_create(found.mounts, container)) {
            Ok(pid) => {
                task.pid = pid;
                Ok(task)
            }
            Err(status) => {
                if !container.kept {
                    task.remove_container();
                }
                Err(status)
            }
        }
    }

    fn request_create(&self, rootfs: Vec<Mount>, container: &Container<'_>) -> Result<u32, Status> {
        let place = |index: usize, name: &str, wanted: bool| match &self.streams[index] {
            Some(place) => place.clone(),
            None if wanted => self.paths.of(name).display().to_string(),
            None => String::new(),
        };
        let request = CreateTaskRequest {
            container_id: self.id.clone(),
            rootfs,
            stdin: place(0, "stdin", self.stdin.lock().unwrap().is_some()),
            stdout: place(1, "stdout", true),
            stderr: if container.terminal { String::new() } else { place(2, "stderr", true) },
            terminal: container.terminal,
        };
        let created: CreateTaskResponse = self.call_within("Create", &request, container.limit)?;
        Ok(created.pid)
    }

    pub(crate) fn call<A: Message + Default>(&self, method: &str, request: &impl Message) -> Result<A, Status> {
        self.call_within(method, request, PATIENCE)
    }

    pub(crate) fn call_within<A: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
        limit: Duration,
    ) -> Result<A, Status> {
        self.node.address().call(&format!("containerd.services.tasks.v1.Tasks/{method}"), request, limit)
    }

    fn must<T>(&self, what: &str, result: Result<T, Status>) -> T {
        result.unwrap_or_else(|status| panic!("cannot {what} {}: {status}{}", self.id, self.heard()))
    }

    fn heard(&self) -> String {
        format!("\n--- stdout\n{}\n--- stderr\n{}", self.stdout.text(), self.stderr.text())
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The pid in Create's answer.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Starts it, and writes the text of [`Container::stdin`].
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_start(&self) -> Result<u32, Status> {
        let request = StartRequest { container_id: self.id.clone(), ..StartRequest::default() };
        let started: StartResponse = self.call_within("Start", &request, self.limit)?;
        if let Some(text) = &self.text {
            self.write(text);
        }
        if !self.hold_stdin && self.stdin.lock().unwrap().is_some() {
            self.close_stdin();
        }
        Ok(started.pid)
    }

    /// As [`Task::try_start`].
    ///
    /// # Panics
    /// When it is refused.
    pub fn start(&self) {
        self.must("start", self.try_start());
    }

    /// Writes to its stdin, which [`Container::hold_stdin`] ordered.
    pub fn write(&self, text: &str) {
        self.stdin.lock().unwrap().as_mut().expect("no stdin was ordered").write(text.as_bytes());
    }

    /// Ends its stdin.
    pub fn close_stdin(&self) {
        self.end_stdin();
        match self.try_close_io() {
            // It may have ended by itself.
            Ok(()) | Err(Status { code: Code::NotFound, .. }) => {}
            Err(status) => panic!("cannot close stdin of {}: {status}{}", self.id, self.heard()),
        }
    }

    /// Closes the test's own end of its stdin without telling the shim, like a client that went away.
    pub fn end_stdin(&self) {
        self.stdin.lock().unwrap().as_mut().expect("no stdin was ordered").close();
    }

    /// Calls CloseIO for its stdin.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_close_io(&self) -> Result<(), Status> {
        let container_id = self.id.clone();
        self.call("CloseIO", &CloseIORequest { container_id, stdin: true, ..CloseIORequest::default() })
    }

    /// Changes the size of its terminal's window.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_resize(&self, width: u32, height: u32) -> Result<(), Status> {
        let container_id = self.id.clone();
        self.call("ResizePty", &ResizePtyRequest { container_id, width, height, ..ResizePtyRequest::default() })
    }

    /// Sends a signal by its number, to all of its processes if `all`.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_kill(&self, signal: u32, all: bool) -> Result<(), Status> {
        let container_id = self.id.clone();
        self.call("Kill", &KillRequest { container_id, signal, all, ..KillRequest::default() })
    }

    /// Sends a signal by its name: `TERM`, `KILL`, `INT`, `HUP`, `QUIT`, `USR1`, `USR2`, `WINCH`, `CONT`, `STOP`.
    ///
    /// # Panics
    /// When it is refused.
    pub fn kill(&self, signal: &str) {
        let number = match signal {
            "HUP" => 1,
            "INT" => 2,
            "QUIT" => 3,
            "KILL" => 9,
            "USR1" => 10,
            "USR2" => 12,
            "TERM" => 15,
            "CONT" => 18,
            "STOP" => 19,
            "WINCH" => 28,
            other => panic!("no signal {other}"),
        };
        self.must("kill", self.try_kill(number, false));
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// The shim's refusal; `DeadlineExceeded` when it does not end within the limit.
    pub fn try_wait(&self, limit: Duration) -> Result<Exit, Status> {
        let request = WaitRequest { container_id: self.id.clone(), ..WaitRequest::default() };
        let ended: WaitResponse = self.call_within("Wait", &request, limit)?;
        Ok(Exit::new(ended.exit_status, ended.exited_at))
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not within the limit, with its output so far.
    pub fn wait(&self, limit: Duration) -> Exit {
        self.must("wait for", self.try_wait(limit))
    }

    /// Returns its state.
    ///
    /// # Errors
    /// `NotFound` when it is gone.
    pub fn try_state(&self) -> Result<State, Status> {
        let request = GetRequest { container_id: self.id.clone(), ..GetRequest::default() };
        let found: GetResponse = self.call("Get", &request)?;
        Ok(found.process.unwrap_or_default().status())
    }

    /// As [`Task::try_state`].
    ///
    /// # Panics
    /// When it is gone.
    pub fn state(&self) -> State {
        self.must("ask for the state of", self.try_state())
    }

    /// The pids of its processes.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_pids(&self) -> Result<Vec<u32>, Status> {
        Ok(self.list_pids()?.into_iter().map(|process| process.pid).collect())
    }

    /// Freezes it.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_pause(&self) -> Result<(), Status> {
        self.call("Pause", &PauseTaskRequest { container_id: self.id.clone() })
    }

    /// Resumes it.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_resume(&self) -> Result<(), Status> {
        self.call("Resume", &ResumeTaskRequest { container_id: self.id.clone() })
    }

    /// Returns its metrics: the type's URL and the encoded message.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_metrics(&self) -> Result<(String, Vec<u8>), Status> {
        let request = MetricsRequest { filters: vec![format!("id=={}", self.id)] };
        let answer: MetricsResponse = self.call("Metrics", &request)?;
        let data = answer.metrics.into_iter().find_map(|metric| metric.data).unwrap_or_default();
        Ok((data.type_url, data.value))
    }

    /// Changes its limits: the OCI `linux.resources` as JSON, such as `{"memory":{"limit":67108864}}`.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_update(&self, resources: &str) -> Result<(), Status> {
        let resources = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".to_owned(),
            value: resources.as_bytes().to_vec(),
        };
        self.call("Update", &UpdateTaskRequest { container_id: self.id.clone(), resources: Some(resources) })
    }

    /// Begins the order for a further process of it.
    pub fn further(&self, exec_id: &str) -> ExecOrder<'_, 'n> {
        let asked = GetContainerRequest { id: self.id.clone() };
        let answer = self.node.address().call("containerd.services.containers.v1.Containers/Get", &asked, PATIENCE);
        let answer: GetContainerResponse = self.must("ask for the record of", answer);
        let any = answer.container.and_then(|record| record.spec).expect("a record without a spec");
        let spec: serde_json::Value = serde_json::from_slice(&any.value).expect("the spec is no JSON");
        ExecOrder::new(self, exec_id, spec["process"].clone())
    }

    /// Returns the pids of its processes, each with its exec's id; empty for the container's own process.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_processes(&self) -> Result<Vec<(u32, String)>, Status> {
        let exec = |process: &ProcessInfo| {
            let details = process.info.as_ref().map(|info| ProcessDetails::decode(&*info.value));
            details.map_or_else(String::new, |details| details.expect("the details of a process").exec_id)
        };
        Ok(self.list_pids()?.iter().map(|process| (process.pid, exec(process))).collect())
    }

    fn list_pids(&self) -> Result<Vec<ProcessInfo>, Status> {
        let listed: ListPidsResponse = self.call("ListPids", &ListPidsRequest { container_id: self.id.clone() })?;
        Ok(listed.processes)
    }

    /// Runs a further program in it, to its end, by `ctr tasks exec`.
    pub fn exec<S: AsRef<str>>(&self, exec_id: &str, args: impl IntoIterator<Item = S>) -> Output {
        let fifo = self.node.dir().join("fifo").display().to_string();
        let head = ["tasks", "exec", "--fifo-dir", &fifo, "--exec-id", exec_id, &self.id].map(str::to_owned);
        self.node.ctr(head.into_iter().chain(args.into_iter().map(|arg| arg.as_ref().to_owned())))
    }

    /// Returns its stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Returns its stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until its stdout holds the text.
    ///
    /// # Panics
    /// When it does not within 30 s.
    pub fn expect_stdout(&self, text: &str) {
        let seen = deadline::poll(PATIENCE, || self.stdout.text().contains(text).then_some(()));
        assert!(seen.is_some(), "{} did not print {text:?}{}", self.id, self.heard());
    }

    /// Deletes the task alone: the shim ends, the container's record stays.
    ///
    /// # Errors
    /// The shim's refusal, such as `FailedPrecondition` while it runs.
    pub fn try_delete(&self) -> Result<Exit, Status> {
        let deleted: DeleteResponse = self.call("Delete", &DeleteTaskRequest { container_id: self.id.clone() })?;
        Ok(Exit::new(deleted.exit_status, deleted.exited_at))
    }

    /// Removes the container's record and snapshot; its task must be gone.
    pub fn remove_container(&self) {
        self.node.ctr_ok(["containers", "rm", &self.id]);
    }

    /// Deletes the task and the container, and returns the output.
    ///
    /// # Panics
    /// When that is refused, or when its output does not end.
    pub fn delete(self) -> Output {
        let exit = self.must("delete", self.try_delete());
        let duration = self.begin.elapsed();
        self.remove_container();
        if exit.at != 0 {
            for (name, capture) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
                assert!(
                    capture.ended_within(PATIENCE),
                    "{} was deleted, its {name} is still open{}",
                    self.id,
                    self.heard()
                );
            }
        }
        Output { code: exit.code.cast_signed(), stdout: self.stdout(), stderr: self.stderr(), duration }
    }

    /// Kills it if it still runs, waits, and deletes it.
    ///
    /// # Panics
    /// When one of these is refused.
    pub fn discard(self) -> Output {
        match self.try_kill(9, true) {
            Ok(()) => drop(self.wait(PATIENCE)),
            Err(Status { code: Code::NotFound | Code::FailedPrecondition, .. }) => {}
            Err(status) => panic!("cannot kill {}: {status}", self.id),
        }
        self.delete()
    }
}
