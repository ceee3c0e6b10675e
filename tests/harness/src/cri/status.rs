//! The CRI's status of a pod and of a container.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::wire::{Fields, fields};

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

impl PodStatus {
    /// Reads a `PodSandboxStatusResponse`.
    pub(super) fn read(answer: &[u8]) -> Self {
        let answer = fields(answer);
        let status = fields(answer.bytes(1));
        Self {
            ready: status.number(3) == 0,
            ip: text(&fields(status.bytes(5)), 1),
            pid: pid(&answer, 2),
            handler: text(&status, 9),
            labels: map(&status, 7),
            annotations: map(&status, 8),
        }
    }
}

/// `ContainerState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the CRI's own words")]
pub enum ContainerState {
    Created,
    Running,
    Exited,
    Unknown,
}

impl ContainerState {
    pub(super) fn from_number(number: u64) -> Self {
        match number {
            0 => Self::Created,
            1 => Self::Running,
            2 => Self::Exited,
            _ => Self::Unknown,
        }
    }

    pub(super) fn number(self) -> u64 {
        self as u64
    }
}

/// A container's status, as the kubelet gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// Where in its life it is.
    pub state: ContainerState,
    /// Its exit code; 0 until then.
    pub exit_code: i32,
    /// Why it ended: `Completed`, `Error`, `OOMKilled` and so on.
    pub reason: String,
    /// The text that belongs to the reason.
    pub message: String,
    /// The process, as the host sees it; 0 when it has none.
    pub pid: u32,
    /// The time, in nanoseconds since 1970.
    pub created_at: u64,
    /// The time; 0 until then.
    pub started_at: u64,
    /// The time; 0 until then.
    pub finished_at: u64,
    /// The image's name.
    pub image: String,
    /// The file that `kubectl logs` reads.
    pub log_path: String,
    /// Its name.
    pub name: String,
    /// The number of its restart.
    pub attempt: u64,
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

impl ContainerStatus {
    /// Reads a verbose `ContainerStatusResponse`.
    pub(super) fn read(answer: &[u8]) -> Self {
        let answer = fields(answer);
        let status = fields(answer.bytes(1));
        let metadata = fields(status.bytes(2));
        let mount = |bytes| {
            let mount = fields(bytes);
            MountStatus { destination: text(&mount, 1), source: text(&mount, 2), readonly: mount.number(3) != 0 }
        };
        Self {
            state: ContainerState::from_number(status.number(3)),
            created_at: status.number(4),
            started_at: status.number(5),
            finished_at: status.number(6),
            // An int32, which is written with the sign of an int64.
            exit_code: status.number(7) as i32,
            image: text(&fields(status.bytes(8)), 1),
            reason: text(&status, 10),
            message: text(&status, 11),
            labels: map(&status, 12),
            annotations: map(&status, 13),
            mounts: status.all(14).map(mount).collect(),
            log_path: text(&status, 15),
            name: text(&metadata, 1),
            attempt: metadata.number(2),
            pid: pid(&answer, 2),
            spec: info(&answer, 2)["runtimeSpec"].take(),
        }
    }
}

pub(super) fn text(fields: &Fields<'_>, field: u32) -> String {
    String::from_utf8_lossy(fields.bytes(field)).into_owned()
}

/// A `map<string, string>`.
pub(super) fn map(of: &Fields<'_>, field: u32) -> BTreeMap<String, String> {
    let entries = of.all(field).map(fields);
    entries.map(|entry| (text(&entry, 1), text(&entry, 2))).collect()
}

/// The verbose part of an answer: a map whose entry `info` is JSON; null if there is none.
fn info(answer: &Fields<'_>, field: u32) -> Value {
    let info = answer.all(field).map(fields).find(|entry| entry.bytes(1) == b"info");
    info.map_or(Value::Null, |entry| serde_json::from_slice(entry.bytes(2)).expect("the info is no JSON"))
}

/// The process that the verbose part names.
fn pid(answer: &Fields<'_>, field: u32) -> u32 {
    u32::try_from(info(answer, field)["pid"].as_u64().unwrap_or_default()).expect("a pid")
}
