//! A sample of the suites, on both engines; `make suites` runs them whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use catamaran_harness::{Engine, Node};
use catamaran_suites::{GoPackages, Suite, Verdict};

/// Packages that are compiled and run within seconds.
const PACKAGES: [&str; 2] = ["os", "io/fs"];

fn expect(engine: Engine) {
    let node = Node::start();
    let outcomes = GoPackages::default().run(&node, engine, &PACKAGES.map(str::to_owned));
    let verdict = Verdict::new("go", engine, &outcomes, false);
    assert!(verdict.troubles.is_empty(), "{}", verdict.troubles.join("\n"));
    // Most of them, and each of the packages.
    assert!(verdict.passed > 1000, "{verdict:?}");
    for package in PACKAGES {
        assert!(outcomes.keys().any(|name| name.starts_with(&format!("{package} "))), "none of {package}'s tests ran");
    }
    node.await_compiles();
    node.finish();
}

#[test]
fn tests_of_gos_files_end_as_listed_on_wasmtime() {
    expect(Engine::Wasmtime);
}

#[test]
fn tests_of_gos_files_end_as_listed_on_wasmer() {
    expect(Engine::Wasmer);
}
