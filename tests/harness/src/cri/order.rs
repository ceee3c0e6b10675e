//! The order for a container of a pod, in the words of Kubernetes.

use std::fs;
use std::path::Path;

use super::{CONTAINERS, Created, NAMESPACE, Pod, Running, address, import, runtime};
use crate::api::containers::{GetContainerRequest, GetContainerResponse};
use crate::api::cri::containers::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, CreateContainerResponse, Device, HugepageLimit,
    KeyValue, LinuxContainerConfig, LinuxContainerResources, Mount, MountPropagation,
};
use crate::api::cri::images::ImageSpec;
use crate::api::cri::security::LinuxContainerSecurityContext;
use crate::deadline::PATIENCE;
use crate::grpc::Status;
use crate::image::Image;
use crate::leftovers;

/// `MountPropagation`, as a pod's volume mount says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "Kubernetes' own words")]
pub enum Propagation {
    None,
    HostToContainer,
    Bidirectional,
}

/// A container of a pod in the making, in the words of Kubernetes.
#[derive(Clone)]
pub struct Order<'n, 'p> {
    pod: &'p Pod<'n>,
    name: String,
    attempt: u32,
    image: String,
    /// The image's name as the pod's author wrote it, if the kubelet sends it beside an ID.
    words: String,
    config: ContainerConfig,
    resources: LinuxContainerResources,
    pub(super) security: LinuxContainerSecurityContext,
}

impl<'n, 'p> Order<'n, 'p> {
    pub(super) fn new(pod: &'p Pod<'n>, name: &str, image: &str) -> Self {
        Self {
            pod,
            name: name.to_owned(),
            attempt: 0,
            image: image.to_owned(),
            words: String::new(),
            config: ContainerConfig::default(),
            resources: LinuxContainerResources::default(),
            security: LinuxContainerSecurityContext {
                namespace_options: Some(pod.shape.namespaces()),
                ..LinuxContainerSecurityContext::default()
            },
        }
    }

    /// The image as the kubelet sends it: the resolved name, and the name in the pod as its author wrote it.
    #[must_use]
    pub fn image(mut self, resolved: &str, words: &str) -> Self {
        (self.image, self.words) = (resolved.to_owned(), words.to_owned());
        self
    }

    /// `command`: in place of the image's entrypoint.
    #[must_use]
    pub fn command<'w>(mut self, words: impl IntoIterator<Item = &'w str>) -> Self {
        self.config.command.extend(words.into_iter().map(str::to_owned));
        self
    }

    /// `args`: the words after the image's entrypoint.
    #[must_use]
    pub fn args<'w>(mut self, words: impl IntoIterator<Item = &'w str>) -> Self {
        self.config.args.extend(words.into_iter().map(str::to_owned));
        self
    }

    /// `workingDir`.
    #[must_use]
    pub fn workdir(mut self, path: &str) -> Self {
        self.config.working_dir = path.to_owned();
        self
    }

    /// `env`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.config.envs.push(KeyValue { key: name.to_owned(), value: value.as_bytes().to_vec() });
        self
    }

    /// `stdin`, and `stdinOnce`.
    #[must_use]
    pub fn stdin(mut self, once: bool) -> Self {
        (self.config.stdin, self.config.stdin_once) = (true, once);
        self
    }

    /// `tty`.
    #[must_use]
    pub fn tty(mut self) -> Self {
        self.config.tty = true;
        self
    }

    /// A mount as the kubelet sends it: the machine's path, the container's path, and whether it is read-only.
    #[must_use]
    pub fn mount(mut self, source: &Path, destination: &str, readonly: bool, propagation: Propagation) -> Self {
        let propagation = match propagation {
            Propagation::None => MountPropagation::Private,
            Propagation::HostToContainer => MountPropagation::HostToContainer,
            Propagation::Bidirectional => MountPropagation::Bidirectional,
        };
        self.config.mounts.push(Mount { readonly, propagation: propagation.into(), ..mount(source, destination) });
        self
    }

    /// `recursiveReadOnly: Enabled`.
    #[must_use]
    pub fn recursively_readonly(mut self, source: &Path, destination: &str) -> Self {
        let mount = Mount { readonly: true, recursive_read_only: true, ..mount(source, destination) };
        self.config.mounts.push(mount);
        self
    }

    /// A volume that is an image.
    #[must_use]
    pub fn image_volume(mut self, image: &Image, destination: &str) -> Self {
        import(self.pod.node, image);
        let image = ImageSpec { image: image.name().to_owned(), ..ImageSpec::default() };
        self.config.mounts.push(Mount { readonly: true, image: Some(image), ..mount(Path::new(""), destination) });
        self
    }

    /// A device of the node's, as a device plugin requests it.
    #[must_use]
    pub fn device(mut self, path: &str) -> Self {
        let (container_path, host_path) = (path.to_owned(), path.to_owned());
        self.config.devices.push(Device { container_path, host_path, permissions: "rwm".to_owned() });
        self
    }

    /// `resources`, as the kubelet turns requests and limits into them: bytes, CPU shares, and microseconds in 100 ms.
    #[must_use]
    pub fn limits(mut self, memory: u64, shares: u64, quota: u64) -> Self {
        let LinuxContainerResources { hugepage_limits, unified, .. } = self.resources;
        let limits = resources(memory, shares, quota);
        self.resources = LinuxContainerResources { oom_score_adj: 1000, hugepage_limits, unified, ..limits };
        self
    }

    /// A limit of huge pages: `hugepages-2Mi: 0`, which the kubelet sends with every limit.
    #[must_use]
    pub fn hugepages(mut self, size: &str, limit: u64) -> Self {
        self.resources.hugepage_limits.push(HugepageLimit { page_size: size.to_owned(), limit });
        self
    }

    /// A key of cgroup v2 by its own name, such as the kubelet's `memory.oom.group`.
    #[must_use]
    pub fn unified(mut self, key: &str, value: &str) -> Self {
        self.resources.unified.insert(key.to_owned(), value.to_owned());
        self
    }

    /// A label of the container, as the kubelet makes them.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.config.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// `metadata.annotations` of this container alone, which the kubelet never sends: a pod's annotations are in its
    /// [`Shape`](super::Shape).
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.config.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    fn ask(&self) -> Result<String, Status> {
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: self.name.clone(), attempt: self.attempt }),
            image: Some(ImageSpec { image: self.image.clone(), user_specified_image: self.words.clone() }),
            log_path: self.log(),
            linux: Some(LinuxContainerConfig {
                resources: Some(self.resources.clone()),
                security_context: Some(self.security.clone()),
            }),
            ..self.config.clone()
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: self.pod.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.pod.config.clone()),
        };
        let CreateContainerResponse { container_id: id } = runtime(self.pod.node, "CreateContainer", &request)?;
        leftovers::note_id(self.pod.node.dir(), NAMESPACE, &id);
        Ok(id)
    }

    /// The log's path below the pod's folder, named as the kubelet names it.
    fn log(&self) -> String {
        format!("{}/{}.log", self.name, self.attempt)
    }

    /// Which restart of the container this is, from 0 on.
    #[must_use]
    pub fn attempt(mut self, number: u32) -> Self {
        self.attempt = number;
        self
    }

    /// Creates it for the CRI to start.
    ///
    /// # Errors
    /// containerd's answer: the shim hears of the container only when it is started.
    pub fn try_ready(self) -> Result<Running<'n>, Status> {
        let log = self.pod.logs().join(self.log());
        fs::create_dir_all(log.parent().expect("a file in a folder")).expect("cannot make a folder");
        Ok(Running { node: self.pod.node, id: self.ask()?, log })
    }

    /// As [`Order::try_ready`].
    ///
    /// # Panics
    /// When the CRI refuses it.
    pub fn ready(self) -> Running<'n> {
        let name = self.name.clone();
        self.try_ready().unwrap_or_else(|status| panic!("no container {name}: {status}"))
    }

    /// Creates and starts it.
    ///
    /// # Panics
    /// When the CRI refuses either.
    pub fn start(self) -> Running<'n> {
        let running = self.ready();
        running.start();
        running
    }

    /// Creates it, without a start by the CRI.
    ///
    /// # Panics
    /// When the CRI refuses it, and when its record cannot be read back.
    pub fn create(self) -> Created<'n> {
        let node = self.pod.node;
        let id = self.ask().unwrap_or_else(|status| panic!("no container {}: {status}", self.name));
        let answer: GetContainerResponse = address(node)
            .call(&format!("{CONTAINERS}/Get"), &GetContainerRequest { id: id.clone() }, PATIENCE)
            .unwrap_or_else(|status| panic!("no record of {}: {status}", self.name));
        let record = answer.container.unwrap_or_default();
        Created { node, id, image: record.image, spec: record.spec.expect("a record without a spec") }
    }
}

fn mount(source: &Path, destination: &str) -> Mount {
    let (container_path, host_path) = (destination.to_owned(), source.display().to_string());
    Mount { container_path, host_path, ..Mount::default() }
}

/// Bytes, CPU shares, and microseconds in 100 ms.
pub(super) fn resources(memory: u64, shares: u64, quota: u64) -> LinuxContainerResources {
    LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: quota.cast_signed(),
        cpu_shares: shares.cast_signed(),
        memory_limit_in_bytes: memory.cast_signed(),
        ..LinuxContainerResources::default()
    }
}
