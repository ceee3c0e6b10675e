//! A Go program: its first start, which compiles it, and later ones, on the optimiser's code.

use std::time::Duration;

use catamaran_harness::{Image, Node, PATIENCE, guests};

use crate::account::Account;
use crate::compiles;
use crate::contender::Contender;
use crate::hello::timed_create;
use crate::plan::Plan;
use crate::rows::Row;
use crate::samples::{Samples, milliseconds};

/// The number of later starts in a round; they are cheap, and improve the median.
const LATER: usize = 3;

/// Measures the rows of the Go guest, for contenders that run it.
pub(crate) fn measure(
    node: &Node,
    account: &Account<'_>,
    contenders: &[Contender],
    plan: &Plan,
    samples: &mut Samples,
) {
    if plan.cold == 0 {
        return;
    }
    let module = guests::go("report");
    let images: Vec<_> = contenders.iter().map(|contender| contender.module_image("report", &module)).collect();
    for round in 0..plan.cold {
        eprintln!("cold {} of {}", round + 1, plan.cold);
        for (contender, image) in contenders.iter().zip(&images) {
            let Some(image) = image else { continue };
            node.import(image);
            compiles::empty_the_cache(node);
            for number in 0..=LATER {
                let create = one(node, account, contender, image, round * (LATER + 1) + number);
                let row = if number == 0 { Row::GoFirst } else { Row::GoLater };
                samples.add(row, contender, milliseconds(create));
            }
        }
    }
}

/// Runs it once, and returns the time of Create.
fn one(node: &Node, account: &Account<'_>, contender: &Contender, image: &Image, number: usize) -> Duration {
    let id = contender.id("go", number);
    let container = contender.container(node, &id, image).args(["/report", "two words"]);
    let (task, create) = timed_create(node, &container);
    task.start();
    task.wait(PATIENCE);
    let output = task.delete();
    assert!(output.code == 0 && output.stdout == "2 words: [\"two\",\"words\"]\n", "{id} ended badly: {output:?}");
    account.settle();
    create
}
