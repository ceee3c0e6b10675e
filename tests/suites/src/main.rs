//! `catamaran-suites [WORD...]`: every suite, or the suites and parts of these names, on both engines; the failures and a table.
//!
//! `make suites` runs it. Needs root.

use std::process::ExitCode;
use std::time::Instant;

use catamaran_harness::{Engine, Node};
use catamaran_suites::{CPython, GoPackages, Row, Suite, Verdict, print_table};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let suites: [&dyn Suite; 2] = [&GoPackages::default(), &CPython];
    let mut rows = Vec::new();
    for suite in suites {
        let whole = words.is_empty() || words.iter().any(|word| word == suite.name());
        let parts = if whole { &[] } else { words.as_slice() };
        rows.extend(Engine::ALL.into_iter().filter_map(|engine| run(suite, engine, parts)));
    }
    for Row { suite, engine, verdict, .. } in &rows {
        verdict.troubles.iter().for_each(|trouble| println!("\n{suite} on {}: {trouble}", engine.name()));
    }
    print_table(&rows);
    let good = !rows.is_empty() && rows.iter().all(|row| row.verdict.troubles.is_empty());
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs these parts of a suite, or all of it, on an engine. Returns None if it has none of them.
fn run(suite: &dyn Suite, engine: Engine, parts: &[String]) -> Option<Row> {
    if !parts.is_empty() && !suite.parts().iter().any(|part| parts.iter().any(|word| word == part)) {
        return None;
    }
    let node = Node::start();
    let start = Instant::now();
    let outcomes = suite.run(&node, engine, parts);
    let took = start.elapsed();
    node.await_compiles();
    node.finish();
    let verdict = Verdict::new(suite.name(), engine, &outcomes, parts.is_empty());
    Some(Row { suite: suite.name(), engine, verdict, took })
}
