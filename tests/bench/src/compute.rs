//! Work for a processor alone, the same C source everywhere: native, by `cc -O2`, and as a module of WASI preview 1. The program itself
//! measures its time, so that no start counts.

use std::time::Duration;

use catamaran_harness::Image;

use crate::rows::Row;
use crate::run::Run;
use crate::samples::Samples;

/// The programs' arguments; some 0.1 to 0.3 s natively.
const WORK: [(Row, [&str; 2]); 3] =
    [(Row::Fib, ["fib", "38"]), (Row::Mandelbrot, ["mandelbrot", "800"]), (Row::Sha256, ["sha256", "40000"])];

/// Measures the rows of computing.
pub(crate) fn measure(run: &Run<'_>, samples: &mut Samples) {
    let Run { node, account, contenders, plan } = *run;
    if plan.compute == 0 {
        return;
    }
    let images: Vec<Image> = contenders.iter().map(|contender| contender.c_image("compute")).collect();
    for (contender, image) in contenders.iter().zip(&images) {
        account.turn(samples, contender.side(), &[], || {
            // Compiles it with the optimiser, whose code is to be measured.
            let id = contender.id("compute-first", 0);
            contender.container(node, &id, image).args(["/compute", "fib", "1"]).to_its_end();
            Vec::new()
        });
    }
    for round in 0..plan.compute {
        eprintln!("compute {} of {}", round + 1, plan.compute);
        for (row, [work, rounds]) in WORK {
            let mut results = Vec::new();
            for (contender, image) in contenders.iter().zip(&images) {
                account.turn(samples, contender.side(), &[row], || {
                    let id = contender.id(work, round);
                    let order = contender.container(node, &id, image).args(["/compute", work, rounds]);
                    let output = order.limit(Duration::from_secs(60)).to_its_end();
                    let (result, nanoseconds) =
                        output.stdout.trim().split_once(' ').unwrap_or_else(|| panic!("{id}: {output:?}"));
                    results.push(result.to_owned());
                    vec![(row, nanoseconds.parse::<f64>().expect("a number") / 1e6)]
                });
            }
            assert!(results.iter().all(|result| *result == results[0]), "{work}: not the same everywhere: {results:?}");
        }
    }
}
