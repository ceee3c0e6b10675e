//! One short container after the other.
//!
//! Each contender's turn is `ctr run --rm` once, for wall time and CPU, and the task API once, for the
//! two waits inside: Create (the shim is started and makes the container) and Start to the first byte.

use std::time::Duration;

use catamaran_harness::{Image, Node, PATIENCE};

use crate::account::Account;
use crate::contender::Contender;
use crate::rows::Row;
use crate::run::Run;
use crate::samples::{Samples, milliseconds};
use crate::{ctr, start};

const ROWS: [Row; 4] = [Row::HelloWall, Row::HelloCpu, Row::Create, Row::FirstOutput];

/// Measures the rows of hello.
pub(crate) fn measure(run: &Run<'_>, samples: &mut Samples) {
    let Run { node, account, contenders, plan } = *run;
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
            account.turn(samples, contender.side(), if counts { &ROWS } else { &[] }, || {
                let (wall, cpu) = whole_run(node, account, contender, image, round);
                let (create, first) = by_steps(node, contender, image, round);
                let figures = [wall, cpu, create, first].map(milliseconds);
                if counts { ROWS.into_iter().zip(figures).collect() } else { Vec::new() }
            });
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
fn by_steps(node: &Node, contender: &Contender, image: &Image, round: usize) -> (Duration, Duration) {
    let id = contender.id("steps", round);
    let (task, create) = start::create(node, &contender.container(node, &id, image));
    let first = start::first_output(node, &task, PATIENCE);
    task.wait(PATIENCE);
    let output = task.delete();
    assert!(output.code == 0, "{id} ended badly: {output:?}");
    (create, first)
}
