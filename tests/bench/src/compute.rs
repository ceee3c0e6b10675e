//! Programs in C for their own speed, the same source everywhere: native, by `cc -O2`, and as modules. The program itself measures its time,
//! so that no start counts.

use std::time::Duration;

use catamaran_bench::programs::work::Work;
use catamaran_harness::Image;

use crate::contender::Contender;
use crate::rows::Row;
use crate::run::Run;
use crate::samples::Samples;

/// Measures the rows of computing.
pub(crate) fn measure(run: &Run<'_>, samples: &mut Samples) {
    if run.plan.compute == 0 {
        return;
    }
    let images = |work: Work| -> Vec<Image> { run.contenders.iter().map(|one| one.work_image(work)).collect() };
    let all: Vec<(Work, Vec<Image>)> = Work::ALL.into_iter().map(|work| (work, images(work))).collect();
    for (work, images) in &all {
        for (contender, image) in run.contenders.iter().zip(images) {
            // Compiles it with the optimiser, whose code is to be measured.
            run.account.turn(samples, contender.side(), &[], || {
                took(run, contender, image, *work, "first");
                Vec::new()
            });
        }
    }
    run.node.await_compiles();
    for round in 0..run.plan.compute {
        eprintln!("compute {} of {}", round + 1, run.plan.compute);
        for (work, images) in &all {
            let row = Row::Compute(*work);
            let mut results = Vec::new();
            for (contender, image) in run.contenders.iter().zip(images) {
                run.account.turn(samples, contender.side(), &[row], || {
                    let (result, milliseconds) = took(run, contender, image, *work, &round.to_string());
                    results.push(result);
                    vec![(row, milliseconds)]
                });
            }
            assert!(
                results.iter().all(|result| *result == results[0]),
                "{work:?}: not the same everywhere: {results:?}"
            );
        }
    }
}

/// Runs a program, and returns its result and the milliseconds that it took.
fn took(run: &Run<'_>, contender: &Contender, image: &Image, work: Work, turn: &str) -> (String, f64) {
    let id = contender.id(&format!("{work:?}-{turn}").to_lowercase(), 0);
    let path = format!("/{}", work.guest());
    let [word, rounds] = work.words();
    let order = contender.container(run.node, &id, image).args([path.as_str(), word, rounds]);
    let output = order.limit(Duration::from_secs(60)).to_its_end();
    let parts = output.stdout.trim().split_once(' ');
    let (result, nanoseconds) = parts.unwrap_or_else(|| panic!("{id}: {output:?}"));
    (result.to_owned(), nanoseconds.parse::<f64>().expect("a number") / 1e6)
}
