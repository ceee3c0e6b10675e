//! Catamaran for a cluster's administrator: `helm install` on a bare cluster, and back, by the commands of the documents.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use catamaran_cluster::{Cluster, Kubernetes, NODE};
use catamaran_dist::images::Kind;
use catamaran_dist::origin::Origin;
use catamaran_documents::{Assigned, Shell, clone};
use catamaran_harness::{Engine, Output, shim_folder, wait_until};
use catamaran_node_tests::{bytes_below, other_build, tools};
use catamaran_service_manager::ServiceManager;
use nix::sched::CloneFlags;
use rustix::mount::MountPropagationFlags;
use serde_json::{Value, json};

const LATER: Duration = Duration::from_secs(90);
const RELEASE: &str = "catamaran";
const NAMESPACE: &str = "catamaran-system";
/// The registries in the names of two builds of the images.
const REGISTRIES: [&str; 2] = ["localhost/first", "localhost/second"];
/// The chart's address in the documents, whose registry the tests do not reach.
const PUBLISHED: &str = "oci://ghcr.io/catamaran-wasm/charts/catamaran";

/// A cluster without Catamaran, and its administrator's tools.
struct Board {
    cluster: Cluster,
    manager: ServiceManager,
    values: PathBuf,
}

/// Gives this thread, and all that it starts, a root file system whose mounts are shared, as under systemd. Without systemd they may be
/// private, and containerd then refuses a mount of it with `HostToContainer`.
fn share_root() {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).expect("cannot make a mount namespace");
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", shared).expect("cannot share the root file system");
}

impl Board {
    fn start() -> Self {
        share_root();
        let cluster = Cluster::start_bare();
        let manager = ServiceManager::start(cluster.node());
        let board = Self { values: cluster.node().dir().join("values.json"), cluster, manager };
        let second = other_build(&board.dir().join("second"));
        board.import(REGISTRIES[0], &shim_folder(), &["installer", "labeller", "examples/hello"]);
        board.import(REGISTRIES[1], &second, &["installer"]);
        // Under the name that the documents have.
        board.import("ghcr.io/catamaran-wasm", &shim_folder(), &["examples/hello"]);
        board
    }

    fn dir(&self) -> &Path {
        self.cluster.node().dir()
    }

    /// Makes images like those of a release, and imports them into containerd as `kind load image-archive` does.
    fn import(&self, registry: &str, programs: &Path, names: &[&str]) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let origin = Origin { version: version(), revision: "a-test".into(), time: 1_790_000_000 };
        for name in names {
            let image = Kind::parse(&source, name).unwrap().image(&source, programs, registry).unwrap();
            let archive = self.dir().join("image.tar");
            fs::write(&archive, image.layout(&origin).unwrap().to_tar(origin.time).unwrap()).unwrap();
            self.cluster.node().ctr_ok(["--namespace", "k8s.io", "images", "import", archive.to_str().unwrap()]);
        }
    }

    /// Writes an administrator's values: this node's containerd is unusual, and nothing routes the addresses of services.
    fn write_values(&self, registry: &str) {
        let node = self.cluster.node();
        let server = self.cluster.server().trim_start_matches("https://");
        let (host, port) = server.rsplit_once(':').unwrap();
        let bus = self.manager.bus_address().replace("unix:path=/", "unix:path=/host/");
        let api = json!([{"name": "KUBERNETES_SERVICE_HOST", "value": host}, {"name": "KUBERNETES_SERVICE_PORT", "value": port}]);
        let values = json!({
            "image": {
                "installer": {"repository": format!("{registry}/catamaran-installer")},
                "labeller": {"repository": format!("{}/catamaran-labeller", REGISTRIES[0])},
                "hello": {"repository": format!("{}/examples/hello", REGISTRIES[0])},
            },
            "installer": {
                "containerdSocket": node.socket(),
                "programsDir": node.dir().join("opt/catamaran"),
                "interval": 5,
                "extraEnv": [
                    {"name": "DBUS_SYSTEM_BUS_ADDRESS", "value": bus},
                    {"name": "CATAMARAN_ROOT", "value": node.catamaran_root()},
                ],
            },
            "labeller": {"extraEnv": api},
        });
        fs::write(&self.values, values.to_string()).unwrap();
    }

    fn helm(&self, words: &[&str]) -> Output {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/catamaran");
        let words = words.iter().map(|word| if *word == "CHART" { chart.to_str().unwrap() } else { *word });
        self.cluster.helm().run(words.chain(["--namespace", NAMESPACE]))
    }

    fn helm_ok(&self, words: &[&str]) -> String {
        let output = self.helm(words);
        if output.code != 0 {
            panic!("helm {}: {}{}\n{}", words.join(" "), output.stdout, output.stderr, self.told());
        }
        output.stdout
    }

    /// Types a line of the documents in the clone, with the chart's place and this node's values.
    fn type_line(&self, line: &str, more: &[&str]) -> String {
        let shell = Shell::new(&clone(), &self.cluster.node().folder("stand-ins"));
        let (programs, config) = (Kubernetes::provide(), self.cluster.kubectl().config());
        for (name, program) in [("helm", programs.helm.clone()), ("kubectl", programs.program("kubectl"))] {
            let home = config.with_file_name("clients-home");
            let run = format!("HOME={} exec {} --kubeconfig={}", home.display(), program.display(), config.display());
            shell.stand_in(name, &format!("{run} \"$@\""));
        }
        let output = shell.run(&[&[&*line.replace(PUBLISHED, "charts/catamaran")], more].concat().join(" "));
        assert!(output.code == 0, "{line}: {}{}\n{}", output.stdout, output.stderr, self.told());
        output.stdout
    }

    /// Returns the output of the chart's pods.
    fn told(&self) -> String {
        let kubectl = self.cluster.kubectl();
        let words: [&[&str]; 3] = [
            &["describe", "pods", "--namespace", NAMESPACE],
            &[
                "logs",
                "--namespace",
                NAMESPACE,
                "--all-containers",
                "--prefix",
                "--selector",
                "app.kubernetes.io/name=catamaran",
            ],
            &["describe", "node", NODE],
        ];
        words.iter().map(|words| kubectl.run(*words)).map(|output| output.stdout + &output.stderr).collect()
    }

    /// containerd's configuration, and every file that an installation puts on a node.
    fn places(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let root = self.dir().join("config.toml");
        let mut found = vec![(root.clone(), fs::read(&root).unwrap())];
        for folder in ["conf.d", "opt", "catamaran"] {
            found.extend(bytes_below(&self.dir().join(folder)));
        }
        found
    }

    fn labels(&self) -> Value {
        self.cluster.kubectl().try_get(&["node", NODE]).unwrap_or_default()["metadata"]["labels"].clone()
    }

    fn is_labelled(&self) -> bool {
        self.labels()["catamaran.wasm/ready"] == "true"
    }
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

fn pod(name: &str, engine: Engine) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": {"catamaran.wasm/engine": engine.name()}},
        "spec": {
            "runtimeClassName": "catamaran",
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "tools", "image": tools().name(), "imagePullPolicy": "Never"}],
        },
    })
    .to_string()
}

/// The folder of the programs that containerd's configuration names.
fn in_force(board: &Board) -> PathBuf {
    let text = fs::read_to_string(board.dir().join("conf.d/catamaran.toml")).unwrap();
    let shim = text.lines().find_map(|line| line.trim().strip_prefix("runtime_path = ")).unwrap();
    Path::new(shim.trim_matches(['"', '\''])).parent().unwrap().to_owned()
}

/// One test, because each part begins where the one before ended, and a cluster takes a minute to start.
#[test]
fn a_bare_cluster_is_made_ready_by_helm_upgraded_mended_and_left_as_it_was() {
    let mut typed = Assigned::to("a_bare_cluster_is_made_ready_by_helm_upgraded_mended_and_left_as_it_was");
    let board = Board::start();
    let (cluster, kubectl) = (&board.cluster, board.cluster.kubectl());
    cluster.import(&tools());
    let before = board.places();
    let values = board.values.to_str().unwrap();
    let with_values = ["--values", values, "--timeout", "120s"];

    board.write_values(REGISTRIES[0]);
    let begin = Instant::now();
    board.type_line(&typed.take("helm install catamaran oci").text, &with_values);
    println!("helm install: {:.1} s", begin.elapsed().as_secs_f32());
    let space = cluster.space("users");
    for engine in Engine::ALL {
        space.apply(&pod(engine.name(), engine));
    }
    for engine in Engine::ALL {
        space.wait(&format!("pod/{}", engine.name()), "condition=Ready");
    }
    println!("to a pod on each engine that is ready: {:.1} s", begin.elapsed().as_secs_f32());
    assert_eq!(board.labels()["catamaran.wasm/version"], version());
    println!("{}", board.type_line(&typed.take("helm test").text, &["--logs", "--timeout", "90s"]));
    let said = board.type_line(&typed.take("kubectl run hello").text, &[]);
    assert!(said.contains("Ahoy from WebAssembly aboard!"), "{said}");
    board.type_line(&typed.take("kubectl label namespace").text, &[]);

    // An installer that ends uninstalls nothing, and the next one changes nothing.
    let containerd = cluster.node().containerd_pid();
    kubectl.ok(["delete", "pods", "--namespace", NAMESPACE, "--selector", "app.kubernetes.io/component=installer"]);
    kubectl.ok(["rollout", "status", "daemonset", "--namespace", NAMESPACE, "--timeout", "90s"]);
    assert_eq!(cluster.node().containerd_pid(), containerd, "containerd was restarted");
    assert!(board.is_labelled());

    let containers = || {
        Engine::ALL.map(|engine| space.get(&format!("pod/{}", engine.name()))["status"]["containerStatuses"][0].clone())
    };
    let (old, running) = (in_force(&board), containers());
    board.write_values(REGISTRIES[1]);
    board.helm_ok(&["upgrade", RELEASE, "CHART", "--values", values, "--wait", "--timeout", "120s"]);
    assert_ne!(in_force(&board), old);
    assert!(old.exists(), "pods run from it");
    assert_ne!(cluster.node().containerd_pid(), containerd);
    wait_until(LATER, "the pods of before to answer", || {
        let answers = Engine::ALL.map(|engine| space.exec(engine.name(), &["/hello.wasm"]));
        answers.iter().all(|answer| answer.code == 0 && answer.stdout == "hello from wasm\n").then_some(())
    });
    for (before, after) in running.iter().zip(containers()) {
        assert_eq!((&before["containerID"], &after["restartCount"]), (&after["containerID"], &0.into()), "{after}");
    }
    space.apply(&pod("new", Engine::Wasmer));
    space.wait("pod/new", "condition=Ready");
    board.type_line(&typed.take("helm upgrade").text, &["--wait", "--timeout", "120s"]);
    let options = fs::read_to_string(board.dir().join("conf.d/catamaran.toml")).unwrap();
    assert!(options.contains("default_engine = \"wasmer\""), "{options}");

    // Another program rewrites the configuration, as nodeadm does at boot.
    let handler = board.dir().join("conf.d/catamaran.toml");
    let written = fs::read(&handler).unwrap();
    fs::remove_file(&handler).unwrap();
    cluster.node().restart_containerd();
    wait_until(LATER, "the handler to be written again", || (fs::read(&handler).ok()? == written).then_some(()));
    wait_until(LATER, "the node to be ready again", || board.is_labelled().then_some(()));
    space.apply(&pod("mended", Engine::Wasmtime));
    space.wait("pod/mended", "condition=Ready");

    let refused = board.helm(&["uninstall", RELEASE, "--timeout", "180s"]);
    assert_ne!(refused.code, 0, "{refused:#?}");
    let told = board.told();
    assert!(told.contains("users/wasmtime"), "nothing names the pods that use the handler:\n{told}");
    space.ok(["delete", "pods", "--all", "--timeout=60s"]);
    cluster.node().await_compiles();
    let uninstall = typed.take("helm uninstall").text;
    board.type_line(&uninstall, &["--wait", "--timeout", "180s"]);
    expect_as_before(&board, &before);

    // A published bug: deployed, cleaned up and deployed again, the node was dead.
    board.type_line(&typed.take("helm install catamaran charts/").text, &with_values);
    wait_until(LATER, "the node to be ready again", || board.is_labelled().then_some(()));
    board.type_line(&uninstall, &["--wait", "--timeout", "180s"]);
    expect_as_before(&board, &before);
    typed.finish();

    kubectl.ok(["delete", "namespace", NAMESPACE, "--timeout=90s"]);
    drop(space);
    let Board { cluster, manager, .. } = board;
    cluster.expect_no_tasks();
    drop(manager);
    cluster.finish();
}

/// Ignores the harness's own files in the folder of the cache.
fn expect_as_before(board: &Board, before: &[(PathBuf, Vec<u8>)]) {
    let cache = board.cluster.node().catamaran_root();
    let without = |places: &[(PathBuf, Vec<u8>)]| -> Vec<_> {
        places.iter().filter(|(path, _)| !path.starts_with(&cache)).cloned().collect()
    };
    assert!(without(&board.places()) == without(before), "the node is not as it was: {}", board.told());
    assert!(!cache.join("node").exists() && !cache.join("cache").exists());
    let labels = board.labels();
    for label in ["catamaran.wasm/ready", "catamaran.wasm/version"] {
        assert!(labels[label].is_null(), "{label} is left: {labels}");
    }
    let kinds = "runtimeclass,clusterrole,clusterrolebinding,daemonset,deployment,job,configmap,serviceaccount,networkpolicy,role,rolebinding";
    let left = board.cluster.kubectl().ok([
        "get",
        kinds,
        "--all-namespaces",
        "--selector",
        "app.kubernetes.io/instance=catamaran",
        "-o",
        "name",
    ]);
    assert_eq!(left, "", "objects are left");
}
