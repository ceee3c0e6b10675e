//! A container of a pod that the CRI runs itself, from its start to its removal.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::runtime;
use crate::Node;
use crate::container::Output;
use crate::deadline::{self, PATIENCE};
use crate::grpc::Status;
use crate::wire::{Fields, Message, fields};

/// `ContainerState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the CRI's own words")]
pub enum ContainerState {
    Created,
    Running,
    Exited,
    Unknown,
}

/// How a container stands, as the kubelet is told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// Where in its life it is.
    pub state: ContainerState,
    /// Its exit code; 0 until then.
    pub exit_code: i32,
    /// Why it ended: `Completed`, `Error`, `OOMKilled` and so on.
    pub reason: String,
    /// What belongs to the reason.
    pub message: String,
    /// The process, as the host sees it; 0 when it has none.
    pub pid: u32,
}

/// A line of a container's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Without its end.
    pub text: String,
}

/// A container that the CRI created in a pod, to be started by it.
pub struct Running<'n> {
    pub(super) node: &'n Node,
    pub(super) id: String,
    pub(super) log: PathBuf,
}

impl Running<'_> {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn ask(&self, method: &str, request: Message) -> Result<Vec<u8>, Status> {
        runtime(self.node, method, request)
    }

    fn expect(&self, method: &str, request: Message) -> Vec<u8> {
        self.ask(method, request).unwrap_or_else(|status| panic!("{method}: {status}"))
    }

    /// Starts it.
    ///
    /// # Errors
    /// What containerd or the shim answered.
    pub fn try_start(&self) -> Result<(), Status> {
        self.ask("StartContainer", Message::new().bytes(1, &self.id)).map(drop)
    }

    /// Starts it.
    ///
    /// # Panics
    /// When that is refused.
    pub fn start(&self) {
        self.try_start().unwrap_or_else(|status| panic!("cannot start: {status}"));
    }

    /// How it stands now.
    ///
    /// # Panics
    /// When the CRI does not say.
    pub fn status(&self) -> ContainerStatus {
        let answer = self.expect("ContainerStatus", Message::new().bytes(1, &self.id).number(2, 1));
        let answer = fields(&answer);
        let status = fields(answer.bytes(1));
        let state = match status.number(3) {
            0 => ContainerState::Created,
            1 => ContainerState::Running,
            2 => ContainerState::Exited,
            _ => ContainerState::Unknown,
        };
        ContainerStatus {
            state,
            // An int32, which is written with the sign of an int64.
            exit_code: status.number(7) as i32,
            reason: text(&status, 10),
            message: text(&status, 11),
            pid: pid(&answer, 2),
        }
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it has not come after the limit.
    pub fn wait(&self, limit: Duration) -> ContainerStatus {
        deadline::wait_until(limit, "the container to end", || {
            let status = self.status();
            (status.state == ContainerState::Exited).then_some(status)
        })
    }

    /// Runs a further program in it to its end, as a probe or a hook of the kubelet's does: killed after `limit`, which is in
    /// whole seconds.
    ///
    /// # Errors
    /// What containerd or the shim answered; `DeadlineExceeded` after the limit.
    pub fn exec_sync(&self, words: &[&str], limit: Duration) -> Result<Output, Status> {
        let request = Message::new().bytes(1, &self.id);
        let request = words.iter().fold(request, |request, word| request.bytes(2, word));
        let begin = Instant::now();
        let answer = self.ask("ExecSync", request.number(3, limit.as_secs()))?;
        let answer = fields(&answer);
        Ok(Output {
            code: answer.number(3) as i32,
            stdout: text(&answer, 1),
            stderr: text(&answer, 2),
            duration: begin.elapsed(),
        })
    }

    /// Ends it: by SIGTERM, and after `grace` by SIGKILL.
    ///
    /// # Panics
    /// When the CRI refuses it.
    pub fn stop(&self, grace: Duration) {
        self.expect("StopContainer", Message::new().bytes(1, &self.id).number(2, grace.as_secs()));
    }

    /// Removes it.
    ///
    /// # Panics
    /// When the CRI refuses it.
    pub fn remove(self) {
        self.expect("RemoveContainer", Message::new().bytes(1, &self.id));
    }

    /// Its working set in bytes, as `ContainerStats` has it.
    ///
    /// # Errors
    /// What containerd or the shim answered.
    pub fn memory(&self) -> Result<u64, Status> {
        let answer = self.ask("ContainerStats", Message::new().bytes(1, &self.id))?;
        Ok(fields(fields(fields(fields(&answer).bytes(1)).bytes(3)).bytes(2)).number(1))
    }

    /// What it has written so far, line by line: from the file that `kubectl logs` reads.
    ///
    /// # Panics
    /// When a line is not in the CRI's form, `TIME STREAM TAG TEXT`.
    pub fn log(&self) -> Vec<LogLine> {
        let text = fs::read_to_string(&self.log).unwrap_or_else(|error| panic!("{}: {error}", self.log.display()));
        text.lines()
            .map(|line| {
                let words: Vec<&str> = line.splitn(4, ' ').collect();
                let [time, stream, tag, text] = words[..] else { panic!("no line of a log: {line:?}") };
                assert!(time.len() > 20 && time.contains('T') && ["F", "P"].contains(&tag), "{line:?}");
                LogLine { stream: stream.to_owned(), text: text.to_owned() }
            })
            .collect()
    }

    /// The lines of one stream.
    ///
    /// # Panics
    /// As [`Running::log`].
    pub fn lines(&self, stream: &str) -> Vec<String> {
        self.log().into_iter().filter(|line| line.stream == stream).map(|line| line.text).collect()
    }

    /// Waits until it has written this line to stdout.
    ///
    /// # Panics
    /// When it has not within the limit.
    pub fn expect_line(&self, line: &str) {
        deadline::wait_until(PATIENCE, "a line in the log", || {
            self.lines("stdout").contains(&line.to_owned()).then_some(())
        });
    }
}

pub(super) fn text(fields: &Fields<'_>, field: u32) -> String {
    String::from_utf8_lossy(fields.bytes(field)).into_owned()
}

/// The process that the verbose part of an answer names: a map whose entry `info` is JSON.
pub(super) fn pid(answer: &Fields<'_>, field: u32) -> u32 {
    let entries = answer.all(field).map(fields);
    let info = entries.into_iter().find(|entry| entry.bytes(1) == b"info");
    let info: Value =
        info.map_or(Value::Null, |entry| serde_json::from_slice(entry.bytes(2)).expect("the info is no JSON"));
    u32::try_from(info["pid"].as_u64().unwrap_or_default()).expect("a pid")
}
