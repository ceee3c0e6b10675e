//! Usage of containers and pods, as the CRI tells the kubelet.

use super::{ContainerFilter, PodFilter, runtime};
use crate::Node;
use crate::api::cri::stats::{
    self as message, ContainerStatsFilter, CpuUsage, ListContainerStatsRequest, ListContainerStatsResponse,
    ListPodSandboxStatsRequest, ListPodSandboxStatsResponse, MemoryUsage, NetworkInterfaceUsage, PodSandboxStats,
    PodSandboxStatsFilter, UInt64Value,
};

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
    /// `available_bytes`: the rest of the limit.
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
    /// `process_count`: the number of the containers' processes.
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
    let filter = ContainerStatsFilter {
        id: filter.id.clone(),
        pod_sandbox_id: filter.pod.clone(),
        label_selector: filter.labels.iter().cloned().collect(),
    };
    let answer = runtime(node, "ListContainerStats", &ListContainerStatsRequest { filter: Some(filter) });
    let answer: ListContainerStatsResponse = answer.unwrap_or_else(|status| panic!("ListContainerStats: {status}"));
    answer.stats.into_iter().map(ContainerStats::from).collect()
}

/// `ListPodSandboxStats`.
///
/// # Panics
/// When the CRI does not say.
pub fn pod_stats(node: &Node, filter: &PodFilter) -> Vec<PodStats> {
    assert!(filter.ready.is_none(), "the CRI's filter of statistics has no state");
    let filter =
        PodSandboxStatsFilter { id: filter.id.clone(), label_selector: filter.labels.iter().cloned().collect() };
    let answer = runtime(node, "ListPodSandboxStats", &ListPodSandboxStatsRequest { filter: Some(filter) });
    let answer: ListPodSandboxStatsResponse = answer.unwrap_or_else(|status| panic!("ListPodSandboxStats: {status}"));
    answer.stats.into_iter().map(PodStats::from).collect()
}

impl From<message::ContainerStats> for ContainerStats {
    fn from(stats: message::ContainerStats) -> Self {
        let layer = stats.writable_layer.unwrap_or_default();
        Self {
            id: stats.attributes.unwrap_or_default().id,
            cpu: stats.cpu.map(Cpu::from),
            memory: stats.memory.map(Memory::from),
            layer: Layer {
                mountpoint: layer.fs_id.unwrap_or_default().mountpoint,
                bytes: value(layer.used_bytes),
                inodes: value(layer.inodes_used),
            },
        }
    }
}

impl From<PodSandboxStats> for PodStats {
    fn from(stats: PodSandboxStats) -> Self {
        let linux = stats.linux.unwrap_or_default();
        let network = linux.network.and_then(|network| network.default_interface);
        let counted = |NetworkInterfaceUsage { name, rx_bytes, tx_bytes }| (name, value(rx_bytes), value(tx_bytes));
        Self {
            id: stats.attributes.unwrap_or_default().id,
            cpu: linux.cpu.map(Cpu::from),
            memory: linux.memory.map(Memory::from),
            network: network.map(counted),
            processes: value(linux.process.unwrap_or_default().process_count),
            containers: linux.containers.into_iter().map(ContainerStats::from).collect(),
        }
    }
}

impl From<CpuUsage> for Cpu {
    fn from(cpu: CpuUsage) -> Self {
        Self {
            at: cpu.timestamp.cast_unsigned(),
            nanoseconds: value(cpu.usage_core_nano_seconds),
            nano_cores: cpu.usage_nano_cores.map(|cores| cores.value),
        }
    }
}

impl From<MemoryUsage> for Memory {
    fn from(memory: MemoryUsage) -> Self {
        Self {
            at: memory.timestamp.cast_unsigned(),
            working_set: value(memory.working_set_bytes),
            available: value(memory.available_bytes),
            usage: value(memory.usage_bytes),
            rss: value(memory.rss_bytes),
            faults: value(memory.page_faults),
        }
    }
}

/// The value; 0 if there is none.
fn value(of: Option<UInt64Value>) -> u64 {
    of.unwrap_or_default().value
}
