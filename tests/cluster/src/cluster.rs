//! The cluster's start, use and end.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use catamaran_harness::cri::{self, Pod, PodFilter, Shape};
use catamaran_harness::{Example, Image, Node, Options, wait_until};
use rustix::mount::{UnmountFlags, unmount};

use crate::client::Client;
use crate::daemon::Daemon;
use crate::outside::{self, Outside};
use crate::programs::Kubernetes;
use crate::settings::{Settings, free_port};
use crate::space::Space;

/// The one node's name.
pub const NODE: &str = "catamaran";
/// How long a part of the cluster has to come up or to go.
const LIMIT: Duration = Duration::from_secs(60);
/// Settings that a kubelet changes when it starts.
const TUNABLES: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// A running cluster. Dropping it removes everything that belongs to it; Rust drops the fields in the order of their declaration.
pub struct Cluster {
    kubelet: Daemon,
    scheduler: Daemon,
    controllers: Daemon,
    apiserver: Daemon,
    etcd: Daemon,
    kubectl: Client,
    helm: Client,
    server: String,
    _outside: Outside,
    node: Node,
}

impl Cluster {
    /// Starts it, with the RuntimeClass of `runtimeclass/`, and returns when its node takes pods.
    ///
    /// # Panics
    /// When a part of it does not come up; the parts' logs are on stderr.
    pub fn start() -> Self {
        Self::start_with(cri::options())
    }

    /// The same on a containerd with options.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    pub fn start_with(options: Options) -> Self {
        let cluster = Self::of_node(|| Node::start_with(options.network()));
        cluster.kubectl.apply(include_str!("../../../runtimeclass/runtimeclass.yaml"));
        cluster
    }

    /// A cluster whose node has neither a handler of ours nor a RuntimeClass.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    pub fn start_bare() -> Self {
        Self::of_node(|| {
            let node = Node::start_with(cri::options().network());
            node.remove_handler();
            node
        })
    }

    fn of_node(start: impl FnOnce() -> Node) -> Self {
        let programs = Kubernetes::provide();
        let outside = Outside::take();
        let node = start();
        node.keep_sysctls(&TUNABLES);
        // The bridge comes with the first pod and stays; the API server listens on its address.
        Pod::run(&node, "bridge", Shape { network: true, ..Shape::default() }).remove();
        let settings = settings(&node);
        make_keys(programs, &settings);
        let admin = settings.kubeconfig("admin");
        let kubectl = Client::new(programs.program("kubectl"), admin.clone());
        let start = |name, args| Daemon::start(name, &programs.program(name), node.dir(), args);
        let etcd = Daemon::start("etcd", &programs.etcd, node.dir(), settings.etcd());
        let apiserver = start("kube-apiserver", settings.apiserver());
        wait_until(LIMIT, "the API server", || {
            [&etcd, &apiserver].into_iter().for_each(Daemon::expect_alive);
            (kubectl.run(["get", "--raw=/readyz"]).code == 0).then_some(())
        });
        let cluster = Self {
            kubelet: start("kubelet", settings.kubelet(&node.socket())),
            scheduler: start("kube-scheduler", settings.scheduler()),
            controllers: start("kube-controller-manager", settings.controller_manager()),
            apiserver,
            etcd,
            kubectl,
            helm: Client::new(programs.helm.clone(), admin),
            server: settings.server(),
            _outside: outside,
            node,
        };
        cluster.expect_ready();
        cluster
    }

    /// Waits until the node is ready for pods.
    ///
    /// # Panics
    /// When it is not ready within a minute.
    pub fn expect_ready(&self) {
        wait_until(LIMIT, "the node to take pods", || {
            self.daemons().into_iter().for_each(Daemon::expect_alive);
            let node = self.kubectl.try_get(&["node", NODE])?;
            let conditions = node["status"]["conditions"].as_array()?;
            let ready = conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
            (ready && node["spec"]["taints"].is_null()).then_some(())
        });
    }

    fn daemons(&self) -> [&Daemon; 5] {
        [&self.kubelet, &self.scheduler, &self.controllers, &self.apiserver, &self.etcd]
    }

    /// The node's containerd.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// `kubectl`, as the cluster's administrator.
    pub fn kubectl(&self) -> &Client {
        &self.kubectl
    }

    /// `helm`, as the same.
    pub fn helm(&self) -> &Client {
        &self.helm
    }

    /// The API server, as `https://ADDRESS:PORT`. Pods reach it there; nothing routes the address of its Service.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Imports an image where the kubelet finds it.
    pub fn import(&self, image: &Image) {
        cri::import_with(&self.node, image, &[]);
    }

    /// Imports an image where the kubelet finds it, under a name of its own such as `localhost/NAME:TAG`.
    pub fn import_as(&self, image: &Image, name: &str) {
        self.import(image);
        self.node.ctr_ok(["--namespace", "k8s.io", "images", "tag", "--force", image.name(), name]);
        wait_until(LIMIT, "the CRI to know the image", || cri::knows(&self.node, name).then_some(()));
    }

    /// Imports the image of a program of `examples/`, under the name in its manifest.
    pub fn import_example(&self, name: &str) {
        self.import_as(&Example::open(name).image(), &format!("localhost/{name}:latest"));
    }

    /// A namespace of its own, deleted when it is dropped.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn space(&self, name: &str) -> Space<'_> {
        Space::make(self, name)
    }

    /// Stops the kubelet with SIGTERM and starts it again.
    pub fn restart_kubelet(&self) {
        self.kubelet.stop();
        self.kubelet.launch();
    }

    /// Kills the kubelet, runs `work`, and starts the kubelet again.
    pub fn without_kubelet(&self, work: impl FnOnce()) {
        self.kubelet.kill();
        work();
        self.kubelet.launch();
    }

    /// Waits until no container runs any more. Records of ended pods stay for a while: the kubelet collects them once a minute.
    ///
    /// # Panics
    /// When some run after a minute.
    pub fn expect_no_tasks(&self) {
        wait_until(LIMIT, "the kubelet to end all containers", || {
            self.node.ctr_ok(["--namespace", "k8s.io", "tasks", "ls", "-q"]).is_empty().then_some(())
        });
    }

    /// Ends the cluster: nothing may be left of it.
    ///
    /// # Panics
    /// When something is left, with the list.
    pub fn finish(self) {
        for daemon in self.daemons() {
            daemon.kill();
        }
        for pod in cri::pods(&self.node, &PodFilter::default()) {
            self.node.expect_id("k8s.io", &pod.id);
        }
        cri::remove_pods(&self.node);
        remove_volumes_and_cgroups(&self.node);
        let Self {
            kubelet,
            scheduler,
            controllers,
            apiserver,
            etcd,
            kubectl: _,
            helm: _,
            server: _,
            _outside: outside,
            node,
        } = self;
        drop((kubelet, scheduler, controllers, apiserver, etcd, outside));
        let links = outside::links();
        assert!(links.is_empty(), "links to logs are left: {links:?}");
        node.finish();
    }
}

fn settings(node: &Node) -> Settings {
    let loopback = std::net::Ipv4Addr::LOCALHOST;
    let address = node.gateway();
    Settings {
        dir: node.dir().to_owned(),
        address,
        cgroup: node.cgroup_root(),
        etcd: free_port(loopback),
        etcd_peer: free_port(loopback),
        apiserver: free_port(address),
        kubelet: free_port(address),
    }
}

fn make_keys(programs: &Kubernetes, settings: &Settings) {
    use std::os::unix::fs::DirBuilderExt;

    let folder = settings.dir.join("keys");
    fs::DirBuilder::new().mode(0o700).create(&folder).expect("cannot make a folder");
    let made = Command::new(programs.program("keys")).arg(&folder).arg(settings.address.to_string()).status();
    assert!(made.expect("cannot run keys").success(), "keys failed; it says why above");
}

/// Removes what a killed kubelet leaves: mounted volumes, and the cgroups of its classes of pods.
fn remove_volumes_and_cgroups(node: &Node) {
    let left = node.leftovers();
    let below = |kind: &str, within: &str| -> Vec<PathBuf> {
        let paths = left.iter().filter_map(|line| line.strip_prefix(kind));
        paths.filter(|path| path.contains(within)).map(PathBuf::from).collect()
    };
    let volumes = node.dir().join("kubelet").display().to_string();
    for path in below("mount ", &volumes).iter().rev() {
        let unmounted = unmount(path, UnmountFlags::DETACH);
        unmounted.unwrap_or_else(|error| panic!("cannot unmount {}: {error}", path.display()));
    }
    let classes = format!("/{}/kubepods", node.namespace());
    for class in below("cgroup ", &classes) {
        remove_cgroup(&class);
    }
}

fn remove_cgroup(cgroup: &std::path::Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(cgroup);
}
