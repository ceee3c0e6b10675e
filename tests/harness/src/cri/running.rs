//! A container of a pod that the CRI runs itself, from its start to its removal.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prost::Message;

use super::order::resources;
use super::{ContainerState, ContainerStats, ContainerStatus, LogLine, log, remove_container, runtime, stop_container};
use crate::Node;
use crate::api::cri::records::{
    ContainerStatusRequest, ContainerStatusResponse, ReopenContainerLogRequest, StartContainerRequest,
    UpdateContainerResourcesRequest,
};
use crate::api::cri::stats::{ContainerStatsRequest, ContainerStatsResponse};
use crate::api::cri::streams::{ExecSyncRequest, ExecSyncResponse};
use crate::container::Output;
use crate::deadline::{self, PATIENCE};
use crate::grpc::Status;

/// A container that the CRI created in a pod, and starts.
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

    pub(super) fn ask<A: Message + Default>(&self, method: &str, request: &impl Message) -> Result<A, Status> {
        runtime(self.node, method, request)
    }

    /// Starts it.
    ///
    /// # Errors
    /// The refusal of containerd or the shim.
    pub fn try_start(&self) -> Result<(), Status> {
        self.ask("StartContainer", &StartContainerRequest { container_id: self.id.clone() })
    }

    /// Starts it.
    ///
    /// # Panics
    /// When that is refused.
    pub fn start(&self) {
        self.try_start().unwrap_or_else(|status| panic!("cannot start: {status}"));
    }

    /// Returns its status.
    ///
    /// # Panics
    /// When the CRI does not say.
    pub fn status(&self) -> ContainerStatus {
        let request = ContainerStatusRequest { container_id: self.id.clone(), verbose: true };
        let answer = self.ask::<ContainerStatusResponse>("ContainerStatus", &request);
        ContainerStatus::from(answer.unwrap_or_else(|status| panic!("ContainerStatus: {status}")))
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

    /// Runs a further program in it to its end, like the kubelet's probes and hooks: killed after `limit`, which is in whole seconds.
    ///
    /// # Errors
    /// The refusal of containerd or the shim; `DeadlineExceeded` after the limit.
    pub fn exec_sync(&self, words: &[&str], limit: Duration) -> Result<Output, Status> {
        let request = ExecSyncRequest {
            container_id: self.id.clone(),
            cmd: words.iter().map(|&word| word.to_owned()).collect(),
            timeout: limit.as_secs().cast_signed(),
        };
        let begin = Instant::now();
        let answer: ExecSyncResponse = self.ask("ExecSync", &request)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Output {
            code: answer.exit_code,
            stdout: text(&answer.stdout),
            stderr: text(&answer.stderr),
            duration: begin.elapsed(),
        })
    }

    /// Ends it: by SIGTERM, and after `grace` by SIGKILL.
    ///
    /// # Panics
    /// When the CRI refuses it.
    pub fn stop(&self, grace: Duration) {
        stop_container(self.node, &self.id, grace).unwrap_or_else(|status| panic!("StopContainer: {status}"));
    }

    /// Removes it.
    ///
    /// # Panics
    /// When the CRI refuses it.
    pub fn remove(self) {
        remove_container(self.node, &self.id).unwrap_or_else(|status| panic!("RemoveContainer: {status}"));
    }

    /// Changes its limits, as the kubelet does for a resize in place: `resources` as in [`Order::limits`](super::Order::limits), with a
    /// swap limit of 0, which containerd replaces.
    ///
    /// # Errors
    /// The refusal of containerd or the shim.
    pub fn update(&self, memory: u64, shares: u64, quota: u64) -> Result<(), Status> {
        let linux = Some(resources(memory, shares, quota));
        let request = UpdateContainerResourcesRequest { container_id: self.id.clone(), linux };
        self.ask("UpdateContainerResources", &request)
    }

    /// `ContainerStats`.
    ///
    /// # Errors
    /// The refusal of containerd or the shim.
    pub fn stats(&self) -> Result<ContainerStats, Status> {
        let request = ContainerStatsRequest { container_id: self.id.clone() };
        let answer: ContainerStatsResponse = self.ask("ContainerStats", &request)?;
        Ok(ContainerStats::from(answer.stats.unwrap_or_default()))
    }

    /// `ReopenContainerLog`: the kubelet's call after it has renamed the log.
    ///
    /// # Errors
    /// containerd's refusal.
    pub fn try_reopen_log(&self) -> Result<(), Status> {
        self.ask("ReopenContainerLog", &ReopenContainerLogRequest { container_id: self.id.clone() })
    }

    /// The path of its log.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Returns its output so far, line by line, from the file that `kubectl logs` reads.
    ///
    /// # Panics
    /// When a line is not in the CRI's form, `TIME STREAM TAG TEXT`.
    pub fn log(&self) -> Vec<LogLine> {
        log::read(&self.log)
    }

    /// The lines of one stream, as the guest wrote them.
    ///
    /// # Panics
    /// As [`Running::log`].
    pub fn lines(&self, stream: &str) -> Vec<String> {
        log::whole(self.log(), stream)
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
