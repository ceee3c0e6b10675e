//! `catamaran` on a node of the harness: a real containerd, restarted by a stand-in for systemd, and pods by the CRI.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use catamaran_harness::cri::{self, ContainerState, Pod, Shape};
use catamaran_harness::{Engine, Image, Node, OURS, Runtime, guests, wait_until};
use catamaran_node_tests::{Catamaran, Serving, bytes_below, other_build, tools};
use catamaran_service_manager::ServiceManager;

const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(60);

/// A node that serves the CRI without a handler of ours.
fn bare() -> (Node, ServiceManager) {
    let node = Node::start_with(cri::options());
    node.remove_handler();
    let manager = ServiceManager::start(&node);
    (node, manager)
}

fn catamaran(node: &Node, manager: &ServiceManager) -> Catamaran {
    Catamaran::on(node).with("DBUS_SYSTEM_BUS_ADDRESS", &manager.bus_address())
}

/// The same through systemd's own socket, as on a node without a bus.
fn without_a_bus(node: &Node, manager: &ServiceManager) -> Catamaran {
    Catamaran::on(node).with("CATAMARAN_SYSTEMD_SOCKET", &manager.private_socket().display().to_string())
}

/// The bytes of all entries that `catamaran cache list` shows.
fn listed(catamaran: &Catamaran) -> f64 {
    let list = catamaran.done(&["cache", "list"]);
    list["entries"].as_array().unwrap().iter().map(|entry| entry["bytes"].as_f64().unwrap()).sum()
}

/// The sum that `du` prints of all files below the cache's folders.
fn du(node: &Node) -> f64 {
    let folders = fs::read_dir(node.catamaran_root().join("cache")).unwrap().flatten().map(|entry| entry.path());
    let files = folders.filter(|path| path.is_dir()).flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
    let mut du = Command::new("du");
    let output = du.args(["--block-size=1", "--total"]).args(files.map(|file| file.path())).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().last().unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// containerd's configuration, and every file that an installation puts on a node.
fn places(node: &Node) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = vec![(node.dir().join("config.toml"), fs::read(node.dir().join("config.toml")).unwrap())];
    for folder in ["conf.d", "opt", "catamaran"] {
        found.extend(bytes_below(&node.dir().join(folder)));
    }
    found
}

/// The number of processes whose programs are below a folder.
fn runs_from(folder: &Path) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| fs::read_link(entry.path().join("exe")).ok())
        .filter(|exe| exe.starts_with(folder))
        .count()
}

#[test]
fn a_node_is_installed_upgraded_under_its_pods_and_left_as_it_was() {
    let (node, manager) = bare();
    let catamaran = catamaran(&node, &manager);
    let before = places(&node);
    assert_eq!(catamaran.run(&["status"]).code, Some(5));
    // A pod of another handler, which must stay undisturbed.
    let other = Pod::run(&node, "other", Shape::default());
    let neighbour = other.order("sleep", &guests::image(Runtime::Runc, "sleep")).start();
    let untouched = neighbour.status();

    let installed = catamaran.done(&["install"]);
    let old = PathBuf::from(installed["programs"].as_str().unwrap());
    assert_eq!((&installed["ready"], &installed["changed"]), (&true.into(), &true.into()));
    let status = catamaran.done(&["status"]);
    assert_eq!((&status["ready"], &status["installed"]["listed"]), (&true.into(), &true.into()), "{status:#}");
    let doctor = catamaran.done(&["doctor"]);
    assert_eq!(doctor["well"], true, "{doctor:#}");
    let pid = node.containerd_pid();
    assert_eq!(catamaran.done(&["install"])["changed"], false);
    assert_eq!(node.containerd_pid(), pid, "nothing changed, and containerd was restarted");

    let pods = [Engine::Wasmtime, Engine::Wasmer].map(|engine| {
        let pod = Pod::run(&node, engine.name(), Shape { network: false, ..Shape::on(engine) });
        let container = pod.order("tools", &tools()).start();
        (pod, container)
    });
    assert_ne!(runs_from(&old), 0);
    let refused = catamaran.run(&["uninstall"]);
    assert_eq!(refused.code, Some(3), "{refused:#?}");
    assert!(refused.value["error"]["found"].as_str().unwrap().contains("wasmtime"), "{refused:#?}");

    let release = other_build(&node.dir().join("release"));
    let upgraded = catamaran.done(&["install", "--from", release.to_str().unwrap()]);
    let new = PathBuf::from(upgraded["programs"].as_str().unwrap());
    assert_ne!(new, old);
    assert_eq!(upgraded["in_use"][0].as_str(), old.to_str());
    for (pod, container) in &pods {
        assert_eq!(container.status().state, ContainerState::Running);
        let answer = container.exec_sync(&["/hello.wasm"], SOON).unwrap();
        assert_eq!((answer.code, answer.stdout.as_str()), (0, "hello from wasm\n"), "{answer:?}");
        // A container made after the upgrade, in an earlier pod, runs on the pod's own build.
        let late = pod.order("late", &tools()).start();
        assert_eq!(late.status().state, ContainerState::Running);
    }
    assert_eq!(runs_from(&new), 0);
    let pod = Pod::run(&node, "new", Shape { network: false, ..Shape::wasm() });
    pod.order("tools", &tools()).start();
    assert_ne!(runs_from(&new), 0);
    pod.remove();
    for (pod, _) in pods {
        pod.remove();
    }
    wait_until(SOON, "the last process of the old version", || (runs_from(&old) + runs_from(&new) == 0).then_some(()));
    let collected = catamaran.done(&["install", "--from", release.to_str().unwrap()]);
    assert_eq!(collected["changed"], false);
    assert!(!old.exists() && new.exists(), "{collected:#}");

    let now = neighbour.status();
    assert_eq!(
        (now.state, now.started_at),
        (untouched.state, untouched.started_at),
        "another handler's pod was disturbed"
    );
    node.await_compiles();
    catamaran.done(&["uninstall"]);
    let mut left = places(&node);
    left.retain(|(path, _)| !path.starts_with(node.catamaran_root()));
    let mut expected = before;
    expected.retain(|(path, _)| !path.starts_with(node.catamaran_root()));
    assert_eq!(left, expected);
    assert!(!node.catamaran_root().join("node").exists() && !node.catamaran_root().join("cache").exists());
    other.remove();
    assert!(
        manager
            .jobs()
            .iter()
            .filter(|job| job.unit.contains("rollback"))
            .all(|job| job.result.as_deref() == Some("done")),
        "{:?}",
        manager.jobs()
    );
    node.finish();
}

/// The processes of an installed program on the node.
fn programs(node: &Node, name: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let runs = |pid: &String| {
        fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|exe| exe.starts_with(node.dir().join("opt")) && exe.ends_with(name))
    };
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(runs).collect()
}

/// The stand-in for the installer's container on the node, in a folder of the node.
fn serving(node: &Node, manager: &ServiceManager, mode: &str) -> Serving {
    // The bus's address in the container.
    let bus = manager.bus_address().replace("unix:path=/", "unix:path=/host/");
    let catamaran = Catamaran::on(node).with("DBUS_SYSTEM_BUS_ADDRESS", &bus);
    Serving::start(&node.dir().join("container"), mode, &catamaran.args, &catamaran.env)
}

/// The metric of an engine's starts of commands on the best code, which include the installer's test programs.
fn starts_of_commands(engine: &str) -> String {
    format!("catamaran_starts_total{{engine=\"{engine}\",world=\"command\",origin=\"best\"}}")
}

#[test]
fn serve_keeps_its_node_in_the_mode_of_its_file_and_uninstalls_without_a_trace() {
    let (node, manager) = bare();
    let before = places(&node);
    let container = serving(&node, &manager, "install\n");
    container.await_state("install", "ready", LATER);
    assert_eq!((container.get("/readyz").0, container.get("/healthz").0), (200, 200));
    assert_eq!(container.capabilities(), "00000000000c0000", "CAP_SYS_CHROOT and CAP_SYS_PTRACE alone");
    let canaries = ["wasmtime", "wasmer"].map(|engine| container.metric(&starts_of_commands(engine)));
    assert!(canaries[0] >= 1.0 && canaries[1] >= 1.0, "{canaries:?}");
    assert!(container.metric("catamaran_cache_entries") >= 2.0 && container.metric("catamaran_cache_bytes") > 1e4);
    node.await_compiles();
    let told = listed(&catamaran(&node, &manager));
    assert!((container.metric("catamaran_cache_bytes") - told).abs() < 0.5 && (du(&node) - told).abs() < 0.5, "{told}");

    // A look at a healthy node starts no container and no containerd.
    let pid = node.containerd_pid();
    let looks = || container.metric("catamaran_reconciles_total{result=\"intact\"}");
    let looked = looks();
    wait_until(LATER, "three more looks", || (looks() >= looked + 3.0).then_some(()));
    assert_eq!(node.containerd_pid(), pid);
    let starts = container.metric(&starts_of_commands("wasmtime"));
    assert!((starts - canaries[0]).abs() < 0.5, "a look ran a test program");

    let pod = Pod::run(&node, "one", Shape { network: false, ..Shape::on(Engine::Wasmtime) });
    let sleeping = pod.order("tools", &tools()).start();
    let trapping = Image::new("trapping").file("/trap.wasm", guests::wat("trap")).entrypoint(["/trap.wasm"]);
    assert_eq!(pod.order("trapping", &trapping).start().wait(LATER).exit_code, 134);
    assert!((container.metric("catamaran_traps_total{engine=\"wasmtime\"}") - 1.0).abs() < 0.1);
    container.mode("uninstall");
    let why = container.await_state("uninstall", "refused", SOON);
    assert!(why.contains("/one") && why.contains("--force"), "{why}");
    assert_eq!(container.get("/readyz").0, 503);
    container.mode("install");
    container.await_state("install", "ready", SOON);
    assert_eq!(node.containerd_pid(), pid, "containerd was restarted for nothing");

    // A file edited by hand.
    let file = node.dir().join("conf.d/catamaran.toml");
    let written = fs::read_to_string(&file).unwrap();
    fs::write(&file, written.replace("pod_annotations", "pod_annotation")).unwrap();
    wait_until(LATER, "the file to be mended", || {
        // Between the two steps of a replacement there may be no file.
        (fs::read_to_string(&file).is_ok_and(|now| now == written)).then_some(())
    });
    container.await_state("install", "ready", LATER);
    assert_ne!(node.containerd_pid(), pid);
    assert_eq!(sleeping.status().state, ContainerState::Running);

    // A shim is killed: containerd calls its `delete`.
    // Those of the installer's test programs end shortly after it has called the node ready.
    let shim = wait_until(SOON, "the pod's shim to be the only one", || {
        programs(&node, "containerd-shim-catamaran-v1").try_into().ok().map(|[shim]: [String; 1]| shim)
    });
    assert!(Command::new("kill").args(["-KILL", &shim]).status().unwrap().success());
    wait_until(LATER, "the count of a dead shim", || {
        (container.metric("catamaran_shim_deaths_total") > 0.5).then_some(())
    });
    assert!((container.metric("catamaran_shim_deaths_total") - 1.0).abs() < 0.1);
    sleeping.wait(LATER);
    pod.remove();

    // A server that ends by a signal leaves the node as it is, and the next one takes over.
    let installed = places(&node);
    assert_eq!(container.end().code(), Some(0));
    let of_node = |mut all: Vec<(PathBuf, Vec<u8>)>| {
        all.retain(|(path, _)| !path.starts_with(node.catamaran_root()));
        all
    };
    assert_eq!(of_node(places(&node)), of_node(installed));
    node.await_compiles();
    let container = serving(&node, &manager, "uninstall");
    container.await_state("uninstall", "uninstalled", LATER);
    assert_eq!((container.get("/readyz").0, container.get("/healthz").0), (503, 200));
    assert_eq!(of_node(places(&node)), of_node(before));
    assert!(!node.catamaran_root().join("node").exists() && !node.catamaran_root().join("cache").exists());
    assert_eq!(container.end().code(), Some(0));
    fs::remove_dir_all(node.dir().join("container")).unwrap();
    node.finish();
}

#[test]
fn systemd_rolls_back_a_change_whose_installer_was_killed() {
    taken_back(catamaran);
}

/// As on kind's nodes.
#[test]
fn without_a_bus_systemd_rolls_back_by_its_private_socket() {
    taken_back(without_a_bus);
}

fn taken_back(command: fn(&Node, &ServiceManager) -> Catamaran) {
    let (node, manager) = bare();
    let catamaran = command(&node, &manager);
    let configuration = || (fs::read(node.dir().join("config.toml")).unwrap(), bytes_below(&node.dir().join("conf.d")));
    let before = configuration();
    let killed = catamaran.run_with(&["--rollback-after", "3", "install"], &[("CATAMARAN_STOP_AT", "swapped")]);
    assert_eq!(killed.code, None, "{killed:#?}");
    assert_ne!(configuration(), before);
    wait_until(LATER, "the rollback", || (configuration() == before).then_some(()));
    wait_until(LATER, "the rollback's end", || {
        let status = catamaran.run(&["status"]);
        (status.value["change_under_way"] == false).then_some(())
    });
    let status = catamaran.run(&["status"]);
    assert_eq!(status.code, Some(6), "{status:#?}");
    assert!(status.value["rolled_back"].as_str().unwrap().contains("before containerd had proven itself"));

    // Killed after the restart: a change that has proven itself stays.
    let killed = catamaran.run_with(&["--rollback-after", "3", "install"], &[("CATAMARAN_STOP_AT", "restarted")]);
    assert_eq!(killed.code, None, "{killed:#?}");
    wait_until(LATER, "the rollback, which finds a change that is proven", || {
        (catamaran.run(&["status"]).value["change_under_way"] == false).then_some(())
    });
    assert_eq!(catamaran.done(&["status"])["ready"], true);
    let restarts = || manager.jobs().iter().filter(|job| job.unit == catamaran_service_manager::CONTAINERD).count();
    let count = restarts();
    assert_eq!(catamaran.done(&["install"])["changed"], false);
    assert_eq!(restarts(), count);
    node.await_compiles();
    catamaran.done(&["uninstall"]);
    assert_eq!(configuration(), before);
    node.finish();
}

#[test]
fn install_names_the_fault_in_containerds_configuration_and_changes_nothing() {
    let (node, manager) = bare();
    let catamaran = catamaran(&node, &manager);
    let broken = node.dir().join("conf.d/zz-broken.toml");
    for (text, words) in [
        ("version = 3\n[broken\n", "zz-broken.toml"),
        ("version = 3\nroot = 7\n", "zz-broken.toml row=2"),
        ("version = 3\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n", "disabled_plugins"),
        (
            "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.catamaran]\nruntime_type = 'x'\n",
            "that is not this installer's",
        ),
    ] {
        fs::write(&broken, text).unwrap();
        let before = places(&node);
        let answer = catamaran.run(&["install"]);
        assert_eq!(answer.code, Some(3), "{answer:#?}");
        assert!(answer.value["error"]["found"].as_str().unwrap().contains(words), "{answer:#?}");
        node.await_compiles();
        let mut after = places(&node);
        after.retain(|(path, _)| !path.starts_with(node.catamaran_root().join("cache")));
        assert_eq!(after, before, "{text}");
    }
    fs::remove_file(&broken).unwrap();
    assert!(manager.jobs().iter().all(|job| job.unit != catamaran_service_manager::CONTAINERD), "{:?}", manager.jobs());
    node.finish();
}

#[test]
fn without_systemd_the_administrator_restarts_containerd() {
    let (node, _manager) = bare();
    let catamaran = Catamaran::on(&node).with("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    let refused = catamaran.run(&["install"]);
    assert_eq!(refused.code, Some(3), "{refused:#?}");
    assert!(refused.value["error"]["remedy"].as_str().unwrap().contains("--restart none"), "{refused:#?}");
    let by_hand = |action: &str| catamaran.run(&["--restart", "none", action]);
    assert_eq!(by_hand("install").code, Some(7));
    node.service().stop();
    node.service().start().unwrap();
    assert_eq!(by_hand("install").code, Some(0));
    assert_eq!(by_hand("install").value["changed"], false);
    let pod = Pod::run(&node, "one", Shape { network: false, ..Shape::wasm() });
    pod.order("tools", &tools()).start();
    pod.remove();
    node.await_compiles();
    assert_eq!(by_hand("uninstall").code, Some(7));
    node.service().stop();
    node.service().start().unwrap();
    assert_eq!(by_hand("uninstall").code, Some(0));
    assert!(!node.dir().join("opt").exists());
    node.finish();
}

#[test]
fn completions_and_manual_pages_are_made() {
    let scratch = catamaran_harness::scratch();
    let catamaran = Catamaran { args: Vec::new(), env: Vec::new() };
    for shell in ["bash", "zsh", "fish"] {
        let script = catamaran.done(&["completion", shell])["script"].as_str().unwrap().to_owned();
        assert!(script.contains("uninstall"), "{script}");
    }
    catamaran.done(&["man", scratch.to_str().unwrap()]);
    for page in
        ["catamaran.1", "catamaran-install.1", "catamaran-uninstall.1", "catamaran-status.1", "catamaran-doctor.1"]
    {
        assert!(fs::read_to_string(scratch.join(page)).unwrap().contains(".TH"), "{page}");
    }
    assert_eq!(catamaran.run(&["install", "--from", "/nonexistent"]).code, Some(3));
    fs::remove_dir_all(scratch).unwrap();
}

fn mounted(folder: &Path, options: &str) {
    fs::create_dir_all(folder).unwrap();
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(folder).status().unwrap();
    assert!(done.success());
}

#[test]
fn install_names_a_full_a_read_only_or_a_noexec_folder_and_leaves_nothing() {
    let (node, manager) = bare();
    let catamaran = catamaran(&node, &manager);
    let folder = node.dir().join("opt");
    for (options, code, words) in
        [("size=8m", 1, "No space left"), ("ro", 1, "Read-only"), ("noexec,size=1g", 3, "noexec")]
    {
        mounted(&folder, options);
        let answer = catamaran.run(&["install"]);
        let left = bytes_below(&folder);
        assert!(Command::new("umount").arg(&folder).status().unwrap().success());
        assert_eq!(answer.code, Some(code), "{answer:#?}");
        assert!(answer.value["error"]["found"].as_str().unwrap().contains(words), "{answer:#?}");
        assert!(answer.value["error"]["remedy"].as_str().unwrap().len() > 20, "{answer:#?}");
        assert_eq!(left.len(), 0, "{options}: {:?}", left.iter().map(|(path, _)| path).collect::<Vec<_>>());
        assert_eq!(bytes_below(&node.dir().join("conf.d")), Vec::new());
        assert!(!node.catamaran_root().join("node").exists(), "{options}");
    }
    assert!(manager.jobs().is_empty(), "{:?}", manager.jobs());
    fs::remove_dir(&folder).unwrap();
    node.finish();
}

#[test]
fn a_talos_extension_has_the_programs_and_a_part_of_containerds_configuration() {
    let scratch = catamaran_harness::scratch();
    let folder = scratch.join("extension");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shim/node/talos");
    let run = || Command::new(&script).args([catamaran_harness::shim_folder(), folder.clone()]).output().unwrap();
    let output = run();
    assert!(output.status.success(), "{output:?}");
    for program in OURS {
        assert!(folder.join("rootfs/usr/local/bin").join(program).exists(), "{program}");
    }
    let part = fs::read_to_string(folder.join("rootfs/etc/cri/conf.d/10-catamaran.part")).unwrap();
    assert!(part.contains("runtimes.catamaran]") && !part.contains("version"), "{part}");
    assert!(fs::read_to_string(folder.join("manifest.yaml")).unwrap().contains("name: catamaran"));
    assert!(!run().status.success(), "an extension that is there is overwritten");
    fs::remove_dir_all(scratch).unwrap();
}
