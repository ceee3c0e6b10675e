//! Twenty idle containers of one large module that has run all of its code: the memory of each, which is small if they share the code.

use std::thread::sleep;
use std::time::Duration;

use catamaran_harness::{Image, Node, Task, guests};

use crate::account::{Account, Member};
use crate::census;
use crate::contender::Contender;
use crate::crowd::crowd;
use crate::rows::Row;
use crate::run::Run;
use crate::samples::Samples;

const SIZE: usize = 20;
const AT_A_TIME: usize = 4;
const LIMIT: Duration = Duration::from_secs(120);

/// Measures the rows of the code's memory, for contenders that run Wasm.
pub(crate) fn measure(run: &Run<'_>, samples: &mut Samples) {
    let Run { node, account, contenders, plan } = *run;
    if plan.code == 0 {
        return;
    }
    let module = guests::idle_of_size(15_000_000);
    for round in 0..plan.code {
        for contender in contenders {
            let Some(image) = contender.module_image("idle-large", &module) else { continue };
            eprintln!("code {} of {}: {}", round + 1, plan.code, contender.name);
            account.turn(samples, contender.side(), &[Row::CodePss, Row::CodeDirty], || {
                // Waits for the optimiser, so that all twenty run the same code.
                let order = contender.container(node, &contender.id("code-first", round), &image).limit(LIMIT);
                order.spawn().discard();
                account.settle();
                idle(node, account, contender, &image, round)
            });
        }
    }
}

fn idle(node: &Node, account: &Account<'_>, contender: &Contender, image: &Image, round: usize) -> Vec<(Row, f64)> {
    let tasks: Vec<Task<'_>> = crowd(SIZE, AT_A_TIME, |number| {
        let id = contender.id("code", round * SIZE + number);
        let task = contender.container(node, &id, image).limit(LIMIT).spawn();
        task.expect_stdout("ready");
        task
    });
    sleep(Duration::from_secs(1));
    let (mut pss, mut dirty) = (0.0, 0.0);
    for member in account.members() {
        if let Member::Container(pid) = member {
            let memory = census::memory(pid);
            pss += memory.pss;
            dirty += memory.dirty;
        }
    }
    for task in tasks {
        task.discard();
    }
    vec![(Row::CodePss, pss / SIZE as f64), (Row::CodeDirty, dirty / SIZE as f64)]
}
