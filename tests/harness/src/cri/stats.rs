//! Usage of containers and pods, as the CRI tells the kubelet.

use super::list::{labelled, list};
use super::status::text;
use super::{ContainerFilter, PodFilter};
use crate::Node;
use crate::wire::{Fields, Message, fields};

/// `ContainerStats`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStats {
    /// The container's id.
    pub id: String,
    /// None if there is no task.
    pub cpu: Option<Cpu>,
    /// None if there is no task.
    pub memory: Option<Memory>,
    /// `writable_layer`.
    pub layer: Layer,
}

/// `CpuUsage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// In nanoseconds since 1970.
    pub at: u64,
    /// `usage_core_nano_seconds`: since the container began.
    pub nanoseconds: u64,
    /// `usage_nano_cores`, since the previous request; only if the CRI computes it.
    pub nano_cores: Option<u64>,
}

/// `MemoryUsage`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// In nanoseconds since 1970.
    pub at: u64,
    /// `working_set_bytes`: the figure that evictions count.
    pub working_set: u64,
    /// `available_bytes`: what is left of the limit.
    pub available: u64,
    /// `usage_bytes`.
    pub usage: u64,
    /// `rss_bytes`.
    pub rss: u64,
    /// `page_faults`.
    pub faults: u64,
}

/// `FilesystemUsage` of a container's own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Where the snapshots are.
    pub mountpoint: String,
    /// `used_bytes`.
    pub bytes: u64,
    /// `inodes_used`.
    pub inodes: u64,
}

/// `PodSandboxStats` of a pod on Linux.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodStats {
    /// The pod's id.
    pub id: String,
    /// Of the cgroup that the pod's containers are in.
    pub cpu: Option<Cpu>,
    /// Of the cgroup that the pod's containers are in.
    pub memory: Option<Memory>,
    /// The interface of the pod's network, and the bytes received and sent there; None in the host's network.
    pub network: Option<(String, u64, u64)>,
    /// `process_count`: those of the containers.
    pub processes: u64,
    /// Of each container that has not been removed.
    pub containers: Vec<ContainerStats>,
}

/// `ListContainerStats`.
///
/// # Panics
/// When the CRI does not say.
pub fn container_stats(node: &Node, filter: &ContainerFilter) -> Vec<ContainerStats> {
    assert!(filter.state.is_none(), "the CRI's filter of statistics has no state");
    let asked = Message::new().bytes(1, &filter.id).bytes(2, &filter.pod);
    let answer = list(node, "ListContainerStats", labelled(asked, 3, &filter.labels));
    fields(&answer).all(1).map(ContainerStats::read).collect()
}

/// `ListPodSandboxStats`.
///
/// # Panics
/// When the CRI does not say.
pub fn pod_stats(node: &Node, filter: &PodFilter) -> Vec<PodStats> {
    assert!(filter.ready.is_none(), "the CRI's filter of statistics has no state");
    let asked = Message::new().bytes(1, &filter.id);
    let answer = list(node, "ListPodSandboxStats", labelled(asked, 2, &filter.labels));
    fields(&answer).all(1).map(PodStats::read).collect()
}

impl ContainerStats {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let stats = fields(bytes);
        let layer = fields(stats.bytes(4));
        Self {
            id: text(&fields(stats.bytes(1)), 1),
            cpu: part(&stats, 2).map(|cpu| Cpu::read(&cpu)),
            memory: part(&stats, 3).map(|memory| Memory::read(&memory)),
            layer: Layer {
                mountpoint: text(&fields(layer.bytes(2)), 1),
                bytes: value(&layer, 3),
                inodes: value(&layer, 4),
            },
        }
    }
}

impl PodStats {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let stats = fields(bytes);
        let linux = fields(stats.bytes(2));
        let network = part(&linux, 3).and_then(|network| part(&network, 2));
        Self {
            id: text(&fields(stats.bytes(1)), 1),
            cpu: part(&linux, 1).map(|cpu| Cpu::read(&cpu)),
            memory: part(&linux, 2).map(|memory| Memory::read(&memory)),
            network: network.map(|interface| (text(&interface, 1), value(&interface, 2), value(&interface, 4))),
            processes: value(&fields(linux.bytes(4)), 2),
            containers: linux.all(5).map(ContainerStats::read).collect(),
        }
    }
}

impl Cpu {
    fn read(cpu: &Fields<'_>) -> Self {
        let nano_cores = part(cpu, 3).map(|value| value.number(1));
        Self { at: cpu.number(1), nanoseconds: value(cpu, 2), nano_cores }
    }
}

impl Memory {
    fn read(memory: &Fields<'_>) -> Self {
        Self {
            at: memory.number(1),
            working_set: value(memory, 2),
            available: value(memory, 3),
            usage: value(memory, 4),
            rss: value(memory, 5),
            faults: value(memory, 6),
        }
    }
}

/// An embedded message, if it is there.
fn part<'a>(of: &Fields<'a>, field: u32) -> Option<Fields<'a>> {
    of.all(field).last().map(fields)
}

/// An `UInt64Value`; 0 where it is not there.
fn value(of: &Fields<'_>, field: u32) -> u64 {
    fields(of.bytes(field)).number(1)
}
