//! Runs each `examples/*/pod.yaml` as a kubelet would: its YAML in the CRI's words. Leaves out what a kubelet does by itself (probes,
//! restarts); fails on a field that is not known here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use catamaran_harness::cri::{self, Order, Pod, Propagation, Running, Shape};
use catamaran_harness::{Engine, Example, Image, Node, procfs};
use catamaran_integration::http::Client;
use serde::Deserialize;

const SOON: Duration = Duration::from_secs(20);
/// The first start of a module of some size.
const COMPILED: Duration = Duration::from_secs(60);
const ENGINE: &str = "catamaran.wasm/engine";

type Words = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
enum Document {
    ConfigMap {
        #[serde(rename = "apiVersion")]
        _version: String,
        metadata: Metadata,
        data: Words,
    },
    Pod {
        #[serde(rename = "apiVersion")]
        _version: String,
        metadata: Metadata,
        spec: PodSpec,
    },
    Service {
        #[serde(rename = "apiVersion")]
        _version: String,
        #[serde(rename = "metadata")]
        _metadata: Metadata,
        spec: ServiceSpec,
    },
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
    #[serde(default)]
    labels: Words,
    #[serde(default)]
    annotations: Words,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PodSpec {
    runtime_class_name: String,
    #[serde(default)]
    restart_policy: Option<String>,
    containers: Vec<Container>,
    #[serde(default)]
    volumes: Vec<Volume>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Container {
    name: String,
    image: String,
    #[serde(rename = "imagePullPolicy")]
    _pull: Option<String>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<Variable>,
    #[serde(default)]
    volume_mounts: Vec<VolumeMount>,
    #[serde(default)]
    resources: Resources,
    #[serde(default)]
    ports: Vec<Port>,
    security_context: SecurityContext,
    // Fields for the kubelet alone.
    #[serde(rename = "lifecycle")]
    _lifecycle: Option<serde_yaml::Value>,
    #[serde(rename = "livenessProbe")]
    _liveness: Option<serde_yaml::Value>,
    #[serde(rename = "readinessProbe")]
    _readiness: Option<serde_yaml::Value>,
    #[serde(rename = "startupProbe")]
    _startup: Option<serde_yaml::Value>,
}

/// Fields that `manifests.rs` checks.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SecurityContext {
    run_as_user: u64,
    #[serde(rename = "runAsNonRoot")]
    _non_root: bool,
    #[serde(rename = "allowPrivilegeEscalation")]
    _escalation: bool,
    #[serde(rename = "capabilities")]
    _capabilities: serde_yaml::Value,
    #[serde(rename = "seccompProfile")]
    _seccomp: serde_yaml::Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VolumeMount {
    name: String,
    mount_path: String,
    #[serde(default)]
    read_only: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    limits: Words,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Port {
    container_port: i32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Volume {
    name: String,
    config_map: ConfigMap,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigMap {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceSpec {
    selector: Words,
    ports: Vec<ServicePort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServicePort {
    #[serde(rename = "port")]
    _port: u64,
    target_port: u64,
}

/// An example's documents.
struct Applied {
    name: String,
    image: Image,
    metadata: Metadata,
    spec: PodSpec,
    config_maps: BTreeMap<String, Words>,
    services: Vec<ServiceSpec>,
}

impl Applied {
    fn open(name: &str) -> Self {
        let example = Example::open(name);
        let (mut pods, mut config_maps, mut services) = (Vec::new(), BTreeMap::new(), Vec::new());
        for document in serde_yaml::Deserializer::from_str(&example.pod()) {
            match Document::deserialize(document).unwrap_or_else(|error| panic!("examples/{name}/pod.yaml: {error}")) {
                Document::ConfigMap { metadata, data, .. } => drop(config_maps.insert(metadata.name, data)),
                Document::Pod { metadata, spec, .. } => pods.push((metadata, spec)),
                Document::Service { spec, .. } => services.push(spec),
            }
        }
        let [(metadata, spec)] = <[_; 1]>::try_from(pods).unwrap_or_else(|_| panic!("examples/{name}: one pod"));
        assert_eq!(spec.runtime_class_name, "catamaran", "examples/{name}");
        Self { name: name.to_owned(), image: example.image(), metadata, spec, config_maps, services }
    }

    /// Runs the pod's sandbox; with another engine than its own, if `engine` names one.
    fn run<'n>(&self, node: &'n Node, engine: Option<Engine>) -> Pod<'n> {
        let mut annotations = self.metadata.annotations.clone();
        if let Some(engine) = engine {
            annotations.insert(ENGINE.to_owned(), engine.name().to_owned());
        }
        // Logs are found by the pod's name.
        let on = engine.map_or("its-own", Engine::name);
        let shape = Shape {
            labels: self.metadata.labels.clone().into_iter().collect(),
            annotations: annotations.into_iter().collect(),
            ports: self.spec.containers.iter().flat_map(|one| &one.ports).map(|port| port.container_port).collect(),
            hostname: self.metadata.name.clone(),
            ..Shape::wasm()
        };
        Pod::run(node, &format!("{}-on-{on}", self.name), shape)
    }

    /// The pod's only container.
    fn start<'n>(&self, node: &'n Node, pod: &Pod<'n>) -> Running<'n> {
        let [container] = &self.spec.containers[..] else { panic!("examples/{}: one container", self.name) };
        assert_eq!(container.image, format!("localhost/{}:latest", self.name), "the name of the README's build line");
        let mut order: Order<'_, '_> = pod.order(&container.name, &self.image);
        order = order.command(container.command.iter().map(String::as_str));
        order = order.args(container.args.iter().map(String::as_str));
        order = order.user_alone(container.security_context.run_as_user).no_escalation().capabilities(&[], &["ALL"]);
        for Variable { name, value } in &container.env {
            order = order.env(name, value);
        }
        for mount in &container.volume_mounts {
            let volume = self.volume(node, &mount.name);
            order = order.mount(&volume, &mount.mount_path, mount.read_only, Propagation::None);
        }
        for (key, value) in &container.resources.limits {
            assert_eq!(key, "memory", "examples/{}: a limit that is not known here", self.name);
            order = order.limits(bytes(value), 1024, 0);
        }
        order.start()
    }

    /// A config map's folder, as a kubelet makes it: files behind a link that it replaces.
    fn volume(&self, node: &Node, name: &str) -> PathBuf {
        let volume = self.spec.volumes.iter().find(|volume| volume.name == name);
        let map = &volume.unwrap_or_else(|| panic!("examples/{}: no volume {name}", self.name)).config_map.name;
        let folder = node.folder(&format!("volumes/{}-{name}", self.name));
        if !folder.join("..data").exists() {
            fs::create_dir(folder.join("..first")).unwrap();
            std::os::unix::fs::symlink("..first", folder.join("..data")).unwrap();
            for (key, value) in &self.config_maps[map] {
                fs::write(folder.join("..first").join(key), value).unwrap();
                std::os::unix::fs::symlink(format!("..data/{key}"), folder.join(key)).unwrap();
            }
        }
        folder
    }
}

/// A quantity such as `64Mi`.
fn bytes(quantity: &str) -> u64 {
    let number = quantity.strip_suffix("Mi").unwrap_or_else(|| panic!("{quantity}: mebibytes are known here"));
    number.parse::<u64>().unwrap() << 20
}

/// Runs the example on both engines to its end.
fn says(node: &Node, example: &Applied, expected: &[&str]) {
    assert_eq!(example.spec.restart_policy.as_deref(), Some("Never"), "examples/{}: it ends", example.name);
    for engine in [None, Some(Engine::Wasmtime), Some(Engine::Wasmer)] {
        let pod = example.run(node, engine);
        let container = example.start(node, &pod);
        let ended = container.wait(COMPILED);
        assert_eq!((ended.exit_code, ended.reason.as_str()), (0, "Completed"), "{engine:?}: {:?}", container.log());
        assert_eq!(container.lines("stdout"), expected, "{engine:?}");
        assert!(container.lines("stderr").is_empty(), "{engine:?}: {:?}", container.log());
        pod.remove();
    }
}

fn serves(node: &Node, example: &Applied) {
    let pod = example.run(node, None);
    let server = example.start(node, &pod);
    server.expect_line("listening on port 8080");
    let exe = fs::read_link(procfs::file(server.status().pid, "exe")).unwrap();
    assert_eq!(exe, Engine::Wasmer.worker(), "WASIX");
    let [service] = &example.services[..] else { panic!("one service") };
    assert!(service.selector.iter().all(|(key, value)| example.metadata.labels.get(key) == Some(value)));
    for number in 1..=3 {
        let mut connection = TcpStream::connect((&*pod.status().ip, service.ports[0].target_port as u16)).unwrap();
        connection.set_read_timeout(Some(SOON)).unwrap();
        connection.write_all(b"GET / HTTP/1.1\r\nHost: pod\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
        assert!(answer.ends_with(&format!("\r\n\r\nAhoy, you are number {number}.\n")), "{answer:?}");
    }
    server.stop(SOON);
    assert_eq!(server.status().exit_code, 143);
    pod.remove();
}

/// Checks a component that the worker's own server calls; one that `echoes` sends back the posted body.
fn answers(node: &Node, example: &Applied, expected: &str, echoes: bool) {
    let pod = example.run(node, None);
    let server = example.start(node, &pod);
    let [service] = &example.services[..] else { panic!("one service") };
    assert!(service.selector.iter().all(|(key, value)| example.metadata.labels.get(key) == Some(value)));
    let address = format!("{}:{}", pod.status().ip, service.ports[0].target_port).parse().unwrap();
    for _ in 0..3 {
        let answer = Client::connect_to(address).get("/?name=Kubernetes");
        assert_eq!(answer.short(), (200, expected.to_owned(), true), "{:?}", server.log());
    }
    if echoes {
        let sent = "two hulls, one deck\n".repeat(5000);
        let answer = Client::connect_to(address).request("POST", "/echo", &[], sent.as_bytes());
        assert!(answer.short() == (200, sent, true), "{:?}", server.log());
    }
    server.stop(SOON);
    assert_eq!(server.status().exit_code, 0, "{:?}", server.log());
    pod.remove();
}

#[test]
fn every_example_runs_as_its_pod_says() {
    let node = Node::start_with(cri::options().network());
    for name in Example::all() {
        let example = Applied::open(&name);
        match name.as_str() {
            "hello" => says(&node, &example, &["Ahoy from WebAssembly aboard!"]),
            "go-hello" => says(
                &node,
                &example,
                &["Ahoy, Kubernetes, from Go on wasip1/wasm!", "/config/motto: two hulls, one deck"],
            ),
            "wasix-server" => serves(&node, &example),
            "http-go" => answers(&node, &example, "Ahoy from Go, Kubernetes!\n", false),
            "http-js" => answers(&node, &example, "Ahoy from JavaScript, Kubernetes!\n", true),
            "http-python" => answers(&node, &example, "Ahoy from Python, Kubernetes!\n", false),
            "http-rust" => answers(&node, &example, "Ahoy from Rust, Kubernetes!\n", true),
            other => panic!("examples/{other}: say here what its pod does"),
        }
    }
    node.finish();
}
