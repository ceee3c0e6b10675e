//! Starts: timed ones by the task API, and those of pods by the CRI.

use std::time::{Duration, Instant};

use catamaran_harness::cri::{Pod, Running, Shape};
use catamaran_harness::{Container, Image, Node, Task};

use crate::watch::Watch;

/// Creates a task and returns how long that took: from the moment that its stdio folder is made, which the harness does just before it asks
/// for the snapshot's mounts and then for the task. So the harness's two FIFOs and one short call to containerd (1 to 2 ms, the same for
/// all) count too; the container's record, which `ctr` made before, does not.
pub(crate) fn create<'n>(node: &'n Node, container: &Container<'n>) -> (Task<'n>, Duration) {
    let made = Watch::made_in(&node.dir().join("fifo"));
    let task = container.create();
    let end = Instant::now();
    let begin = made.moment();
    (task, end - begin)
}

/// Starts a created task, and returns how long it took until the first bytes of its stdout were read.
pub(crate) fn first_output(node: &Node, task: &Task<'_>, limit: Duration) -> Duration {
    let output = Watch::read_from(&node.dir().join("fifo").join(task.id()).join("stdout"), limit);
    let begin = Instant::now();
    task.start();
    output.moment() - begin
}

/// Creates and starts a task, and returns the time to its first output: what a user waits for, whether a shim compiles in Create or in
/// Start.
pub(crate) fn to_output<'n>(node: &'n Node, container: &Container<'n>, limit: Duration) -> (Task<'n>, Duration) {
    let (task, create) = create(node, container);
    let first = first_output(node, &task, limit);
    (task, create + first)
}

/// Starts a pod with one container, and returns when StartContainer has answered, as for a kubelet.
pub(crate) fn pod<'n>(node: &'n Node, name: &str, shape: &Shape, image: &Image) -> (Pod<'n>, Running<'n>) {
    let pod = Pod::run(node, name, shape.clone());
    let container = pod.order("sleep", image).start();
    (pod, container)
}
