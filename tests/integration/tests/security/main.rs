//! `securityContext` and other fields of a pod that affect its confinement, through the CRI as a kubelet sends them, on both engines. The
//! tests look from the host where they can, and otherwise ask the guest.
//!
//! - `users`: users and groups
//! - `files`: files of its tree that a guest may read and write
//! - `rights`: capabilities, privileges, AppArmor, namespaces
//! - `syscalls`: seccomp profiles
//! - `authors`: annotations that a pod's author can use

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

mod authors;
mod files;
mod rights;
mod syscalls;
mod users;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::time::Duration;

use catamaran_harness::cri::{self, ContainerState, Order, Pod, Propagation, Running, Shape};
use catamaran_harness::guests::wasm;
use catamaran_harness::{Engine, Image, Node, Options, Status, guests};

const SOON: Duration = Duration::from_secs(20);
const NONE: Propagation = Propagation::None;

fn kitchen() -> Image {
    guests::of("kitchen", guests::c("kitchen"))
}

fn options() -> Options {
    cri::options().network()
}

/// Runs `work` in a pod on each engine.
fn on_each_engine(node: &Node, work: impl Fn(&Pod<'_>, Engine)) {
    for engine in Engine::ALL {
        let pod = Pod::run(node, engine.name(), Shape::on(engine));
        work(&pod, engine);
        pod.remove();
    }
}

/// A guest's exit code and output.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: i32,
    stdout: Vec<String>,
    stderr: Vec<String>,
}

fn said(order: Order<'_, '_>) -> Said {
    let container = order.start();
    let ended = container.wait(SOON);
    Said { code: ended.exit_code, stdout: container.lines("stdout"), stderr: container.lines("stderr") }
}

/// Checks that the guest succeeded, and returns its output.
fn done(order: Order<'_, '_>) -> Vec<String> {
    let said = said(order);
    assert_eq!((said.code, said.stderr.as_slice()), (0, &[][..]), "{said:?}");
    said.stdout
}

/// Checks that the kernel refused the guest with this error.
fn denied(order: Order<'_, '_>, error: &str) {
    let said = said(order);
    assert!(
        said.code == 1 && said.stderr.len() == 1 && said.stderr[0].ends_with(error),
        "expected {error:?}: {said:?}"
    );
}

/// Creates a container that must be refused at its start: containerd asks the shim no sooner.
fn refused(order: Order<'_, '_>) -> Status {
    let container = order.ready();
    let refused = container.try_start().expect_err("it was started");
    let status = container.status();
    assert_eq!((status.state, status.reason.as_str()), (ContainerState::Exited, "StartError"), "{status:?}");
    // The text in `kubectl describe`.
    assert_eq!(status.message, refused.message);
    refused
}

fn has_words(status: &Status, words: &[&str]) {
    for word in words {
        assert!(status.message.contains(word), "{word:?} is missing in: {status}");
    }
}

fn sleeping<'n>(order: Order<'n, '_>) -> (Running<'n>, u32) {
    let container = order.start();
    container.expect_line("ready");
    let pid = container.status().pid;
    (container, pid)
}

/// A folder of the node with an owner and a mode, as a volume.
fn volume(node: &Node, name: &str, owner: (u32, u32), mode: u32) -> PathBuf {
    let path = node.folder("volumes").join(name);
    fs::create_dir(&path).unwrap();
    chown(&path, Some(owner.0), Some(owner.1)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}
