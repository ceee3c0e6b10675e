//! Pods by the CRI.
//!
//! ```text
//! Pod::run --RunPodSandbox--> a sandbox on the shape's handler
//!    |- order(): Order --CreateContainer--> Running   started, looked at and stopped by the CRI
//!    |             `-----CreateContainer--> Created   the record with its spec, never started by the CRI
//!    |                                       `- try_task(): Task   that very spec, on our runtime, in the node's namespace
//!    `- remove --StopPodSandbox, RemovePodSandbox-->
//! ```
//!
//! Field numbers are those of `k8s.io/cri-api`, `runtime.v1`. A node for it is started with [`options`], and with
//! [`Options::network`] if its pods are to have networks.

mod order;
mod running;
mod session;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

pub use order::{Order, Propagation, Seccomp};
pub use running::{ContainerState, ContainerStatus, LogLine, Running};
pub use session::Session;

use crate::config::Options;
use crate::container::Container;
use crate::deadline::{self, PATIENCE};
use crate::grpc::{Address, Status};
use crate::image::Image;
use crate::task::Task;
use crate::wire::{Message, fields};
use crate::{Node, Runtime};
use crate::{guests, leftovers};

/// containerd's namespace of all that Kubernetes makes.
const NAMESPACE: &str = "k8s.io";
const CONTAINERS: &str = "containerd.services.containers.v1.Containers";
/// `NamespaceMode`: the pod's.
const POD: u64 = 0;
/// `NamespaceMode`: one's own.
const CONTAINER: u64 = 1;
/// `NamespaceMode`: the host's.
const NODE: u64 = 2;

fn pause() -> Image {
    Image::new("pause").file("/sleep", guests::peer()).entrypoint(["/sleep"])
}

/// A node that serves the CRI, with a sandbox image of the harness's own.
pub fn options() -> Options {
    Options::new().cri(pause().name())
}

/// What of a pod is not the ordinary one.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// The handler of the node's configuration; the default one, runc, by an empty name.
    pub handler: String,
    /// A network of the pod's own, instead of the host's.
    pub network: bool,
    /// `shareProcessNamespace`.
    pub shared_pid: bool,
    /// `hostname`.
    pub hostname: String,
    /// `metadata.annotations`.
    pub annotations: Vec<(String, String)>,
    /// `hostPID`.
    pub host_pid: bool,
    /// `hostIPC`.
    pub host_ipc: bool,
    /// A pod may hold privileged containers only if it is privileged itself.
    pub privileged: bool,
    /// `securityContext.sysctls`.
    pub sysctls: Vec<(String, String)>,
}

impl Shape {
    /// A pod as `runtimeClassName: catamaran` makes it, with a network of its own.
    pub fn wasm() -> Self {
        Self { handler: "catamaran".to_owned(), network: true, ..Self::default() }
    }

    /// The same, with an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.push((key.to_owned(), value.to_owned()));
        self
    }

    fn namespaces(&self) -> Message {
        let network = if self.network { POD } else { NODE };
        let ipc = if self.host_ipc { NODE } else { POD };
        // Kubernetes asks for a pid namespace of each container's own unless told otherwise.
        let pid = match (self.host_pid, self.shared_pid) {
            (true, _) => NODE,
            (false, true) => POD,
            (false, false) => CONTAINER,
        };
        Message::new().number(1, network).number(2, pid).number(3, ipc)
    }

    /// `PodSandboxConfig`.
    fn config(&self, node: &Node, name: &str) -> Message {
        let metadata = Message::new().bytes(1, name).bytes(2, format!("{name}-uid")).bytes(3, "default");
        let security = Message::new().message(1, self.namespaces()).number(6, self.privileged.into());
        // The cgroups bear the node's tag, by which they are found.
        let mut linux = Message::new().bytes(1, format!("/{}", node.namespace())).message(2, security);
        for (key, value) in &self.sysctls {
            linux = linux.entry(3, key, value);
        }
        let logs = logs(node, name).display().to_string();
        // One in the host's network has the host's name.
        let mut config = Message::new().message(1, metadata).bytes(2, &self.hostname).bytes(3, logs).message(8, linux);
        for (key, value) in &self.annotations {
            config = config.entry(7, key, value);
        }
        config
    }
}

/// Where the logs of a pod's containers are.
fn logs(node: &Node, pod: &str) -> PathBuf {
    node.folder("logs").join(pod)
}

/// A pod whose sandbox runs.
pub struct Pod<'n> {
    node: &'n Node,
    name: String,
    id: String,
    config: Message,
    shape: Shape,
}

fn address(node: &Node) -> Address {
    Address { namespace: NAMESPACE.to_owned(), ..node.address() }
}

fn runtime(node: &Node, method: &str, request: Message) -> Result<Vec<u8>, Status> {
    address(node).call(&format!("runtime.v1.RuntimeService/{method}"), request.done(), PATIENCE)
}

/// Imports an image where the CRI looks for it, and waits until it does.
fn import(node: &Node, image: &Image) {
    let output = crate::ctr::foreground(
        node,
        ["--namespace", NAMESPACE, "images", "import", "-"],
        Some(image.to_tar()),
        PATIENCE,
    );
    assert!(output.code == 0, "cannot import {}: {output:#?}", image.name());
    let spec = Message::new().bytes(1, image.name());
    let asked = Message::new().message(1, spec).done();
    deadline::wait_until(PATIENCE, "the CRI to know the image", || {
        let answer = address(node).call("runtime.v1.ImageService/ImageStatus", asked.clone(), PATIENCE).ok()?;
        (!fields(&answer).bytes(1).is_empty()).then_some(())
    });
}

/// How a pod stands, as the kubelet is told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodStatus {
    /// `SANDBOX_READY`.
    pub ready: bool,
    /// Its address; empty in the host's network.
    pub ip: String,
    /// The process of the sandbox container, as the host sees it; 0 when there is none.
    pub pid: u32,
}

impl<'n> Pod<'n> {
    /// Runs a pod's sandbox.
    ///
    /// # Errors
    /// What containerd or the shim answered.
    pub fn try_run(node: &'n Node, name: &str, shape: Shape) -> Result<Self, Status> {
        import(node, &pause());
        let config = shape.config(node, name);
        fs::create_dir_all(logs(node, name)).expect("cannot make a folder");
        let request = Message::new().message(1, config.clone()).bytes(2, &shape.handler);
        let answer = runtime(node, "RunPodSandbox", request)?;
        let id = running::text(&fields(&answer), 1);
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

    fn ask(&self, method: &str) -> Result<Vec<u8>, Status> {
        runtime(self.node, method, Message::new().bytes(1, &self.id))
    }

    /// How it stands now.
    ///
    /// # Panics
    /// When the CRI does not say.
    pub fn status(&self) -> PodStatus {
        let request = Message::new().bytes(1, &self.id).number(2, 1);
        let answer = runtime(self.node, "PodSandboxStatus", request).unwrap_or_else(|status| panic!("{status}"));
        let answer = fields(&answer);
        let status = fields(answer.bytes(1));
        let ip = running::text(&fields(status.bytes(5)), 1);
        PodStatus { ready: status.number(3) == 0, ip, pid: running::pid(&answer, 2) }
    }

    /// The ids of its containers that the CRI lists, but for the sandbox container.
    ///
    /// # Panics
    /// When the CRI does not say.
    pub fn containers(&self) -> Vec<String> {
        let filter = Message::new().bytes(3, &self.id);
        let answer = runtime(self.node, "ListContainers", Message::new().message(1, filter));
        let answer = answer.unwrap_or_else(|status| panic!("{status}"));
        fields(&answer).all(1).map(|container| running::text(&fields(container), 1)).collect()
    }

    /// Stops it with its containers. Twice is as good.
    ///
    /// # Panics
    /// When the CRI refuses it.
    pub fn stop(&self) {
        self.ask("StopPodSandbox").unwrap_or_else(|status| panic!("StopPodSandbox: {status}"));
    }

    /// Where its containers' logs are.
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
        Order::new(self, name, image)
    }

    /// Stops and removes the pod with its containers.
    ///
    /// # Panics
    /// When the CRI refuses it.
    pub fn remove(self) {
        self.stop();
        self.ask("RemovePodSandbox").unwrap_or_else(|status| panic!("RemovePodSandbox: {status}"));
    }
}

/// A container that the CRI created: its record and its snapshot.
pub struct Created<'n> {
    node: &'n Node,
    id: String,
    /// The name of its image.
    image: String,
    /// The `Any` of the record.
    spec: Vec<u8>,
}

impl<'n> Created<'n> {
    /// The spec that the CRI wrote.
    pub fn spec(&self) -> Value {
        serde_json::from_slice(fields(&self.spec).bytes(2)).expect("the spec is no JSON")
    }

    /// Replaces the spec, for what of it is looked at by itself.
    pub fn change(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut spec = self.spec();
        edit(&mut spec);
        self.spec = Message::new().bytes(1, fields(&self.spec).bytes(1)).bytes(2, spec.to_string()).done();
    }

    /// The name that the CRI has put into the record for the image.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// Creates a task of our runtime from that spec, on that snapshot, by a record in the node's own namespace.
    ///
    /// # Errors
    /// What containerd or the shim answered. The record is removed then.
    pub fn try_task(&self) -> Result<Task<'n>, Status> {
        let Self { node, id, image, spec } = self;
        node.require(Runtime::Catamaran);
        leftovers::note_id(node.dir(), node.namespace(), id);
        let record = Message::new()
            .bytes(1, id)
            .bytes(3, image)
            .message(4, Message::new().bytes(1, Runtime::Catamaran.name()))
            .bytes(5, spec);
        let request = Message::new().message(1, record).done();
        node.address().call(&format!("{CONTAINERS}/Create"), request, PATIENCE)?;
        Task::create_on(&Container::new(node, id, Runtime::Catamaran), |_| {
            let asked = Message::new().bytes(1, "overlayfs").bytes(2, id).done();
            address(node).call("containerd.services.snapshots.v1.Snapshots/Mounts", asked, PATIENCE)
        })
    }
}
