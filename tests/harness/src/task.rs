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

use crate::container::{Container, Output};
use crate::deadline::{self, PATIENCE};
use crate::exec::ExecOrder;
use crate::grpc::{Code, Status};
use crate::node::Node;
use crate::pipes::{Capture, Paths, Stdin};
use crate::wire::{Message, fields};

/// A task's state, as containerd reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "containerd's own words")]
pub enum State {
    Unknown,
    Created,
    Running,
    Stopped,
    Paused,
    Pausing,
}

impl State {
    /// The state by its number in the API.
    pub(crate) fn from_number(number: u64) -> Self {
        match number {
            1 => State::Created,
            2 => State::Running,
            3 => State::Stopped,
            4 => State::Paused,
            5 => State::Pausing,
            _ => State::Unknown,
        }
    }
}

/// A task's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The code; 128 plus the signal's number if a signal ended it.
    pub code: u32,
    /// The time, in nanoseconds since 1970; 0 if it was not reported.
    pub at: u128,
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
}

impl<'n> Task<'n> {
    /// Creates a task on the container's own snapshot.
    pub(crate) fn create(container: &Container<'n>) -> Result<Self, Status> {
        Self::create_on(container, |task| {
            let asked = Message::new().bytes(1, "overlayfs").bytes(2, &task.id).done();
            task.node.address().call("containerd.services.snapshots.v1.Snapshots/Mounts", asked, PATIENCE)
        })
    }

    /// Creates a task on the mounts that `mounts` returns: containerd's `MountsResponse`.
    pub(crate) fn create_on(
        container: &Container<'n>,
        mounts: impl FnOnce(&Self) -> Result<Vec<u8>, Status>,
    ) -> Result<Self, Status> {
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
        };
        match mounts(&task).and_then(|mounts| task.request_create(&mounts, container)) {
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

    fn request_create(&self, mounts: &[u8], container: &Container<'_>) -> Result<u32, Status> {
        let mut request = Message::new().bytes(1, &self.id);
        for mount in fields(mounts).all(1) {
            request = request.bytes(3, mount);
        }
        let place = |index: usize, name: &str| {
            self.streams[index].clone().unwrap_or_else(|| self.paths.of(name).display().to_string())
        };
        if self.stdin.lock().unwrap().is_some() || self.streams[0].is_some() {
            request = request.bytes(4, place(0, "stdin"));
        }
        let request = request.bytes(5, place(1, "stdout"));
        let request = match container.terminal {
            true => request.number(7, 1),
            false => request.bytes(6, place(2, "stderr")),
        };
        let answer = self.call_within("Create", request, container.limit)?;
        Ok(fields(&answer).number(2) as u32)
    }

    pub(crate) fn call(&self, method: &str, request: Message) -> Result<Vec<u8>, Status> {
        self.call_within(method, request, PATIENCE)
    }

    pub(crate) fn call_within(&self, method: &str, request: Message, limit: Duration) -> Result<Vec<u8>, Status> {
        self.node.address().call(&format!("containerd.services.tasks.v1.Tasks/{method}"), request.done(), limit)
    }

    fn named(&self) -> Message {
        Message::new().bytes(1, &self.id)
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

    /// Starts it, and writes the stdin of the order.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_start(&self) -> Result<u32, Status> {
        let answer = self.call("Start", self.named())?;
        if let Some(text) = &self.text {
            self.write(text);
        }
        if !self.hold_stdin && self.stdin.lock().unwrap().is_some() {
            self.close_stdin();
        }
        Ok(fields(&answer).number(1) as u32)
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
        self.call("CloseIO", self.named().number(3, 1)).map(drop)
    }

    /// Changes the size of its terminal's window.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_resize(&self, width: u32, height: u32) -> Result<(), Status> {
        self.call("ResizePty", self.named().number(3, width.into()).number(4, height.into())).map(drop)
    }

    /// Sends a signal by its number, to all of its processes if `all`.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_kill(&self, signal: u32, all: bool) -> Result<(), Status> {
        let request = self.named().number(3, signal.into()).number(4, all.into());
        self.call("Kill", request).map(drop)
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
        let answer = self.call_within("Wait", self.named(), limit)?;
        let answer = fields(&answer);
        Ok(Exit { code: answer.number(1) as u32, at: instant(answer.bytes(2)) })
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
        let answer = self.call("Get", self.named())?;
        Ok(State::from_number(fields(fields(&answer).bytes(1)).number(4)))
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
        let answer = self.call("ListPids", self.named())?;
        Ok(fields(&answer).all(1).map(|process| fields(process).number(1) as u32).collect())
    }

    /// Freezes it.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_pause(&self) -> Result<(), Status> {
        self.call("Pause", self.named()).map(drop)
    }

    /// Resumes it.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_resume(&self) -> Result<(), Status> {
        self.call("Resume", self.named()).map(drop)
    }

    /// Returns its metrics: the type's URL and the encoded message.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_metrics(&self) -> Result<(String, Vec<u8>), Status> {
        let asked = Message::new().bytes(1, format!("id=={}", self.id));
        let answer = self.call("Metrics", asked)?;
        let data = fields(fields(&answer).bytes(1)).bytes(3);
        Ok((String::from_utf8_lossy(fields(data).bytes(1)).into_owned(), fields(data).bytes(2).to_vec()))
    }

    /// Changes its limits: the OCI `linux.resources` as JSON, such as `{"memory":{"limit":67108864}}`.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_update(&self, resources: &str) -> Result<(), Status> {
        let any = Message::new()
            .bytes(1, "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources")
            .bytes(2, resources);
        self.call("Update", self.named().bytes(2, any.done())).map(drop)
    }

    /// Begins the order for a further process of it.
    pub fn further(&self, exec_id: &str) -> ExecOrder<'_, 'n> {
        let asked = Message::new().bytes(1, &self.id).done();
        let answer = self.node.address().call("containerd.services.containers.v1.Containers/Get", asked, PATIENCE);
        let answer = self.must("ask for the record of", answer);
        let any = fields(fields(&answer).bytes(1)).bytes(5);
        let spec: serde_json::Value = serde_json::from_slice(fields(any).bytes(2)).expect("the spec is no JSON");
        ExecOrder::new(self, exec_id, spec["process"].clone())
    }

    /// Returns the pids of its processes, each with its exec's id; empty for the container's own process.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_processes(&self) -> Result<Vec<(u32, String)>, Status> {
        let answer = self.call("ListPids", self.named())?;
        let exec = |process: &[u8]| {
            String::from_utf8_lossy(fields(fields(fields(process).bytes(2)).bytes(2)).bytes(1)).into_owned()
        };
        Ok(fields(&answer).all(1).map(|process| (fields(process).number(1) as u32, exec(process))).collect())
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
        let answer = self.call("Delete", self.named())?;
        let answer = fields(&answer);
        Ok(Exit { code: answer.number(3) as u32, at: instant(answer.bytes(4)) })
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

/// A protobuf timestamp in nanoseconds. A time before 1970 means "never".
pub(crate) fn instant(bytes: &[u8]) -> u128 {
    let time = fields(bytes);
    let seconds = time.number(1).cast_signed();
    u128::try_from(seconds).map_or(0, |seconds| seconds * 1_000_000_000 + u128::from(time.number(2)))
}
