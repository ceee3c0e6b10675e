//! Configures the programs of the cluster.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cluster::NODE;

/// Probes by HTTP/2 in clear are an alpha of Kubernetes 1.37.
const FEATURES: &str = "--feature-gates=H2CContainerProbe=true";
/// The addresses of services. Nothing routes them: there is no service proxy.
const SERVICES: &str = "198.18.0.0/16";
/// The free space, of each kind, below which the kubelet evicts pods.
const HARD: [(&str, &str); 3] = [("memory.available", "50Mi"), ("nodefs.available", "1%"), ("imagefs.available", "1%")];

/// The cluster's folder, address and ports.
pub(crate) struct Settings {
    pub(crate) dir: PathBuf,
    pub(crate) address: Ipv4Addr,
    pub(crate) cgroup: String,
    pub(crate) etcd: u16,
    pub(crate) etcd_peer: u16,
    pub(crate) apiserver: u16,
    pub(crate) kubelet: u16,
}

impl Settings {
    fn key(&self, file: &str) -> String {
        self.dir.join("keys").join(file).display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    pub(crate) fn server(&self) -> String {
        format!("https://{}:{}", self.address, self.apiserver)
    }

    /// Writes a kubeconfig for the holder of these keys, and returns its path.
    pub(crate) fn kubeconfig(&self, holder: &str) -> PathBuf {
        let user = json!({
            "client-certificate": self.key(&format!("{holder}.crt")),
            "client-key": self.key(&format!("{holder}.key")),
        });
        let cluster = json!({ "server": self.server(), "certificate-authority": self.key("ca.crt") });
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "catamaran", "cluster": cluster }],
            "users": [{ "name": holder, "user": user }],
            "contexts": [{ "name": "catamaran", "context": { "cluster": "catamaran", "user": holder } }],
            "current-context": "catamaran",
        });
        let path = self.dir.join(format!("{holder}.kubeconfig"));
        write(&path, &config);
        path
    }

    pub(crate) fn etcd(&self) -> Vec<String> {
        let (client, peer) =
            (format!("https://127.0.0.1:{}", self.etcd), format!("https://127.0.0.1:{}", self.etcd_peer));
        let mut words = vec![
            format!("--data-dir={}", self.path("etcd")),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            // The data goes with the cluster.
            "--unsafe-no-fsync".to_owned(),
        ];
        for peer in ["", "peer-"] {
            words.push(format!("--{peer}cert-file={}", self.key("etcd.crt")));
            words.push(format!("--{peer}key-file={}", self.key("etcd.key")));
            words.push(format!("--{peer}trusted-ca-file={}", self.key("ca.crt")));
            words.push(format!("--{peer}client-cert-auth"));
        }
        words
    }

    pub(crate) fn apiserver(&self) -> Vec<String> {
        vec![
            format!("--etcd-servers=https://127.0.0.1:{}", self.etcd),
            format!("--etcd-cafile={}", self.key("ca.crt")),
            format!("--etcd-certfile={}", self.key("etcd.crt")),
            format!("--etcd-keyfile={}", self.key("etcd.key")),
            format!("--bind-address={}", self.address),
            format!("--advertise-address={}", self.address),
            format!("--secure-port={}", self.apiserver),
            format!("--tls-cert-file={}", self.key("apiserver.crt")),
            format!("--tls-private-key-file={}", self.key("apiserver.key")),
            format!("--client-ca-file={}", self.key("ca.crt")),
            format!("--kubelet-client-certificate={}", self.key("apiserver-client.crt")),
            format!("--kubelet-client-key={}", self.key("apiserver-client.key")),
            format!("--kubelet-certificate-authority={}", self.key("ca.crt")),
            // No name server knows the node's name.
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", self.key("service-accounts.key")),
            format!("--service-account-signing-key-file={}", self.key("service-accounts.key")),
            format!("--service-cluster-ip-range={SERVICES}"),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            FEATURES.to_owned(),
        ]
    }

    pub(crate) fn controller_manager(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.kubeconfig("controller-manager").display()),
            format!("--service-account-private-key-file={}", self.key("service-accounts.key")),
            format!("--root-ca-file={}", self.key("ca.crt")),
            "--use-service-account-credentials".to_owned(),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ]
    }

    pub(crate) fn scheduler(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.kubeconfig("scheduler").display()),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ]
    }

    pub(crate) fn kubelet(&self, socket: &Path) -> Vec<String> {
        let config = self.dir.join("kubelet.json");
        write(&config, &self.kubelet_configuration(socket));
        vec![
            format!("--config={}", config.display()),
            format!("--kubeconfig={}", self.kubeconfig("kubelet").display()),
            format!("--root-dir={}", self.path("kubelet")),
            format!("--cert-dir={}", self.path("kubelet-keys")),
            format!("--hostname-override={NODE}"),
            FEATURES.to_owned(),
            format!("--node-ip={}", self.address),
        ]
    }

    fn kubelet_configuration(&self, socket: &Path) -> Value {
        let resolver = self.dir.join("resolv.conf");
        fs::write(&resolver, format!("nameserver {}\n", self.address)).expect("cannot write");
        let hard: serde_json::Map<String, Value> =
            HARD.into_iter().map(|(what, least)| (what.to_owned(), least.into())).collect();
        json!({
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "address": self.address,
            "port": self.kubelet,
            "healthzPort": 0,
            "tlsCertFile": self.key("kubelet-serving.crt"),
            "tlsPrivateKeyFile": self.key("kubelet-serving.key"),
            "authentication": {
                "anonymous": { "enabled": false },
                "webhook": { "enabled": true },
                "x509": { "clientCAFile": self.key("ca.crt") },
            },
            "authorization": { "mode": "Webhook" },
            "containerRuntimeEndpoint": format!("unix://{}", socket.display()),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.cgroup,
            "failCgroupV1": false,
            "failSwapOn": false,
            "makeIPTablesUtilChains": false,
            // A lower one is refused if root lacks CAP_SYS_RESOURCE.
            "oomScoreAdj": 0,
            "podLogsDir": self.path("pod-logs"),
            "volumePluginDir": self.path("volume-plugins"),
            "resolvConf": resolver,
            "evictionHard": hard,
            // Images are imported, and a collected one would not come back.
            "imageGCHighThresholdPercent": 100,
            "syncFrequency": "10s",
        })
    }
}

/// A free port of loopback or the bridge.
pub(crate) fn free_port(address: Ipv4Addr) -> u16 {
    let listener = std::net::TcpListener::bind((address, 0)).expect("no port is free");
    listener.local_addr().expect("an address").port()
}

fn write(path: &Path, value: &Value) {
    fs::write(path, value.to_string()).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
