//! `catamaran-suites [WORD...]`: every suite, or the parts of these names, on both engines; the failures and a table.
//!
//! `make suites` runs it. Needs root.

use std::process::ExitCode;

use catamaran_harness::{Engine, Node};
use catamaran_suites::{GoPackages, Suite, Verdict, print_table};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let suites: [&dyn Suite; 1] = [&GoPackages::default()];
    let mut rows = Vec::new();
    for suite in suites {
        for engine in Engine::ALL {
            let node = Node::start();
            let outcomes = suite.run(&node, engine, &words);
            if !outcomes.is_empty() {
                rows.push((suite.name(), engine, Verdict::new(suite.name(), engine, &outcomes, words.is_empty())));
            }
            node.await_compiles();
            node.finish();
        }
    }
    for (suite, engine, verdict) in &rows {
        verdict.troubles.iter().for_each(|trouble| println!("\n{suite} on {}: {trouble}", engine.name()));
    }
    print_table(&rows);
    let good = !rows.is_empty() && rows.iter().all(|(_, _, verdict)| verdict.troubles.is_empty());
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
