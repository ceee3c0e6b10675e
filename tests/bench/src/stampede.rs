//! Ten concurrent first starts of one module: how long until the last has ended, and how often it was compiled.

use std::time::Instant;

use catamaran_harness::{Node, guests};

use crate::account::Account;
use crate::compiles;
use crate::contender::Contender;
use crate::crowd::crowd;
use crate::ctr;
use crate::plan::Plan;
use crate::rows::Row;
use crate::samples::{Samples, milliseconds};

const SIZE: usize = 10;

/// Measures the rows of the stampede, for contenders that run Wasm.
pub(crate) fn measure(
    node: &Node,
    account: &Account<'_>,
    contenders: &[Contender],
    plan: &Plan,
    samples: &mut Samples,
) {
    if plan.stampedes == 0 {
        return;
    }
    let module = guests::of_size(5_000_000, 0);
    for round in 0..plan.stampedes {
        eprintln!("stampede {} of {}", round + 1, plan.stampedes);
        for contender in contenders {
            let Some(image) = contender.module_image("middle", &module) else { continue };
            node.import(&image);
            compiles::empty_the_cache(node);
            let before = compiles::count(node);
            let begin = Instant::now();
            crowd(SIZE, SIZE, |number| {
                let id = contender.id("stampede", round * SIZE + number);
                ctr::run(node, contender, &["--rm"], image.name(), &id)
            });
            samples.add(Row::Stampede, contender, milliseconds(begin.elapsed()));
            node.await_compiles();
            if contender.is_ours() {
                samples.add(Row::StampedeCompiles, contender, (compiles::count(node) - before) as f64);
            }
            account.settle();
        }
    }
}
