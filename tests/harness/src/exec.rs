//! A further process of a task, call by call: as `ctr tasks exec` and the CRI make it, with the calls in between.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::container::Output;
use crate::deadline::{self, PATIENCE};
use crate::grpc::{Code, Status};
use crate::pipes::{Capture, Paths, Stdin};
use crate::task::{Exit, State, Task, instant};
use crate::wire::{Message, fields};

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
        let any = Message::new()
            .bytes(1, "types.containerd.io/opencontainers/runtime-spec/1/Process")
            .bytes(2, self.process.to_string());
        let mut request = Message::new().bytes(1, self.task.id());
        if stdin.is_some() {
            request = request.bytes(2, paths.of("stdin").display().to_string());
        }
        request = request.bytes(3, paths.of("stdout").display().to_string());
        if !terminal {
            request = request.bytes(4, paths.of("stderr").display().to_string());
        }
        let request = request.number(5, terminal.into()).message(6, any).bytes(7, &self.id);
        self.task.call("Exec", request)?;
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
    fn named(&self) -> Message {
        Message::new().bytes(1, self.task.id()).bytes(2, &self.id)
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
        let answer = self.task.call("Start", self.named())?;
        Ok(fields(&answer).number(1) as u32)
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
        let answer = self.task.call_within("Wait", self.named(), limit)?;
        let answer = fields(&answer);
        Ok(Exit { code: answer.number(1) as u32, at: instant(answer.bytes(2)) })
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
        self.task.call("Kill", self.named().number(3, signal.into())).map(drop)
    }

    /// Returns its state and its pid.
    ///
    /// # Errors
    /// `NotFound` when it is gone.
    pub fn try_state(&self) -> Result<(State, u32), Status> {
        let answer = self.task.call("Get", self.named())?;
        let process = fields(fields(&answer).bytes(1));
        Ok((State::from_number(process.number(4)), process.number(3) as u32))
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
        match self.task.call("CloseIO", self.named().number(3, 1)) {
            // It may have ended by itself.
            Ok(_) | Err(Status { code: Code::NotFound, .. }) => {}
            Err(status) => panic!("cannot close stdin of {}: {status}", self.id),
        }
    }

    /// Changes the size of its terminal's window.
    ///
    /// # Errors
    /// The shim's refusal.
    pub fn try_resize(&self, width: u64, height: u64) -> Result<(), Status> {
        self.task.call("ResizePty", self.named().number(3, width).number(4, height)).map(drop)
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
        let answer = self.task.call("DeleteProcess", self.named())?;
        let answer = fields(&answer);
        Ok(Exit { code: answer.number(3) as u32, at: instant(answer.bytes(4)) })
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
