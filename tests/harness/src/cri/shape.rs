//! A pod's wishes, in the words of Kubernetes.

use super::{CONTAINER, NODE, POD, logs};
use crate::wire::Message;
use crate::{Engine, Node};

/// How a pod differs from the ordinary one.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// The handler of the node's configuration; an empty name means the default one, runc.
    pub handler: String,
    /// A network of the pod's own, instead of the host's.
    pub network: bool,
    /// `shareProcessNamespace`.
    pub shared_pid: bool,
    /// `hostname`.
    pub hostname: String,
    /// `metadata.labels`.
    pub labels: Vec<(String, String)>,
    /// `metadata.annotations`.
    pub annotations: Vec<(String, String)>,
    /// `hostPID`.
    pub host_pid: bool,
    /// `hostIPC`.
    pub host_ipc: bool,
    /// `hostUsers: false`: the first user of the host's range, and the range's length.
    pub users: Option<(u64, u64)>,
    /// A pod may hold privileged containers only if it is privileged itself.
    pub privileged: bool,
    /// `securityContext.sysctls`.
    pub sysctls: Vec<(String, String)>,
    /// `dnsConfig`, as the kubelet resolves it; if None, the node's own.
    pub dns: Option<Dns>,
    /// `containerPort` of the containers, TCP.
    pub ports: Vec<u64>,
}

/// `DNSConfig`: the content of the pod's resolv.conf.
#[derive(Clone, Debug, Default)]
pub struct Dns {
    /// `nameservers`.
    pub servers: Vec<String>,
    /// `searches`.
    pub searches: Vec<String>,
    /// `options`.
    pub options: Vec<String>,
}

impl Shape {
    /// A pod with `runtimeClassName: catamaran` and a network of its own.
    pub fn wasm() -> Self {
        Self { handler: "catamaran".to_owned(), network: true, ..Self::default() }
    }

    /// The same, with all containers on this engine.
    pub fn on(engine: Engine) -> Self {
        Self::wasm().annotation("catamaran.wasm/engine", engine.name())
    }

    /// The same, with an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The same, with a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// `NamespaceOption`: of the pod, and of each of its containers.
    pub(super) fn namespaces(&self) -> Message {
        let network = if self.network { POD } else { NODE };
        let ipc = if self.host_ipc { NODE } else { POD };
        // Kubernetes asks for a pid namespace of each container's own unless told otherwise.
        let pid = match (self.host_pid, self.shared_pid) {
            (true, _) => NODE,
            (false, true) => POD,
            (false, false) => CONTAINER,
        };
        let namespaces = Message::new().number(1, network).number(2, pid).number(3, ipc);
        match self.users {
            None => namespaces,
            Some((first, length)) => {
                let mapping = || Message::new().number(1, first).number(2, 0).number(3, length);
                namespaces.message(5, Message::new().number(1, POD).message(2, mapping()).message(3, mapping()))
            }
        }
    }

    /// `PodSandboxConfig`.
    pub(super) fn config(&self, node: &Node, name: &str) -> Message {
        let metadata = Message::new().bytes(1, name).bytes(2, format!("{name}-uid")).bytes(3, "default");
        let security = Message::new().message(1, self.namespaces()).number(6, self.privileged.into());
        // The cgroups bear the node's tag, so that the node finds them.
        let mut linux = Message::new().bytes(1, format!("/{}", node.namespace())).message(2, security);
        for (key, value) in &self.sysctls {
            linux = linux.entry(3, key, value);
        }
        let logs = logs(node, name).display().to_string();
        // A pod in the host's network has the host's name.
        let mut config = Message::new().message(1, metadata).bytes(2, &self.hostname).bytes(3, logs).message(8, linux);
        if let Some(dns) = &self.dns {
            config = config.message(4, dns.config());
        }
        for port in &self.ports {
            config = config.message(5, Message::new().number(2, *port));
        }
        for (key, value) in &self.labels {
            config = config.entry(6, key, value);
        }
        for (key, value) in &self.annotations {
            config = config.entry(7, key, value);
        }
        config
    }
}

impl Dns {
    fn config(&self) -> Message {
        let mut config = Message::new();
        for (field, words) in [(1, &self.servers), (2, &self.searches), (3, &self.options)] {
            for word in words {
                config = config.bytes(field, word);
            }
        }
        config
    }
}
