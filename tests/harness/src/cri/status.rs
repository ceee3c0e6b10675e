//! The CRI's status of a pod and of a container.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::cri::containers::Mount;
use crate::api::cri::pods::{PodSandboxState, PodSandboxStatusResponse};
use crate::api::cri::records::{ContainerState, ContainerStatusResponse};

/// A pod's status, as the kubelet gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodStatus {
    /// `SANDBOX_READY`.
    pub ready: bool,
    /// Its address; empty in the host's network.
    pub ip: String,
    /// The process of the sandbox container, as the host sees it; 0 when there is none.
    pub pid: u32,
    /// Its handler.
    pub handler: String,
    /// As requested.
    pub labels: BTreeMap<String, String>,
    /// As requested.
    pub annotations: BTreeMap<String, String>,
}

impl From<PodSandboxStatusResponse> for PodStatus {
    /// Reads a verbose answer.
    fn from(answer: PodSandboxStatusResponse) -> Self {
        let status = answer.status.unwrap_or_default();
        Self {
            ready: status.state() == PodSandboxState::Ready,
            ip: status.network.unwrap_or_default().ip,
            pid: pid(&info(&answer.info)),
            handler: status.runtime_handler,
            labels: status.labels,
            annotations: status.annotations,
        }
    }
}

/// A container's status, as the kubelet gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// Where in its life it is.
    pub state: ContainerState,
    /// Its exit code; 0 while it has not ended.
    pub exit_code: i32,
    /// Why it ended: `Completed`, `Error`, `OOMKilled` and so on.
    pub reason: String,
    /// The text that belongs to the reason.
    pub message: String,
    /// The process, as the host sees it; 0 when it has none.
    pub pid: u32,
    /// When it was created, in nanoseconds since 1970.
    pub created_at: u64,
    /// When it was started, in the same unit; 0 before that.
    pub started_at: u64,
    /// When it ended, in the same unit; 0 before that.
    pub finished_at: u64,
    /// The image's name.
    pub image: String,
    /// The file that `kubectl logs` reads.
    pub log_path: String,
    /// Its name.
    pub name: String,
    /// The number of its restart.
    pub attempt: u32,
    /// As requested.
    pub labels: BTreeMap<String, String>,
    /// As requested.
    pub annotations: BTreeMap<String, String>,
    /// As requested.
    pub mounts: Vec<MountStatus>,
    /// The spec that it runs from.
    pub spec: Value,
}

/// A container's mount as the CRI keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountStatus {
    /// The path in the container.
    pub destination: String,
    /// The path on the machine.
    pub source: String,
    /// Whether it is read-only.
    pub readonly: bool,
}

impl From<ContainerStatusResponse> for ContainerStatus {
    /// Reads a verbose answer.
    fn from(answer: ContainerStatusResponse) -> Self {
        let status = answer.status.unwrap_or_default();
        let metadata = status.metadata.clone().unwrap_or_default();
        let mut info = info(&answer.info);
        Self {
            state: ContainerState::try_from(status.state).unwrap_or(ContainerState::Unknown),
            created_at: status.created_at.cast_unsigned(),
            started_at: status.started_at.cast_unsigned(),
            finished_at: status.finished_at.cast_unsigned(),
            exit_code: status.exit_code,
            image: status.image.unwrap_or_default().image,
            reason: status.reason,
            message: status.message,
            labels: status.labels,
            annotations: status.annotations,
            mounts: status.mounts.into_iter().map(MountStatus::from).collect(),
            log_path: status.log_path,
            name: metadata.name,
            attempt: metadata.attempt,
            pid: pid(&info),
            spec: info["runtimeSpec"].take(),
        }
    }
}

impl From<Mount> for MountStatus {
    fn from(mount: Mount) -> Self {
        Self { destination: mount.container_path, source: mount.host_path, readonly: mount.readonly }
    }
}

/// The verbose part of an answer, whose entry `info` is JSON; null if there is none.
fn info(of: &BTreeMap<String, String>) -> Value {
    of.get("info").map_or(Value::Null, |text| serde_json::from_str(text).expect("the info is no JSON"))
}

/// The process that the verbose part names.
fn pid(info: &Value) -> u32 {
    u32::try_from(info["pid"].as_u64().unwrap_or_default()).expect("a pid")
}
