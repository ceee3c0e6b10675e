//! `securityContext` and what else of a pod bears on its confinement, through the CRI as a kubelet asks for it, on both
//! engines. What can be seen from the host is looked at there, what only the guest sees is what it says.
//!
//! - `users`: users and groups
//! - `files`: what of its tree a guest may read and write
//! - `rights`: capabilities, privileges, AppArmor, namespaces
//! - `syscalls`: seccomp profiles
//! - `authors`: what a pod's author can ask for by annotations

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
use catamaran_harness::{Engine, Image, Node, Options, Runtime, Status, guests};

const SOON: Duration = Duration::from_secs(20);
const NONE: Propagation = Propagation::None;

fn wasm(name: &str) -> Image {
    guests::image(Runtime::Catamaran, name)
}

fn kitchen() -> Image {
    guests::of("kitchen", guests::c("kitchen"))
}

fn options() -> Options {
    cri::options().network()
}

/// Does it in a pod on each engine.
fn on_each_engine(node: &Node, work: impl Fn(&Pod<'_>, Engine)) {
    for engine in Engine::ALL {
        let pod = Pod::run(node, engine.name(), Shape::on(engine));
        work(&pod, engine);
        pod.remove();
    }
}

/// What a guest left.
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

/// The guest did it.
fn done(order: Order<'_, '_>) -> Vec<String> {
    let said = said(order);
    assert_eq!((said.code, said.stderr.as_slice()), (0, &[][..]), "{said:?}");
    said.stdout
}

/// The guest was told this by the kernel.
fn denied(order: Order<'_, '_>, error: &str) {
    let said = said(order);
    assert!(
        said.code == 1 && said.stderr.len() == 1 && said.stderr[0].ends_with(error),
        "expected {error:?}: {said:?}"
    );
}

/// It was created, and refused when it was to be started: containerd asks the shim no sooner.
fn refused(order: Order<'_, '_>) -> Status {
    let container = order.ready();
    let refused = container.try_start().expect_err("it was started");
    let status = container.status();
    assert_eq!((status.state, status.reason.as_str()), (ContainerState::Exited, "StartError"), "{status:?}");
    // What `kubectl describe` shows.
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

/// A folder of the node's with an owner and a mode, as a volume.
fn volume(node: &Node, name: &str, owner: (u32, u32), mode: u32) -> PathBuf {
    let path = node.folder("volumes").join(name);
    fs::create_dir(&path).unwrap();
    chown(&path, Some(owner.0), Some(owner.1)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}
