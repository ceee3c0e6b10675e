//! The tests of Go's standard library, each package one program for wasip1.
//!
//! Go's own builders run them on Wasmtime and another runtime, with a working directory, `-test.short` and the whole file system; here an
//! image has the files that they read. A program that breaks off is restarted for the remaining tests.

mod build;
mod output;

use std::collections::BTreeSet;
use std::time::Duration;

use catamaran_harness::{Engine, Node};

use crate::attempt::Attempt;
use crate::outcome::Outcomes;
use crate::rounds;
use crate::suite::{Suite, wanted};

/// Go's own limit for a program, which names the running test; a program that is stuck in a call of the host outlives it.
const GO_LIMIT: &str = "-test.timeout=100s";
const LIMIT: Duration = Duration::from_secs(120);

/// The packages, and the parts of Go's tree that their tests read beside their own folder.
const PACKAGES: &[(&str, &[&str])] = &[
    ("os", &["src/os/exec", "src/os/signal", "src/os/user"]),
    ("io/fs", &["src/os"]),
    ("path/filepath", &["src/unicode"]),
    ("io/ioutil", &["src/io"]),
    ("net", &["src/testdata"]),
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
    /// The tests, in the form of `-test.run`; all if None.
    pub tests: Option<&'static str>,
}

impl Suite for GoPackages {
    fn name(&self) -> &'static str {
        "go"
    }

    fn parts(&self) -> Vec<&'static str> {
        PACKAGES.iter().map(|(package, _)| *package).collect()
    }

    fn run(&self, node: &Node, engine: Engine, words: &[String]) -> Outcomes {
        let chosen = PACKAGES.iter().filter(|(package, _)| wanted(package, words));
        chosen.flat_map(|(package, others)| self.run_package(node, engine, package, others)).collect()
    }
}

impl GoPackages {
    fn run_package(&self, node: &Node, engine: Engine, package: &str, others: &[&str]) -> Outcomes {
        let image = build::image(package, others);
        let name = package.replace('/', "-");
        let folder = format!("{}/src/{package}", build::ROOT);
        rounds::run(package, |number, done| {
            let order = node.container(&format!("go-{name}-{number}")).engine(engine).image(&image);
            let order = order.args(self.arguments(done)).cwd(&folder).env("PWD", &folder);
            let attempt = Attempt::make(&order.env("GOROOT", build::ROOT).env("HOME", "/tmp"), LIMIT);
            let read = output::read(&attempt.output.stdout);
            (attempt, read)
        })
    }

    /// The program's arguments: without the tests in `done`.
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
