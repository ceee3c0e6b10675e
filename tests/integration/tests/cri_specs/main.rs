//! A runtime's duties to the CRI, checked with Wasm containers on both engines: the behaviours that critest (kubernetes-sigs/cri-tools)
//! checks, without images and exec.
//!
//! - `lifecycle`: created, started, stopped, removed, and the status meanwhile
//! - `listing`: lists by filters
//! - `pods`: the same for pods, and for containers in one
//! - `logs`: logs for `kubectl logs`
//! - `world`: arguments, environment, names, volumes

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

mod lifecycle;
mod listing;
mod logs;
mod pods;
mod world;

use std::time::Duration;

use catamaran_harness::cri::{self, ContainerStatus, Order, Pod, Running, Shape};
use catamaran_harness::guests::wasm;
use catamaran_harness::{Engine, Image, Node, guests};

const SOON: Duration = Duration::from_secs(20);

/// A module from `tests/guests/c/NAME.c`, which runs on either engine.
fn c(name: &str) -> Image {
    guests::of(name, guests::c(name))
}

fn node() -> Node {
    Node::start_with(cri::options().network())
}

/// Runs `work` in a pod on each engine.
fn on_each_engine(node: &Node, work: impl Fn(&Pod<'_>, Engine)) {
    for engine in Engine::ALL {
        let pod = Pod::run(node, engine.name(), Shape::on(engine));
        work(&pod, engine);
        pod.remove();
    }
}

fn to_its_end<'n>(order: Order<'n, '_>) -> (Running<'n>, ContainerStatus) {
    let container = order.start();
    let ended = container.wait(SOON);
    (container, ended)
}

/// Returns the output of a guest that must succeed.
fn says(order: Order<'_, '_>) -> Vec<String> {
    let (container, ended) = to_its_end(order);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (0, "Completed"), "{ended:?}: {:?}", container.log());
    container.lines("stdout")
}

fn ready<'n>(order: Order<'n, '_>) -> Running<'n> {
    let container = order.start();
    container.expect_line("ready");
    container
}
