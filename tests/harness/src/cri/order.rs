//! The order for a container of a pod, in the words of Kubernetes.

use std::fs;
use std::path::Path;

use super::{CONTAINERS, Created, NAMESPACE, Pod, Running, address, import, runtime};
use crate::deadline::PATIENCE;
use crate::grpc::Status;
use crate::image::Image;
use crate::leftovers;
use crate::wire::{Message, fields};

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
    attempt: u64,
    image: String,
    /// The author's name for the image, if the kubelet sends an ID beside it.
    words: String,
    config: Message,
    resources: Message,
    pub(super) security: Message,
}

impl<'n, 'p> Order<'n, 'p> {
    pub(super) fn new(pod: &'p Pod<'n>, name: &str, image: &str) -> Self {
        Self {
            pod,
            name: name.to_owned(),
            attempt: 0,
            image: image.to_owned(),
            words: String::new(),
            config: Message::new(),
            resources: Message::new(),
            security: Message::new().message(3, pod.shape.namespaces()),
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
        for word in words {
            self.config = self.config.word(3, word);
        }
        self
    }

    /// `args`: the words after the image's entrypoint.
    #[must_use]
    pub fn args<'w>(mut self, words: impl IntoIterator<Item = &'w str>) -> Self {
        for word in words {
            self.config = self.config.word(4, word);
        }
        self
    }

    /// `workingDir`.
    #[must_use]
    pub fn workdir(mut self, path: &str) -> Self {
        self.config = self.config.bytes(5, path);
        self
    }

    /// `env`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.config = self.config.entry(6, name, value);
        self
    }

    /// `stdin`, and `stdinOnce`.
    #[must_use]
    pub fn stdin(mut self, once: bool) -> Self {
        self.config = self.config.number(12, 1).number(13, once.into());
        self
    }

    /// `tty`.
    #[must_use]
    pub fn tty(mut self) -> Self {
        self.config = self.config.number(14, 1);
        self
    }

    /// A mount as the kubelet sends it: the machine's path, the container's path, and whether it is read-only.
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

    /// A volume that is an image.
    #[must_use]
    pub fn image_volume(mut self, image: &Image, destination: &str) -> Self {
        import(self.pod.node, image);
        let image = Message::new().bytes(1, image.name());
        self.config = self.config.message(7, Message::new().bytes(1, destination).number(3, 1).message(9, image));
        self
    }

    /// A device of the node's, as a device plugin requests it.
    #[must_use]
    pub fn device(mut self, path: &str) -> Self {
        self.config = self.config.message(8, Message::new().bytes(1, path).bytes(2, path).bytes(3, "rwm"));
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

    /// A key of cgroup v2 by its own name, such as the kubelet's `memory.oom.group`.
    #[must_use]
    pub fn unified(mut self, key: &str, value: &str) -> Self {
        self.resources = self.resources.entry(9, key, value);
        self
    }

    /// A label of the container, as the kubelet makes them.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.config = self.config.entry(9, key, value);
        self
    }

    /// `metadata.annotations` of this container alone, which the kubelet never sends: a pod's annotations are in its
    /// [`Shape`](super::Shape).
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.config = self.config.entry(10, key, value);
        self
    }

    fn ask(&self) -> Result<String, Status> {
        let linux = Message::new().message(1, self.resources.clone()).message(2, self.security.clone());
        let config = self
            .config
            .clone()
            .message(1, Message::new().bytes(1, &self.name).number(2, self.attempt))
            .message(2, Message::new().bytes(1, &self.image).bytes(18, &self.words))
            .bytes(11, self.log())
            .message(15, linux);
        let request = Message::new().bytes(1, &self.pod.id).message(2, config).message(3, self.pod.config.clone());
        let answer = runtime(self.pod.node, "CreateContainer", request)?;
        let id = String::from_utf8_lossy(fields(&answer).bytes(1)).into_owned();
        leftovers::note_id(self.pod.node.dir(), NAMESPACE, &id);
        Ok(id)
    }

    /// The log's path below the pod's folder, named as the kubelet names it.
    fn log(&self) -> String {
        format!("{}/{}.log", self.name, self.attempt)
    }

    /// Which restart of the container this is, from 0 on.
    #[must_use]
    pub fn attempt(mut self, number: u64) -> Self {
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
        let asked = Message::new().bytes(1, &id).done();
        let answer = address(node)
            .call(&format!("{CONTAINERS}/Get"), asked, PATIENCE)
            .unwrap_or_else(|status| panic!("no record of {}: {status}", self.name));
        let record = fields(fields(&answer).bytes(1));
        let image = String::from_utf8_lossy(record.bytes(3)).into_owned();
        Created { node, id, image, spec: record.bytes(5).to_vec() }
    }
}
