//! One short container after the other.
//!
//! Each contender's turn is `ctr run --rm` once, for wall time and CPU, and the task API once, for the
//! two waits inside: Create (the shim is started and makes the container) and Start to the first byte.

use std::time::{Duration, Instant};

use catamaran_harness::{Container, Image, Node, PATIENCE};

use crate::account::Account;
use crate::contender::Contender;
use crate::ctr;
use crate::plan::Plan;
use crate::rows::Row;
use crate::samples::{Samples, milliseconds};
use crate::watch::Watch;

/// Measures the rows of hello.
pub(crate) fn measure(
    node: &Node,
    account: &Account<'_>,
    contenders: &[Contender],
    plan: &Plan,
    samples: &mut Samples,
) {
    if plan.rounds == 0 {
        return;
    }
    let images: Vec<Image> = contenders.iter().map(|contender| contender.image("hello")).collect();
    for image in &images {
        node.import(image);
    }
    for round in 0..plan.warm_ups + plan.rounds {
        let counts = round >= plan.warm_ups;
        eprintln!("hello {} of {}", round + 1, plan.warm_ups + plan.rounds);
        for (contender, image) in contenders.iter().zip(&images) {
            let (wall, cpu) = whole_run(node, account, contender, image, round);
            let (create, first) = by_steps(node, account, contender, image, round);
            if counts {
                samples.add(Row::HelloWall, contender, milliseconds(wall));
                samples.add(Row::HelloCpu, contender, milliseconds(cpu));
                samples.add(Row::Create, contender, milliseconds(create));
                samples.add(Row::FirstOutput, contender, milliseconds(first));
            }
        }
    }
}

/// `ctr run --rm`: its wall time, and the CPU of everything that it caused.
fn whole_run(
    node: &Node,
    account: &Account<'_>,
    contender: &Contender,
    image: &Image,
    round: usize,
) -> (Duration, Duration) {
    account.settle();
    let before = account.cpu();
    let id = contender.id("run", round);
    let (stdout, wall) = ctr::run(node, contender, &["--rm"], image.name(), &id);
    assert!(stdout.starts_with("hello from "), "{id} printed {stdout:?}");
    // ctr may return before the shim has ended.
    account.settle();
    (wall, account.cpu() - before)
}

/// Create, and Start to the first byte of stdout.
fn by_steps(
    node: &Node,
    account: &Account<'_>,
    contender: &Contender,
    image: &Image,
    round: usize,
) -> (Duration, Duration) {
    let id = contender.id("steps", round);
    let (task, create) = timed_create(node, &contender.container(node, &id, image));
    let output = Watch::read_from(&node.dir().join("fifo").join(&id).join("stdout"));
    let begin = Instant::now();
    task.start();
    let first = output.moment() - begin;
    task.wait(PATIENCE);
    let output = task.delete();
    assert!(output.code == 0, "{id} ended badly: {output:?}");
    account.settle();
    (create, first)
}

/// Creates a task and returns how long that took: from the moment that its stdio folder is made, which the harness does just before it asks
/// for the snapshot's mounts and then for the task. So the harness's two FIFOs and one short call to containerd (1 to 2 ms, the same for
/// all) count too; the container's record, which `ctr` made before, does not.
pub(crate) fn timed_create<'n>(node: &Node, container: &Container<'n>) -> (catamaran_harness::Task<'n>, Duration) {
    let made = Watch::made_in(&node.dir().join("fifo"));
    let task = container.create();
    let end = Instant::now();
    let begin = made.moment();
    (task, end - begin)
}
