//! A node's installation, upgrade, rollback and removal under a real systemd, with containerd as its unit. Ignored, because few build
//! machines have systemd: `tests/machine/run` boots one and runs it. Elsewhere it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use catamaran_harness::cri::{self, ContainerState, Pod, Shape};
use catamaran_harness::{Engine, Node, systemd_runs, wait_until};
use catamaran_node_tests::{Catamaran, bytes_below, other_build, tools};

const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(120);
const UNIT: &str = "containerd-of-the-test.service";

fn systemctl(args: &[&str]) -> String {
    let output = Command::new("systemctl").args(args).output().unwrap();
    assert!(output.status.success(), "systemctl {}: {output:?}", args.join(" "));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Makes systemd run the node's containerd, with the harness's arguments. While the file `refuse` exists, containerd does not start with a
/// handler of ours.
fn hand_over(node: &Node) {
    let environment = fs::read(format!("/proc/{}/environ", node.containerd_pid())).unwrap();
    let program = fs::read_link(format!("/proc/{}/exe", node.containerd_pid())).unwrap();
    node.service().stop();
    let dir = node.dir().display();
    let mut unit = format!(
        "[Service]\nType=notify\nDelegate=yes\nKillMode=process\nRestart=always\nRestartSec=1\nWorkingDirectory={dir}\n\
         ExecStartPre=/bin/sh -c '! test -e {dir}/refuse || ! test -e {dir}/conf.d/catamaran.toml'\n\
         ExecStart={} --config {dir}/config.toml\n",
        program.display()
    );
    for variable in environment.split(|byte| *byte == 0).filter(|variable| !variable.is_empty()) {
        let _ = writeln!(unit, "Environment=\"{}\"", String::from_utf8_lossy(variable).replace('%', "%%"));
    }
    fs::create_dir_all("/run/systemd/system").unwrap();
    fs::write(format!("/run/systemd/system/{UNIT}"), unit).unwrap();
    systemctl(&["daemon-reload"]);
    systemctl(&["start", UNIT]);
}

fn take_back(node: &Node) {
    systemctl(&["stop", UNIT]);
    fs::remove_file(format!("/run/systemd/system/{UNIT}")).unwrap();
    systemctl(&["daemon-reload"]);
    node.service().start().unwrap();
}

#[test]
#[ignore = "runs in tests/machine"]
fn a_node_of_systemd_is_installed_upgraded_rolled_back_and_left_as_it_was() {
    assert!(systemd_runs(), "systemd is not the first process here");
    let node = Node::start_with(cri::options());
    fs::remove_file(node.dir().join("conf.d/catamaran.toml")).unwrap();
    hand_over(&node);
    let catamaran = Catamaran::on(&node);
    let configuration = || (fs::read(node.dir().join("config.toml")).unwrap(), bytes_below(&node.dir().join("conf.d")));
    let before = configuration();

    // A change that containerd refuses: it is rolled back, and containerd runs.
    fs::write(node.dir().join("refuse"), "").unwrap();
    let refused = catamaran.run(&["install"]);
    assert_eq!(refused.code, Some(4), "{refused:#?}");
    assert_eq!(configuration(), before);
    wait_until(LATER, "containerd", || {
        (systemctl(&["show", UNIT, "--value", "-p", "ActiveState"]) == "active").then_some(())
    });
    fs::remove_file(node.dir().join("refuse")).unwrap();

    let installed = catamaran.done(&["install"]);
    let old = PathBuf::from(installed["programs"].as_str().unwrap());
    let status = catamaran.done(&["status"]);
    assert_eq!((&status["ready"], &status["containerd"]["unit"]), (&true.into(), &UNIT.into()), "{status:#}");
    let main = systemctl(&["show", UNIT, "--value", "-p", "MainPID"]);
    assert_eq!(catamaran.done(&["install"])["changed"], false);
    assert_eq!(systemctl(&["show", UNIT, "--value", "-p", "MainPID"]), main);

    let pods = [Engine::Wasmtime, Engine::Wasmer].map(|engine| {
        let pod = Pod::run(&node, engine.name(), Shape { network: false, ..Shape::on(engine) });
        let container = pod.order("tools", &tools()).start();
        (pod, container)
    });
    let release = other_build(&node.dir().join("release"));
    let upgraded = catamaran.done(&["install", "--from", release.to_str().unwrap()]);
    assert_eq!(upgraded["in_use"][0].as_str(), old.to_str());
    for (_, container) in &pods {
        assert_eq!(container.status().state, ContainerState::Running);
        let answer = container.exec_sync(&["/hello.wasm"], SOON).unwrap();
        assert_eq!((answer.code, answer.stdout.as_str()), (0, "hello from wasm\n"), "{answer:?}");
    }
    // A change that is never proven: the timer's unit rolls it back, under running pods.
    let second = configuration();
    let killed = catamaran.run_with(&["--rollback-after", "5", "install"], &[("CATAMARAN_STOP_AT", "swapped")]);
    assert_eq!(killed.code, None, "{killed:#?}");
    wait_until(LATER, "the rollback", || {
        (configuration() == second && catamaran.run(&["status"]).value["change_under_way"] == false).then_some(())
    });
    for (pod, container) in pods {
        assert_eq!(container.status().state, ContainerState::Running);
        pod.remove();
    }
    node.await_compiles();
    assert_eq!(catamaran.done(&["install", "--from", release.to_str().unwrap()])["in_use"], serde_json::json!([]));
    assert!(!old.exists());
    node.await_compiles();
    // As on a node without a bus.
    let gone = catamaran.run_with(&["uninstall"], &[("CATAMARAN_SYSTEMD_SOCKET", "/run/systemd/private")]);
    assert_eq!(gone.code, Some(0), "{gone:#?}");
    assert_eq!(configuration(), before);
    assert!(!node.dir().join("opt").exists());
    assert_eq!(systemctl(&["list-units", "--all", "--plain", "--no-legend", "catamaran-rollback-*"]), "");
    take_back(&node);
    node.finish();
}
