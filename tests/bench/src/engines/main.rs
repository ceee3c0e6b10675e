//! `catamaran-engines` measures the tables of docs/engines.md by `catamaran compare`, and prints them; with `BLESS=1` it also writes them there.
//!
//! ```text
//! a private containerd <-- catamaran compare, each program in turn, ROUNDS times --> medians --> the page
//! ```
//!
//! Each comparison runs a program on one engine and then on the other, so that other load of the machine affects both alike in the long run.
//! Needs root, and the release build: `CATAMARAN_BIN` is the folder of our programs.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "like a test: a panic is how the program says that a run failed, and the node is removed by unwinding"
)]

mod compare;

use std::collections::BTreeMap;
use std::fs;

use catamaran_bench::median;
use catamaran_bench::page::{self, Figures, Pair, Started, Taken};
use catamaran_bench::programs::start::Start;
use catamaran_bench::programs::work::Work;
use catamaran_harness::{Node, shim_folder};

use compare::{Catamaran, OfEngine};

/// How often each program is compared, in turns: an odd number.
const ROUNDS: usize = 7;

/// What one program came to on each engine in each comparison.
#[derive(Default)]
struct Compared {
    engines: [Vec<OfEngine>; 2],
}

impl Compared {
    fn add(&mut self, [wasmtime, wasmer]: [OfEngine; 2]) {
        self.engines[0].push(wasmtime);
        self.engines[1].push(wasmer);
    }

    /// The median of a figure on each engine.
    fn pair(&self, figure: impl Fn(&OfEngine) -> f64) -> Pair {
        let [wasmtime, wasmer] = self.engines.each_ref().map(|all| {
            let values: Vec<f64> = all.iter().map(&figure).collect();
            median(&values).expect("each round compares each program")
        });
        Pair::new(wasmtime, wasmer)
    }
}

fn main() {
    let bless = std::env::var_os("BLESS").is_some_and(|value| !value.is_empty());
    let release = shim_folder().file_name().is_some_and(|name| name == "release");
    assert!(release || !bless, "{} gets figures of the release build only: make engines BLESS=1", page::DOCUMENT);
    let page = page::text();
    let node = Node::start();
    let figures = measured(&Catamaran::on(&node));
    node.finish();
    print!("{}", figures.text());
    if bless {
        fs::write(page::path(), figures.written(&page)).expect("cannot write the page");
    }
}

fn measured(catamaran: &Catamaran<'_>) -> Figures {
    let mut works: BTreeMap<Work, Compared> = BTreeMap::new();
    let mut starts: [Compared; Start::ALL.len()] = Default::default();
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        for work in Work::ALL {
            works.entry(work).or_default().add(catamaran.work(work));
        }
        for (start, compared) in Start::ALL.iter().zip(&mut starts) {
            compared.add(catamaran.module(&start.module(), start.words()));
        }
    }
    let taken =
        |compared: &Compared| Taken { run: compared.pair(|of| of.run), processor: compared.pair(|of| of.processor) };
    let started = |compared: &Compared| Started {
        first: compared.pair(|of| of.first_start),
        later: compared.pair(|of| of.later_start),
        memory: compared.pair(|of| of.memory / 1e6),
    };
    Figures { works: works.values().map(taken).collect(), starts: starts.iter().map(started).collect() }
}
