//! Modules of three sizes in both forms of an image, a file in its tree and a layer of its own: the first start, and one right after it,
//! while the optimiser works.

use std::time::Duration;

use catamaran_harness::{Image, guests};

use crate::rows::Row;
use crate::run::Run;
use crate::samples::{Samples, milliseconds};
use crate::{compiles, start};

/// A first start of the largest module: many seconds of one core are normal.
const LIMIT: Duration = Duration::from_secs(240);

/// Bytes of code and of data, a name, and the rows of a file's first and later start and of a layer's.
const SIZES: [(usize, usize, &str, [Row; 4]); 3] = [
    (100_000, 0, "small", [Row::SmallFileFirst, Row::SmallFileLater, Row::SmallLayerFirst, Row::SmallLayerLater]),
    (
        5_000_000,
        0,
        "middle",
        [Row::MiddleFileFirst, Row::MiddleFileLater, Row::MiddleLayerFirst, Row::MiddleLayerLater],
    ),
    (
        10_000_000,
        40_000_000,
        "large",
        [Row::LargeFileFirst, Row::LargeFileLater, Row::LargeLayerFirst, Row::LargeLayerLater],
    ),
];

/// Measures the rows of the sizes, for our own shim.
pub(crate) fn measure(run: &Run<'_>, samples: &mut Samples) {
    let Run { node, account, contenders, plan } = *run;
    for round in 0..plan.sizes {
        for (code, data, name, [file_first, file_later, layer_first, layer_later]) in SIZES {
            let module = guests::of_size(code, data);
            let path = format!("/{name}");
            let file = Image::new(&format!("{name}-file")).file(&path, &module).entrypoint([&path]);
            let layer = Image::new(&format!("{name}-layer")).blob("application/wasm", &module);
            for (image, first, later) in [(&file, file_first, file_later), (&layer, layer_first, layer_later)] {
                node.import(image);
                for contender in contenders.iter().filter(|contender| contender.is_ours()) {
                    eprintln!("sizes {} of {}: {} on {}", round + 1, plan.sizes, image.name(), contender.name);
                    compiles::empty_the_cache(node);
                    for (row, what) in [(first, "first"), (later, "later")] {
                        let id = contender.id(&format!("{name}-{what}"), round);
                        let order = contender.container(node, &id, image).args([&path]).limit(LIMIT);
                        samples.turn(contender.side(), &[row], || {
                            let (task, create) = start::create(node, &order);
                            task.start();
                            task.wait(LIMIT);
                            let output = task.delete();
                            assert!(output.code == 0, "{id} ended badly: {output:?}");
                            vec![(row, milliseconds(create))]
                        });
                    }
                    account.settle();
                }
            }
        }
    }
}
