//! A further process of a task, call by call: as `ctr tasks exec` and the CRI make it, with the calls in between.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::known::Any;
use crate::api::processes::{CloseIORequest, ExecProcessRequest, ResizePtyRequest};
use crate::api::tasks::{
    DeleteProcessRequest, DeleteResponse, GetRequest, GetResponse, KillRequest, StartRequest, StartResponse,
    Status as State, WaitRequest, WaitResponse,
};
use crate::container::Output;
use crate::deadline::{self, PATIENCE};
use crate::grpc::{Code, Status};
use crate::pipes::{Capture, Paths, Stdin};
use crate::task::{Exit, Task};

/// The order for a process: the container's own process with other arguments, as the CRI has it.
pub struct ExecOrder<'t, 'n> {
    task: &'t Task<'n>,
    id: String,
    process: Value,
    stdin: bool,
}

/// A process that was added to a task.
pub struct Exec<'t, 'n> {
    task: &'t Task<'n>,
    id: String,
    begin: Instant,
    stdout: Capture,
    stderr: Capture,
    stdin: Mutex<Option<Stdin>>,
}

impl<'t, 'n> ExecOrder<'t, 'n> {
    pub(crate) fn new(task: &'t Task<'n>, id: &str, process: Value) -> Self {
        Self { task, id: id.to_owned(), process, stdin: false }
    }

    /// Its arguments.
    #[must_use]
    pub fn args<S: AsRef<str>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.process["args"] = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect::<Vec<_>>().into();
        self
    }

    /// Changes the spec of the process.
    #[must_use]
    pub fn process(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.process);
        self
    }

    /// Gives it a terminal.
    #[must_use]
    pub fn terminal(self) -> Self {
        self.process(|process| process["terminal"] = json!(true))
    }

    /// Keeps stdin open: for [`Exec::write`] and [`Exec::close_stdin`]. Otherwise the process has no stdin.
    #[must_use]
    pub fn hold_stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Adds it.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_add(self) -> Result<Exec<'t, 'n>, Status> {
        let terminal = self.process["terminal"] == json!(true);
        let paths = Paths::make(self.task.node.dir().join("fifo").join(format!("{}-{}", self.task.id(), self.id)));
        let stdout = Capture::fifo(&paths.of("stdout"));
        let stderr = if terminal { Capture::nothing() } else { Capture::fifo(&paths.of("stderr")) };
        let stdin = self.stdin.then(|| Stdin::fifo(&paths.of("stdin")));
        let place = |name: &str, wanted: bool| match wanted {
            true => paths.of(name).display().to_string(),
            false => String::new(),
        };
        let request = ExecProcessRequest {
            container_id: self.task.id().to_owned(),
            stdin: place("stdin", stdin.is_some()),
            stdout: place("stdout", true),
            stderr: place("stderr", !terminal),
            terminal,
            spec: Some(Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
                value: self.process.to_string().into_bytes(),
            }),
            exec_id: self.id.clone(),
        };
        self.task.call::<()>("Exec", &request)?;
        Ok(Exec { task: self.task, id: self.id, begin: Instant::now(), stdout, stderr, stdin: Mutex::new(stdin) })
    }

    /// As [`ExecOrder::try_add`].
    ///
    /// # Panics
    /// When it is refused.
    pub fn add(self) -> Exec<'t, 'n> {
        let id = self.id.clone();
        self.try_add().unwrap_or_else(|status| panic!("cannot add {id}: {status}"))
    }

    /// Adds and starts it.
    ///
    /// # Panics
    /// When either is refused.
    pub fn spawn(self) -> Exec<'t, 'n> {
        let exec = self.add();
        exec.start();
        exec
    }

    /// Runs it to its end and deletes it.
    ///
    /// # Panics
    /// When one of the calls is refused, or it does not end within 30 s.
    pub fn run(self) -> Output {
        let exec = self.spawn();
        exec.wait(PATIENCE);
        exec.delete()
    }
}

impl Exec<'_, '_> {
    /// `container_id` and `exec_id`.
    fn ids(&self) -> (String, String) {
        (self.task.id().to_owned(), self.id.clone())
    }

    fn must<T>(&self, what: &str, result: Result<T, Status>) -> T {
        result.unwrap_or_else(|status| {
            panic!("cannot {what} {}: {status}\n--- stdout\n{}\n--- stderr\n{}", self.id, self.stdout(), self.stderr())
        })
    }

    /// Starts it, and returns its pid.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_start(&self) -> Result<u32, Status> {
        let (container_id, exec_id) = self.ids();
        let started: StartResponse = self.task.call("Start", &StartRequest { container_id, exec_id })?;
        Ok(started.pid)
    }

    /// As [`Exec::try_start`].
    ///
    /// # Panics
    /// When it is refused.
    pub fn start(&self) -> u32 {
        self.must("start", self.try_start())
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// The shim's refusal; `DeadlineExceeded` when it does not end within the limit.
    pub fn try_wait(&self, limit: Duration) -> Result<Exit, Status> {
        let (container_id, exec_id) = self.ids();
        let ended: WaitResponse = self.task.call_within("Wait", &WaitRequest { container_id, exec_id }, limit)?;
        Ok(Exit::new(ended.exit_status, ended.exited_at))
    }

    /// As [`Exec::try_wait`].
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait(&self, limit: Duration) -> Exit {
        self.must("wait for", self.try_wait(limit))
    }

    /// Sends a signal by its number.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_kill(&self, signal: u32) -> Result<(), Status> {
        let (container_id, exec_id) = self.ids();
        self.task.call("Kill", &KillRequest { container_id, exec_id, signal, all: false })
    }

    /// Returns its state and its pid.
    ///
    /// # Errors
    /// `NotFound` when it is gone.
    pub fn try_state(&self) -> Result<(State, u32), Status> {
        let (container_id, exec_id) = self.ids();
        let found: GetResponse = self.task.call("Get", &GetRequest { container_id, exec_id })?;
        let process = found.process.unwrap_or_default();
        Ok((process.status(), process.pid))
    }

    /// Writes to its stdin, which [`ExecOrder::hold_stdin`] ordered.
    pub fn write(&self, text: &str) {
        self.stdin.lock().unwrap().as_mut().expect("no stdin was ordered").write(text.as_bytes());
    }

    /// Ends its stdin, by CloseIO.
    ///
    /// # Panics
    /// When that is refused.
    pub fn close_stdin(&self) {
        self.stdin.lock().unwrap().as_mut().expect("no stdin was ordered").close();
        let (container_id, exec_id) = self.ids();
        match self.task.call("CloseIO", &CloseIORequest { container_id, exec_id, stdin: true }) {
            // It may have ended by itself.
            Ok(()) | Err(Status { code: Code::NotFound, .. }) => {}
            Err(status) => panic!("cannot close stdin of {}: {status}", self.id),
        }
    }

    /// Changes the size of its terminal's window.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_resize(&self, width: u32, height: u32) -> Result<(), Status> {
        let (container_id, exec_id) = self.ids();
        self.task.call("ResizePty", &ResizePtyRequest { container_id, exec_id, width, height })
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
        let seen = deadline::poll(PATIENCE, || self.stdout().contains(text).then_some(()));
        assert!(seen.is_some(), "{} did not print {text:?}\n{}\n{}", self.id, self.stdout(), self.stderr());
    }

    /// Deletes it, without killing it first.
    ///
    /// # Errors
    /// The shim's refusal, such as `FailedPrecondition` while it runs.
    pub fn try_delete(&self) -> Result<Exit, Status> {
        let (container_id, exec_id) = self.ids();
        let request = DeleteProcessRequest { container_id, exec_id };
        let deleted: DeleteResponse = self.task.call("DeleteProcess", &request)?;
        Ok(Exit::new(deleted.exit_status, deleted.exited_at))
    }

    /// Deletes it, and returns its output.
    ///
    /// # Panics
    /// When that is refused.
    pub fn delete(self) -> Output {
        let exit = self.must("delete", self.try_delete());
        let duration = self.begin.elapsed();
        // The test may not have read the last output yet.
        for stream in [&self.stdout, &self.stderr] {
            stream.ended_within(PATIENCE);
        }
        Output { code: exit.code.cast_signed(), stdout: self.stdout(), stderr: self.stderr(), duration }
    }
}
