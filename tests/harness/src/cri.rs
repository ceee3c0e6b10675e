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

use std::path::Path;

use serde_json::Value;

use crate::config::Options;
use crate::container::Container;
use crate::deadline::{self, PATIENCE};
use crate::grpc::{Address, Status};
use crate::image::Image;
use crate::node::{Node, Runtime};
use crate::task::Task;
use crate::wire::{Message, fields};
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

/// `SecurityProfile`: which filter of system calls is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// The runtime's own.
    RuntimeDefault,
    /// None.
    Unconfined,
}

/// `MountPropagation`, as a pod's volume mount says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "Kubernetes' own words")]
pub enum Propagation {
    None,
    HostToContainer,
    Bidirectional,
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
    let output = crate::container::foreground(
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
        let security = Message::new().message(3, self.shape.namespaces());
        Order {
            pod: self,
            name: name.to_owned(),
            image: image.name().to_owned(),
            config: Message::new(),
            resources: Message::new(),
            security,
        }
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

/// A container of a pod in the making, in the words of Kubernetes.
#[derive(Clone)]
pub struct Order<'n, 'p> {
    pod: &'p Pod<'n>,
    name: String,
    image: String,
    config: Message,
    resources: Message,
    security: Message,
}

impl<'n> Order<'n, '_> {
    /// `args`: what stands behind the image's entrypoint.
    #[must_use]
    pub fn args<'w>(mut self, words: impl IntoIterator<Item = &'w str>) -> Self {
        for word in words {
            self.config = self.config.bytes(4, word);
        }
        self
    }

    /// `env`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.config = self.config.entry(6, name, value);
        self
    }

    /// A mount as the kubelet sends it: what of the machine, where, and whether read-only.
    #[must_use]
    pub fn mount(mut self, source: &Path, destination: &str, readonly: bool, propagation: Propagation) -> Self {
        let number = match propagation {
            Propagation::None => 0,
            Propagation::HostToContainer => 1,
            Propagation::Bidirectional => 2,
        };
        let source = source.display().to_string();
        let mount = Message::new().bytes(1, destination).bytes(2, source).number(3, readonly.into()).number(5, number);
        self.config = self.config.message(7, mount);
        self
    }

    /// `recursiveReadOnly: Enabled`.
    #[must_use]
    pub fn recursively_readonly(mut self, source: &Path, destination: &str) -> Self {
        let source = source.display().to_string();
        let mount = Message::new().bytes(1, destination).bytes(2, source).number(3, 1).number(8, 1);
        self.config = self.config.message(7, mount);
        self
    }

    /// `runAsUser`, `runAsGroup`.
    #[must_use]
    pub fn user(mut self, uid: u64, gid: u64) -> Self {
        let id = |id| Message::new().number(1, id);
        self.security = self.security.message(5, id(uid)).message(12, id(gid));
        self
    }

    /// `supplementalGroups` and `fsGroup`: both come as this.
    #[must_use]
    pub fn group(mut self, gid: u64) -> Self {
        self.security = self.security.number(8, gid);
        self
    }

    /// `readOnlyRootFilesystem`.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.security = self.security.number(7, 1);
        self
    }

    /// `allowPrivilegeEscalation: false`.
    #[must_use]
    pub fn no_escalation(mut self) -> Self {
        self.security = self.security.number(11, 1);
        self
    }

    /// `privileged`.
    #[must_use]
    pub fn privileged(mut self) -> Self {
        self.security = self.security.number(2, 1);
        self
    }

    /// `seccompProfile`.
    #[must_use]
    pub fn seccomp(mut self, profile: Seccomp) -> Self {
        let kind = u64::from(profile == Seccomp::Unconfined);
        self.security = self.security.message(15, Message::new().number(1, kind));
        self
    }

    /// `capabilities`.
    #[must_use]
    pub fn capabilities(mut self, add: &[&str], drop: &[&str]) -> Self {
        let mut capabilities = Message::new();
        for name in add {
            capabilities = capabilities.bytes(1, name);
        }
        for name in drop {
            capabilities = capabilities.bytes(2, name);
        }
        self.security = self.security.message(1, capabilities);
        self
    }

    /// The masked and read-only paths that the kubelet sends with `procMount: Default`.
    #[must_use]
    pub fn default_paths(mut self) -> Self {
        for path in ["asound", "acpi", "interrupts", "kcore", "keys", "latency_stats", "timer_list", "timer_stats"] {
            self.security = self.security.bytes(13, format!("/proc/{path}"));
        }
        for path in ["/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"] {
            self.security = self.security.bytes(13, path);
        }
        for path in ["bus", "fs", "irq", "sys", "sysrq-trigger"] {
            self.security = self.security.bytes(14, format!("/proc/{path}"));
        }
        self
    }

    /// `resources`, as the kubelet turns requests and limits into them: bytes, CPU shares, and microseconds in 100 ms.
    #[must_use]
    pub fn limits(mut self, memory: u64, shares: u64, quota: u64) -> Self {
        self.resources =
            self.resources.number(1, 100_000).number(2, quota).number(3, shares).number(4, memory).number(5, 1000);
        self
    }

    /// A limit of huge pages: `hugepages-2Mi: 0`, which the kubelet sends with every limit.
    #[must_use]
    pub fn hugepages(mut self, size: &str, limit: u64) -> Self {
        self.resources = self.resources.message(8, Message::new().bytes(1, size).number(2, limit));
        self
    }

    /// A key of cgroup v2's by its own name, such as the kubelet's `memory.oom.group`.
    #[must_use]
    pub fn unified(mut self, key: &str, value: &str) -> Self {
        self.resources = self.resources.entry(9, key, value);
        self
    }

    /// Creates it, without a start.
    ///
    /// # Panics
    /// When the CRI refuses it, and when its record cannot be read back.
    pub fn create(self) -> Created<'n> {
        let node = self.pod.node;
        let linux = Message::new().message(1, self.resources).message(2, self.security);
        let config = self
            .config
            .message(1, Message::new().bytes(1, &self.name))
            .message(2, Message::new().bytes(1, &self.image))
            .message(15, linux);
        let request = Message::new().bytes(1, &self.pod.id).message(2, config).message(3, self.pod.config.clone());
        let answer = runtime(node, "CreateContainer", request)
            .unwrap_or_else(|status| panic!("no container {}: {status}", self.name));
        let id = String::from_utf8_lossy(fields(&answer).bytes(1)).into_owned();
        let asked = Message::new().bytes(1, &id).done();
        let answer = address(node)
            .call(&format!("{CONTAINERS}/Get"), asked, PATIENCE)
            .unwrap_or_else(|status| panic!("no record of {}: {status}", self.name));
        let spec = fields(fields(&answer).bytes(1)).bytes(5).to_vec();
        Created { node, id, spec }
    }
}

/// A container that the CRI created: its record and its snapshot.
pub struct Created<'n> {
    node: &'n Node,
    id: String,
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

    /// Creates a task of our runtime from that spec, on that snapshot, by a record in the node's own namespace.
    ///
    /// # Errors
    /// What containerd or the shim answered. The record is removed then.
    pub fn try_task(&self) -> Result<Task<'n>, Status> {
        let Self { node, id, spec } = self;
        node.require(Runtime::Catamaran);
        leftovers::note_id(node.dir(), node.namespace(), id);
        let record =
            Message::new().bytes(1, id).message(4, Message::new().bytes(1, Runtime::Catamaran.name())).bytes(5, spec);
        let request = Message::new().message(1, record).done();
        node.address().call(&format!("{CONTAINERS}/Create"), request, PATIENCE)?;
        Task::create_on(&Container::new(node, id, Runtime::Catamaran), |_| {
            let asked = Message::new().bytes(1, "overlayfs").bytes(2, id).done();
            address(node).call("containerd.services.snapshots.v1.Snapshots/Mounts", asked, PATIENCE)
        })
    }
}
