//! An upgrade in place: the programs of a node are replaced or removed while pods run. A pod goes on with the build that started it,
//! whatever call comes later, and programs of two versions never work together.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use catamaran_harness::cri::{self, ContainerState, Pod, Shape};
use catamaran_harness::procfs::{self, children, parent};
use catamaran_harness::{
    Code, Container, Engine, Image, Node, Options, Output, State, Task, controllers, guests, shim_folder, wait_until,
};
use catamaran_worker::version::VERSION;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);
const GREETING: &str = "hello from wasm\n";
const KIND: &str = "io.kubernetes.cri.container-type";

/// An upgrade of a node's programs, with its name.
type Upgrade = (&'static str, fn(&Node));

const UPGRADES: [Upgrade; 2] = [("replaced", Node::replace_programs), ("removed", Node::remove_programs)];

/// An image with several modules, whose own sleeps.
fn tools() -> Image {
    let modules = ["sleep", "hello", "args"].map(|name| (format!("/{name}.wasm"), guests::wat(name)));
    modules
        .iter()
        .fold(Image::new("tools"), |image, (path, module)| image.file(path, module))
        .entrypoint(["/sleep.wasm"])
}

/// An image whose module is no file but a layer.
fn layer() -> Image {
    Image::new("layer").blob("application/wasm", guests::wat("env"))
}

fn member<'n>(node: &'n Node, id: &str) -> Container<'n> {
    node.container(id).in_pod("pod").annotation(KIND, "container")
}

/// A Wasm container of the pod from its Create to its Delete.
fn ran(node: &Node, id: &str, image: &Image, args: &[&str]) -> Output {
    member(node, id).image(image).args(args.iter().copied()).to_its_end()
}

fn sidecar<'n>(node: &'n Node, id: &str, script: &str) -> Container<'n> {
    member(node, id).image(&guests::busybox()).args(["sh", "-c", script])
}

/// The limits that an Update sets, of a controller that this machine has.
fn limits() -> &'static str {
    match controllers() {
        all if all.contains("memory") => r#"{"memory": {"limit": 268435456}}"#,
        all if all.contains("pids") => r#"{"pids": {"limit": 100}}"#,
        _ => r#"{"cpu": {"shares": 512}}"#,
    }
}

/// Makes every call of the task API that needs no program of the shim's, except Update.
fn is_managed(what: &str, task: &Task<'_>) {
    let must = |call: &str, result: Result<(), catamaran_harness::Status>| {
        result.unwrap_or_else(|status| panic!("{what}: {call} of {}: {status}", task.id()));
    };
    must("Update", task.try_update(limits()));
    must("Stats", task.try_metrics().map(drop));
    must("Pids", task.try_pids().map(drop));
    must("Pause", task.try_pause());
    assert_eq!(task.state(), State::Paused, "{what}: {}", task.id());
    must("Resume", task.try_resume());
    assert_eq!(task.state(), State::Running, "{what}: {}", task.id());
}

/// Checks that only containerd executed a replaced program: it runs the shim's `delete` after the end of each shim.
fn containerd_alone_executed(node: &Node) {
    let shim = node.shim_folder().join("containerd-shim-catamaran-v1").display().to_string();
    let executed = node.executed_replacements();
    let others: Vec<_> =
        executed.iter().filter(|line| !(line.starts_with(&shim) && line.ends_with(" delete"))).collect();
    assert!(others.is_empty(), "{others:#?}");
}

/// The file that a process executes, as the kernel names it.
fn exe(pid: u32) -> String {
    fs::read_link(procfs::file(pid, "exe")).unwrap().display().to_string()
}

#[test]
fn a_running_pod_keeps_its_build_when_all_programs_are_replaced_or_removed() {
    for engine in Engine::ALL {
        for (what, upgrade) in UPGRADES {
            let what = format!("{}, {what}", engine.name());
            let node = Node::start_with(Options::new().installed()).engine(engine);
            let pod = node.container("pod").image(&tools()).annotation(KIND, "sandbox").spawn();
            let wasm = member(&node, "wasm").image(&tools()).spawn();
            wasm.expect_stdout("ready\n");
            let native = sidecar(&node, "native", "echo ready; exec sleep 3600").spawn();
            native.expect_stdout("ready\n");
            assert_eq!(ran(&node, "first", &tools(), &["/hello.wasm"]).stdout, GREETING, "{what}");
            node.await_compiles();
            upgrade(&node);
            goes_on(&node, &what, &wasm, &native);
            let log = node.dir().join("log");
            let logged = member(&node, "logged").image(&tools()).args(["/hello.wasm"]);
            logged.log_uri(&format!("file://{}", log.display())).to_its_end();
            assert_eq!(fs::read_to_string(&log).unwrap(), GREETING, "{what}: a log file");
            node.await_compiles();
            let shim = parent(wasm.pid());
            let old = format!("{}/{}", node.shim_folder().display(), engine.worker().file_name().unwrap().display());
            assert_eq!(exe(wasm.pid()), format!("{old} (deleted)"), "{what}");
            assert_eq!(children(shim).len(), 3, "{what}: holder, worker and sidecar");
            wasm.discard();
            native.discard();
            pod.discard();
            containerd_alone_executed(&node);
            node.expect_nothing_left(SOON);
            // And later pods have the programs of that time.
            node.install();
            let new = node.container("new").image(&tools()).spawn();
            new.expect_stdout("ready\n");
            assert_eq!(exe(new.pid()), old, "{what}");
            new.discard();
            node.finish();
        }
    }
}

/// Runs execs and new containers, on cached modules and on new ones, beside these two.
fn goes_on(node: &Node, what: &str, wasm: &Task<'_>, native: &Task<'_>) {
    assert_eq!(wasm.further("cached").args(["/hello.wasm"]).run().stdout, GREETING, "{what}: an exec");
    let output = wasm.further("new").args(["/args.wasm", "a"]).run();
    assert_eq!(
        (output.code, output.stdout.lines().last()),
        (0, Some("a")),
        "{what}: an exec that compiles: {output:?}"
    );
    let output = native.further("native").args(["echo", "native"]).run();
    assert_eq!(output.stdout, "native\n", "{what}: an exec of a native container: {output:?}");
    assert_eq!(ran(node, "cached", &tools(), &["/hello.wasm"]).stdout, GREETING, "{what}: a new container");
    let output = ran(node, "compiled", &guests::of("exit", guests::wat("exit")), &["/exit.wasm", "7"]);
    assert_eq!(output.code, 7, "{what}: a new container that compiles: {output:?}");
    let output = ran(node, "layer", &layer(), &["/"]);
    assert_eq!(output.code, 0, "{what}: a new container of a layer that is not compiled: {output:?}");
    let output = sidecar(node, "second", "echo second").to_its_end();
    assert_eq!(output.stdout, "second\n", "{what}: a new native container: {output:?}");
    is_managed(what, wasm);
    is_managed(what, native);
}

/// The same from a kubelet's side, whose probes go on.
#[test]
fn a_pod_of_the_cri_keeps_its_build_when_all_programs_are_replaced() {
    let node = Node::start_with(cri::options().network().installed());
    let shape = Shape::wasm().annotation("catamaran.wasm/engine.back", Engine::Wasmer.name());
    let pod = Pod::run(&node, "old", shape);
    let front = pod.order("front", &tools()).start();
    front.expect_line("ready");
    let back = pod.order("back", &tools()).start();
    back.expect_line("ready");
    let native = pod.order("native", &guests::busybox()).command(["sleep", "3600"]).start();
    node.await_compiles();
    node.replace_programs();
    for container in [&front, &back] {
        let output = container.exec_sync(&["/hello.wasm"], SOON).unwrap();
        assert_eq!((output.code, output.stdout.as_str()), (0, GREETING), "{output:?}");
    }
    assert_eq!(native.exec_sync(&["true"], SOON).unwrap().code, 0);
    // A restarted container, with a new module.
    front.stop(SOON);
    let again = pod.order("front", &guests::of("both", guests::wat("both"))).attempt(1).start();
    assert_eq!(again.wait(SOON).exit_code, 0, "{:?}", again.log());
    back.update(256 << 20, 512, 50_000).unwrap();
    assert_eq!(back.status().state, ContainerState::Running);
    node.await_compiles();
    pod.remove();
    containerd_alone_executed(&node);
    node.install();
    let pod = Pod::run(&node, "new", Shape::wasm());
    let new = pod.order("new", &tools()).start();
    new.expect_line("ready");
    pod.remove();
    node.finish();
}

/// The programs of ours that a process has open.
fn open_programs(node: &Node, pid: u32) -> Vec<String> {
    let links =
        fs::read_dir(procfs::file(pid, "fd")).unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let ours = node.shim_folder();
    links.filter(|link| link.starts_with(&ours)).map(|link| link.display().to_string()).collect()
}

#[test]
fn a_server_has_each_program_open_once_and_none_that_it_starts_has_one() {
    let node = Node::start_with(Options::new().installed());
    let open = node.dir().join("open");
    let script = format!("ls -l /proc/self/fd/ >>'{}'", open.display());
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    let pod = node.container("pod").image(&tools()).annotation(KIND, "sandbox").spawn();
    let hooked = move |spec: &mut Value| spec["hooks"] = json!({"createRuntime": [hook]});
    let wasm = member(&node, "wasm").image(&tools()).spec(hooked.clone()).spawn();
    let log = format!("file://{}/log", node.dir().display());
    let native = sidecar(&node, "native", "sleep 3600").spec(hooked).log_uri(&log).spawn();
    let exec = wasm.further("exec").args(["/sleep.wasm"]).spawn();
    node.await_compiles();
    let shim = parent(wasm.pid());
    let mut programs = open_programs(&node, shim);
    programs.sort();
    programs.dedup();
    assert_eq!((programs.len(), open_programs(&node, shim).len()), (7, 7), "{programs:?}");
    let started = children(shim);
    assert_eq!(started.len(), 5, "a holder, a worker, an exec's, a native container and its logger: {started:?}");
    for pid in started {
        assert_eq!(open_programs(&node, pid), [""; 0], "{pid}, which executes {}", exe(pid));
    }
    let seen = fs::read_to_string(&open).unwrap();
    assert_eq!(seen.matches("total ").count(), 2, "the shim's hook, and runc's: {seen}");
    assert!(!seen.contains(node.shim_folder().to_str().unwrap()), "{seen}");
    exec.try_kill(9).unwrap();
    exec.wait(SOON);
    for task in [wasm, native, pod] {
        task.discard();
    }
    node.finish();
}

#[test]
fn the_delete_of_a_new_build_cleans_up_after_an_old_server() {
    let node = Node::start_with(Options::new().installed());
    let wasm = node.container("wasm").image(&tools()).spawn();
    let native =
        node.container("native").image(&guests::busybox()).args(["sh", "-c", "echo ready; sleep 3600"]).spawn();
    for task in [&wasm, &native] {
        task.expect_stdout("ready\n");
    }
    node.install();
    for task in [wasm, native] {
        let shim = parent(task.pid());
        assert!(exe(shim).ends_with(" (deleted)"), "the server is of the old build: {}", exe(shim));
        assert!(Command::new("kill").args(["-9", &shim.to_string()]).status().unwrap().success());
        wait_until(SOON, "containerd to forget the task", || task.try_state().is_err().then_some(()));
        task.remove_container();
    }
    node.expect_nothing_left(SOON);
    let again = node.container("wasm").image(&tools()).args(["/hello.wasm"]).run();
    assert_eq!(again.stdout, GREETING, "the id is free: {again:?}");
    node.finish();
}

/// A copy of one of our programs that claims another version.
fn of_another_version(folder: &Path, name: &str) -> (PathBuf, String) {
    let last = if VERSION.ends_with('0') { "1" } else { "0" };
    let other = format!("{}{last}", &VERSION[..VERSION.len() - 1]);
    let mut program = fs::read(shim_folder().join(name)).unwrap();
    let places: Vec<_> = program
        .windows(VERSION.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == VERSION.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "{name} does not hold its version, {VERSION}: was it built with this test?");
    for at in places {
        program[at..at + VERSION.len()].copy_from_slice(other.as_bytes());
    }
    let path = folder.join(name);
    fs::write(&path, program).unwrap();
    (path, other)
}

#[test]
fn programs_of_different_versions_refuse_each_other_with_both_versions() {
    let folder = std::env::temp_dir().join(format!("catamaran-versions-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for name in ["catamaran-wasmtime", "catamaran-wasmer", "catamaran-helper"] {
        let (program, other) = of_another_version(&folder, name);
        let node = Node::start_with(Options::new().program(name, &program));
        let engine = if name == "catamaran-wasmer" { Engine::Wasmer } else { Engine::Wasmtime };
        for annotation in ["container", "sandbox"] {
            let order = node.container("c").engine(engine).image(&tools()).annotation(KIND, annotation);
            if annotation == "sandbox" && name != "catamaran-helper" {
                continue;
            }
            let status = order.try_create().map(drop).unwrap_err();
            assert_ne!(status.code, Code::Unimplemented, "{name}, {annotation}: {status}");
            for words in [VERSION, &other, "install all programs of Catamaran of one version together"] {
                assert!(status.message.contains(words), "{name}, {annotation}: {words:?} is missing in: {status}");
            }
            node.expect_nothing_left(SOON);
        }
        node.finish();
    }
    fs::remove_dir_all(&folder).unwrap();
}
