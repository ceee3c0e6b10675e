//! Pods by the CRI.
//!
//! ```text
//! Pod::run --RunPodSandbox--> a sandbox on the shape's handler
//!    |- order(): Order --CreateContainer--> Running   started, looked at and stopped by the CRI
//!    |             `-----CreateContainer--> Created   the record with its spec, never started by the CRI
//!    |                                       `- try_task(): Task   that very spec, on our runtime, in the node's namespace
//!    |- status(), stats()
//!    `- remove --StopPodSandbox, RemovePodSandbox-->
//! pods(), containers(), pod_stats(), container_stats(): the CRI's lists of a node, by a filter
//! ```
//!
//! The messages are in [`crate::api::cri`]. A node for the CRI is started with [`options`], and with [`Options::network`] if its pods are
//! to have networks.

mod created;
mod images;
mod list;
mod log;
mod order;
mod running;
mod security;
mod session;
mod shape;
mod stats;
mod status;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use prost::Message;

pub use created::Created;
use images::import;
pub use images::{image_id, import_with, knows, pin};
pub use list::{ContainerFilter, Listed, PodFilter, containers, pods};
pub use log::LogLine;
pub use order::{Order, Propagation};
pub use running::Running;
pub use security::{AppArmor, Seccomp};
pub use session::Session;
pub use shape::{Dns, Shape};
pub use stats::{ContainerStats, Cpu, Layer, Memory, PodStats, container_stats, pod_stats};
pub use status::{ContainerStatus, MountStatus, PodStatus};

pub use crate::api::cri::records::ContainerState;

use crate::api::cri::pods::{
    PodSandboxConfig, PodSandboxStatusRequest, PodSandboxStatusResponse, RemovePodSandboxRequest, RunPodSandboxRequest,
    RunPodSandboxResponse, StopPodSandboxRequest,
};
use crate::api::cri::records::{RemoveContainerRequest, StopContainerRequest};
use crate::api::cri::stats::{PodSandboxStatsRequest, PodSandboxStatsResponse};
use crate::config::Options;
use crate::deadline::PATIENCE;
use crate::grpc::{Address, Status};
use crate::image::Image;
use crate::{Node, guests};

/// containerd's namespace of everything that Kubernetes makes.
const NAMESPACE: &str = "k8s.io";
const CONTAINERS: &str = "containerd.services.containers.v1.Containers";

fn pause() -> Image {
    Image::new("pause").file("/pause", guests::peer()).entrypoint(["/pause"])
}

/// A node that serves the CRI, with a sandbox image of the harness's own.
pub fn options() -> Options {
    Options::new().cri(pause().name())
}

/// Returns the folder of the logs of a pod's containers.
fn logs(node: &Node, pod: &str) -> PathBuf {
    node.folder("logs").join(pod)
}

/// A pod whose sandbox runs.
pub struct Pod<'n> {
    node: &'n Node,
    name: String,
    id: String,
    config: PodSandboxConfig,
    shape: Shape,
}

fn address(node: &Node) -> Address {
    Address { namespace: NAMESPACE.to_owned(), ..node.address() }
}

fn runtime<A: Message + Default>(node: &Node, method: &str, request: &impl Message) -> Result<A, Status> {
    address(node).call(&format!("runtime.v1.RuntimeService/{method}"), request, PATIENCE)
}

/// `StopPodSandbox` of any id.
///
/// # Errors
/// The refusal of containerd or the shim.
pub fn stop_pod(node: &Node, id: &str) -> Result<(), Status> {
    runtime(node, "StopPodSandbox", &StopPodSandboxRequest { pod_sandbox_id: id.to_owned() })
}

/// `RemovePodSandbox` of any id.
///
/// # Errors
/// The refusal of containerd or the shim.
pub fn remove_pod(node: &Node, id: &str) -> Result<(), Status> {
    runtime(node, "RemovePodSandbox", &RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() })
}

/// `StopContainer` of any id.
///
/// # Errors
/// The refusal of containerd or the shim.
pub fn stop_container(node: &Node, id: &str, grace: Duration) -> Result<(), Status> {
    let timeout = grace.as_secs().cast_signed();
    runtime(node, "StopContainer", &StopContainerRequest { container_id: id.to_owned(), timeout })
}

/// `RemoveContainer` of any id.
///
/// # Errors
/// The refusal of containerd or the shim.
pub fn remove_container(node: &Node, id: &str) -> Result<(), Status> {
    runtime(node, "RemoveContainer", &RemoveContainerRequest { container_id: id.to_owned() })
}

/// Imports the image of runc's sandbox containers, for pods that another program runs.
pub fn import_sandbox_image(node: &Node) {
    import(node, &pause());
}

/// Stops and removes all pods of a node, as a kubelet does with pods that it does not know.
///
/// # Panics
/// When the CRI refuses it.
pub fn remove_pods(node: &Node) {
    for pod in pods(node, &PodFilter::default()) {
        let removed = stop_pod(node, &pod.id).and_then(|()| remove_pod(node, &pod.id));
        removed.unwrap_or_else(|status| panic!("cannot remove the pod {}: {status}", pod.id));
    }
}

impl<'n> Pod<'n> {
    /// Runs a pod's sandbox.
    ///
    /// # Errors
    /// The refusal of containerd or the shim.
    pub fn try_run(node: &'n Node, name: &str, shape: Shape) -> Result<Self, Status> {
        import(node, &pause());
        let config = shape.config(node, name);
        fs::create_dir_all(logs(node, name)).expect("cannot make a folder");
        let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: shape.handler.clone() };
        let RunPodSandboxResponse { pod_sandbox_id: id } = runtime(node, "RunPodSandbox", &request)?;
        // An earlier pod of this name may have left logs: remove them, so that only this pod's are read.
        for entry in fs::read_dir(logs(node, name)).expect("cannot list the logs").flatten() {
            fs::remove_dir_all(entry.path()).expect("cannot remove the logs of an earlier pod");
        }
        node.expect_id(NAMESPACE, &id);
        Ok(Self { node, name: name.to_owned(), id, config, shape })
    }

    /// As [`Pod::try_run`].
    ///
    /// # Panics
    /// When the CRI refuses it.
    pub fn run(node: &'n Node, name: &str, shape: Shape) -> Self {
        Self::try_run(node, name, shape).unwrap_or_else(|status| panic!("no pod {name}: {status}"))
    }

    /// Returns its status.
    ///
    /// # Panics
    /// When the CRI does not say.
    pub fn status(&self) -> PodStatus {
        let request = PodSandboxStatusRequest { pod_sandbox_id: self.id.clone(), verbose: true };
        let answer = runtime::<PodSandboxStatusResponse>(self.node, "PodSandboxStatus", &request);
        PodStatus::from(answer.unwrap_or_else(|status| panic!("{status}")))
    }

    /// Returns the ids of its containers that the CRI lists, without the sandbox container.
    ///
    /// # Panics
    /// When the CRI does not say.
    pub fn containers(&self) -> Vec<String> {
        let all = containers(self.node, &ContainerFilter { pod: self.id.clone(), ..ContainerFilter::default() });
        all.into_iter().map(|container| container.id).collect()
    }

    /// `PodSandboxStats`.
    ///
    /// # Errors
    /// The refusal of containerd or the shim.
    pub fn stats(&self) -> Result<PodStats, Status> {
        let request = PodSandboxStatsRequest { pod_sandbox_id: self.id.clone() };
        let answer: PodSandboxStatsResponse = runtime(self.node, "PodSandboxStats", &request)?;
        Ok(PodStats::from(answer.stats.unwrap_or_default()))
    }

    /// Stops it with its containers; idempotent.
    ///
    /// # Panics
    /// When the CRI refuses it.
    pub fn stop(&self) {
        stop_pod(self.node, &self.id).unwrap_or_else(|status| panic!("StopPodSandbox: {status}"));
    }

    /// The folder of its containers' logs.
    pub fn logs(&self) -> PathBuf {
        logs(self.node, &self.name)
    }

    /// The sandbox's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The order for a container of the pod, with the image's entrypoint.
    pub fn order(&self, name: &str, image: &Image) -> Order<'n, '_> {
        import(self.node, image);
        Order::new(self, name, image.name())
    }

    /// The same for an image that the CRI has already: [`Order::image`] names it.
    pub fn order_known(&self, name: &str) -> Order<'n, '_> {
        Order::new(self, name, "")
    }

    /// Stops and removes the pod with its containers.
    ///
    /// # Panics
    /// When the CRI refuses it.
    pub fn remove(self) {
        self.stop();
        remove_pod(self.node, &self.id).unwrap_or_else(|status| panic!("RemovePodSandbox: {status}"));
    }
}
