//! One first start of a module, and ten at once, quiet and beside load: how long until the last has ended, and how often it was compiled.

use std::time::{Duration, Instant};

use catamaran_harness::{Image, Node, guests};

use crate::account::Account;
use crate::busy::Busy;
use crate::contender::Contender;
use crate::crowd::crowd;
use crate::rows::{Row, Together};
use crate::run::Run;
use crate::samples::{Samples, milliseconds};
use crate::{compiles, ctr};

const SIZE: usize = 10;

/// Measures the rows of the stampede, for contenders that run Wasm.
pub(crate) fn measure(run: &Run<'_>, samples: &mut Samples) {
    let Run { node, account, contenders, plan } = *run;
    if plan.stampedes == 0 {
        return;
    }
    let module = guests::of_size(5_000_000, 0);
    for round in 0..plan.stampedes {
        for contender in contenders {
            let Some(image) = contender.module_image("middle", &module) else { continue };
            eprintln!("stampede {} of {}: {}", round + 1, plan.stampedes, contender.name);
            node.import(&image);
            for beside_load in [false, true] {
                let row: fn(Together) -> Row = if beside_load { Row::StampedeBesideLoad } else { Row::Stampede };
                let mut counted = vec![row(Together::One), row(Together::Ten), row(Together::Ratio)];
                if contender.is_ours() && !beside_load {
                    counted.push(Row::StampedeCompiles);
                }
                account.turn(samples, contender.side(), &counted.clone(), || {
                    let at_once = |size| starts(node, account, contender, &image, (size, round), beside_load);
                    let (one, _) = at_once(1);
                    let (ten, compiled) = at_once(SIZE);
                    let [one, ten] = [one, ten].map(milliseconds);
                    counted.into_iter().zip([one, ten, ten / one, compiled as f64]).collect()
                });
            }
        }
    }
}

/// Makes `size` first starts at once, and returns the time until the last has ended and the number of compiles.
fn starts(
    node: &Node,
    account: &Account<'_>,
    contender: &Contender,
    image: &Image,
    (size, round): (usize, usize),
    beside_load: bool,
) -> (Duration, u64) {
    compiles::empty_the_cache(node);
    let before = compiles::count(node);
    let load = beside_load.then(|| Busy::start(account));
    let begin = Instant::now();
    crowd(size, size, |number| {
        let id = contender.id(&format!("stampede-{size}-{beside_load}"), round * size + number);
        ctr::run(node, contender, &["--rm"], image.name(), &id)
    });
    let wall = begin.elapsed();
    drop(load);
    eprintln!("- {size} at once{}: {:.3} s", if beside_load { " beside load" } else { "" }, wall.as_secs_f64());
    account.settle();
    (wall, compiles::count(node) - before)
}
