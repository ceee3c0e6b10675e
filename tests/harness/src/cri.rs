//! Pods by the CRI, for the specs that containerd writes for Kubernetes' containers.
//!
//! ```text
//! Pod::run --RunPodSandbox--> a sandbox on runc, in the host's network
//!    |- order(): Order --CreateContainer--> Created   the record with its spec, never started by the CRI
//!    |                                       `- try_task(): Task   that very spec, on our runtime, in the node's namespace
//!    `- remove --StopPodSandbox, RemovePodSandbox-->
//! ```
//!
//! Field numbers are those of `k8s.io/cri-api`, `runtime.v1`. A node for it is started with [`options`].

mod order;

use serde_json::Value;

pub use order::{Order, Propagation, Seccomp};

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
/// `NamespaceMode`: one's own, the pod's being 0.
const CONTAINER: u64 = 1;
/// `NamespaceMode`: the host's.
const NODE: u64 = 2;

fn pause() -> Image {
    Image::new("pause").file("/sleep", guests::peer()).entrypoint(["/sleep"])
}

/// A node that serves the CRI, with a sandbox image of the harness's own.
pub fn options() -> Options {
    let pinned = format!("[plugins.'io.containerd.cri.v1.images'.pinned_images]\n  sandbox = '{}'", pause().name());
    Options::new().cri().config(&pinned)
}

/// What of a pod is not the ordinary one.
#[derive(Clone, Debug, Default)]
pub struct Shape {
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
    fn namespaces(&self) -> Message {
        let ipc = if self.host_ipc { NODE } else { 0 };
        // Kubernetes asks for a pid namespace of each container's own unless told otherwise.
        let pid = if self.host_pid { NODE } else { CONTAINER };
        Message::new().number(1, NODE).number(2, pid).number(3, ipc)
    }
}

/// A pod whose sandbox runs.
pub struct Pod<'n> {
    node: &'n Node,
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

/// Runs a sandbox of a handler of the node's configuration, for what is said of it: one that runs is stopped and removed.
///
/// # Errors
/// What containerd or the shim answered.
pub fn try_sandbox(node: &Node, name: &str, handler: &str) -> Result<(), Status> {
    import(node, &pause());
    let metadata = Message::new().bytes(1, name).bytes(2, format!("{name}-uid")).bytes(3, "default");
    let security = Message::new().message(1, Shape::default().namespaces());
    let linux = Message::new().bytes(1, format!("/{}", node.namespace())).message(2, security);
    let config = Message::new().message(1, metadata).message(8, linux);
    let answer = runtime(node, "RunPodSandbox", Message::new().message(1, config).bytes(2, handler))?;
    let id = String::from_utf8_lossy(fields(&answer).bytes(1)).into_owned();
    node.expect_id(NAMESPACE, &id);
    for method in ["StopPodSandbox", "RemovePodSandbox"] {
        runtime(node, method, Message::new().bytes(1, &id))?;
    }
    Ok(())
}

impl<'n> Pod<'n> {
    /// Runs a sandbox on runc.
    ///
    /// # Panics
    /// When the CRI refuses it.
    pub fn run(node: &'n Node, name: &str, shape: Shape) -> Self {
        import(node, &pause());
        let metadata = Message::new().bytes(1, name).bytes(2, format!("{name}-uid")).bytes(3, "default");
        let security = Message::new().message(1, shape.namespaces()).number(6, shape.privileged.into());
        // The cgroups bear the node's tag, by which they are found.
        let mut linux = Message::new().bytes(1, format!("/{}", node.namespace())).message(2, security);
        for (key, value) in &shape.sysctls {
            linux = linux.entry(3, key, value);
        }
        // No host name: one in the host's network has the host's.
        let config = Message::new().message(1, metadata).message(8, linux);
        let request = Message::new().message(1, config.clone()).bytes(2, "runc");
        let answer = runtime(node, "RunPodSandbox", request).unwrap_or_else(|status| panic!("no pod {name}: {status}"));
        let id = String::from_utf8_lossy(fields(&answer).bytes(1)).into_owned();
        node.expect_id(NAMESPACE, &id);
        Self { node, id, config, shape }
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
        for method in ["StopPodSandbox", "RemovePodSandbox"] {
            runtime(self.node, method, Message::new().bytes(1, &self.id))
                .unwrap_or_else(|status| panic!("{method}: {status}"));
        }
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
