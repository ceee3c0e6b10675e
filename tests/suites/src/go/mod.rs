//! The tests of Go's standard library, each package one program for wasip1.
//!
//! Go's own builders run them on Wasmtime and another runtime, with a working directory, `-test.short` and all of the file
//! system; here an image has what they read. A program that breaks off is started again for the tests that are left.

mod build;
mod output;

use std::collections::BTreeSet;
use std::time::Duration;

use catamaran_harness::{Engine, Node};

use crate::attempt::Attempt;
use crate::outcome::{Outcome, Outcomes};
use crate::suite::{Suite, wanted};

/// Go's own limit for a program, which names the test that runs; a program that is stuck in a call of the host's outlives it.
const GO_LIMIT: &str = "-test.timeout=100s";
const LIMIT: Duration = Duration::from_secs(120);
/// A program that breaks off more often than this is given up.
const ATTEMPTS: usize = 40;

/// Packages, and what of Go's tree their tests read beside their own folder.
const PACKAGES: &[(&str, &[&str])] = &[
    ("os", &[]),
    ("io/fs", &["src/os"]),
    ("path/filepath", &["src/unicode"]),
    ("io/ioutil", &[]),
    ("net", &[]),
    ("time", &["lib/time/zoneinfo.zip"]),
    ("syscall", &[]),
    ("os/user", &[]),
    ("os/signal", &[]),
    ("os/exec", &[]),
    ("testing/fstest", &[]),
    ("internal/poll", &[]),
    ("log", &[]),
    ("mime", &[]),
    ("archive/tar", &[]),
    ("archive/zip", &[]),
    ("crypto/rand", &[]),
    ("context", &[]),
    ("sync", &[]),
    ("math", &[]),
    ("strconv", &["src/strconv"]),
    ("hash/crc32", &[]),
];

/// Go's packages, or some of their tests.
#[derive(Debug, Default)]
pub struct GoPackages {
    /// Which tests, as `-test.run` takes them; all without.
    pub tests: Option<&'static str>,
}

impl Suite for GoPackages {
    fn name(&self) -> &'static str {
        "go"
    }

    fn run(&self, node: &Node, engine: Engine, words: &[String]) -> Outcomes {
        let chosen = PACKAGES.iter().filter(|(package, _)| wanted(package, words));
        chosen.flat_map(|(package, others)| self.run_package(node, engine, package, others)).collect()
    }
}

impl GoPackages {
    fn run_package(&self, node: &Node, engine: Engine, package: &str, others: &[&str]) -> Outcomes {
        let image = build::image(package, others);
        let mut outcomes = Outcomes::new();
        let mut done = BTreeSet::new();
        for number in 0..ATTEMPTS {
            let id = format!("go-{}-{}-{number}", package.replace('/', "-"), engine.name());
            let order = node.container(&id).engine(engine).image(&image).args(self.arguments(&done));
            let folder = format!("{}/src/{package}", build::ROOT);
            let order = order.cwd(&folder).env("PWD", &folder).env("GOROOT", build::ROOT).env("HOME", "/tmp");
            let attempt = Attempt::make(&order, LIMIT);
            let read = output::read(&attempt.output.stdout);
            let named = |name: &str| format!("{package} {name}");
            done.extend(read.ended.keys().chain(&read.unfinished).filter(|name| !name.contains('/')).cloned());
            // A parent that a subtest stands for has ended too.
            done.extend(read.ended.keys().filter_map(|name| Some(name.split_once('/')?.0.to_owned())));
            let ended = read.ended.into_iter().map(|(name, outcome)| (named(&name), outcome));
            outcomes.extend(ended);
            // A whole run ends with one of these words.
            let whole = attempt.output.stdout.lines().any(|line| line == "PASS" || line == "FAIL");
            if whole && read.unfinished.is_empty() {
                return outcomes;
            }
            let nothing_began = read.unfinished.is_empty();
            let culprits = read.unfinished.into_iter().map(|name| (named(&name), Outcome::Failed(attempt.end())));
            outcomes.extend(culprits);
            if nothing_began {
                outcomes.insert(named("(the program)"), Outcome::Failed(attempt.end()));
                return outcomes;
            }
        }
        outcomes.insert(format!("{package} (the program)"), Outcome::Failed(format!("it broke off {ATTEMPTS} times")));
        outcomes
    }

    /// The program's words: without those tests that are `done`.
    fn arguments(&self, done: &BTreeSet<String>) -> Vec<String> {
        let mut words =
            ["/program", "-test.v", "-test.short", "-test.parallel=1", GO_LIMIT].map(str::to_owned).to_vec();
        words.extend(self.tests.map(|tests| format!("-test.run={tests}")));
        if !done.is_empty() {
            let names: Vec<&str> = done.iter().map(String::as_str).collect();
            words.push(format!("-test.skip=^({})$", names.join("|")));
        }
        words
    }
}
