//! A pod's wishes, in the words of Kubernetes.

use super::logs;
use crate::api::cri::pods::{DNSConfig, LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata, PortMapping};
use crate::api::cri::security::{
    IDMapping, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, UserNamespace,
};
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
    pub users: Option<(u32, u32)>,
    /// A pod may hold privileged containers only if it is privileged itself.
    pub privileged: bool,
    /// `securityContext.sysctls`.
    pub sysctls: Vec<(String, String)>,
    /// `dnsConfig`, as the kubelet resolves it; if None, the node's own.
    pub dns: Option<Dns>,
    /// `containerPort` of the containers, TCP.
    pub ports: Vec<i32>,
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

    /// The namespaces of the pod and of each of its containers.
    pub(super) fn namespaces(&self) -> NamespaceOption {
        let of_host = |is: bool| if is { NamespaceMode::Node } else { NamespaceMode::Pod };
        // Kubernetes asks for a pid namespace of each container's own unless told otherwise.
        let pid = match (self.host_pid, self.shared_pid) {
            (true, _) => NamespaceMode::Node,
            (false, true) => NamespaceMode::Pod,
            (false, false) => NamespaceMode::Container,
        };
        let users = self.users.map(|(host_id, length)| {
            let mapping = vec![IDMapping { host_id, container_id: 0, length }];
            UserNamespace { mode: NamespaceMode::Pod.into(), uids: mapping.clone(), gids: mapping }
        });
        NamespaceOption {
            network: of_host(!self.network).into(),
            pid: pid.into(),
            ipc: of_host(self.host_ipc).into(),
            userns_options: users,
        }
    }

    pub(super) fn config(&self, node: &Node, name: &str) -> PodSandboxConfig {
        let security =
            LinuxSandboxSecurityContext { namespace_options: Some(self.namespaces()), privileged: self.privileged };
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("{name}-uid"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            // A pod in the host's network has the host's name.
            hostname: self.hostname.clone(),
            log_directory: logs(node, name).display().to_string(),
            dns_config: self.dns.as_ref().map(Dns::config),
            port_mappings: self.ports.iter().map(|&container_port| PortMapping { container_port }).collect(),
            labels: self.labels.iter().cloned().collect(),
            annotations: self.annotations.iter().cloned().collect(),
            linux: Some(LinuxPodSandboxConfig {
                // The cgroups bear the node's tag, so that the node finds them.
                cgroup_parent: format!("/{}", node.namespace()),
                security_context: Some(security),
                sysctls: self.sysctls.iter().cloned().collect(),
            }),
        }
    }
}

impl Dns {
    fn config(&self) -> DNSConfig {
        let Self { servers, searches, options } = self.clone();
        DNSConfig { servers, searches, options }
    }
}
