//! Runs the tests, several at a time, on one cluster.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use catamaran_cluster::{Cluster, Space};
use catamaran_harness::Engine;

/// The number of concurrent tests: most of the time they wait.
const AT_ONCE: usize = 6;

pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// A test's needs.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Runs once on each engine, in a namespace each.
    Each(fn(&Space<'_>, Engine)),
    /// Runs once, in a namespace.
    Once(fn(&Space<'_>)),
    /// Runs when all others are done, because it stops what they use.
    Alone(fn(&Space<'_>)),
}

/// A list of tests: `tests!(Each: one, two; Once: three;)`.
macro_rules! tests {
    ($($kind:ident: $($name:ident),+;)+) => {
        pub(crate) const TESTS: &[$crate::run::Test] = &[$($(
            $crate::run::Test { name: stringify!($name), kind: $crate::run::Kind::$kind($name) },
        )+)+];
    };
}
pub(crate) use tests;

/// One run of a test.
struct Run {
    test: &'static str,
    /// A namespace's name.
    space: String,
    work: Work,
}

#[derive(Clone, Copy)]
enum Work {
    On(fn(&Space<'_>, Engine), Engine),
    Plain(fn(&Space<'_>)),
}

impl Run {
    fn name(&self) -> String {
        match self.work {
            Work::On(_, engine) => format!("{} on {}", self.test, engine.name()),
            Work::Plain(_) => self.test.to_owned(),
        }
    }

    fn work(&self, cluster: &Cluster) {
        let space = cluster.space(&self.space);
        match self.work {
            Work::On(work, engine) => work(&space, engine),
            Work::Plain(work) => work(&space),
        }
    }
}

#[derive(Default)]
pub(crate) struct Outcome {
    passed: usize,
    pub(crate) failed: Vec<String>,
}

impl Outcome {
    /// Prints the last lines of Rust's own test programs.
    pub(crate) fn print(&self, took: Duration) {
        for name in &self.failed {
            println!("failed: {name}");
        }
        println!(
            "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out; finished in {:.2}s",
            if self.failed.is_empty() { "ok" } else { "FAILED" },
            self.passed,
            self.failed.len(),
            took.as_secs_f32()
        );
    }
}

fn runs(tests: &[&Test], alone: bool) -> VecDeque<Run> {
    let mut runs = VecDeque::new();
    for test in tests.iter().filter(|test| matches!(test.kind, Kind::Alone(_)) == alone) {
        let mut add = |work| {
            let space = format!("test-{}-{}", runs.len(), if alone { "alone" } else { "beside" });
            runs.push_back(Run { test: test.name, space, work });
        };
        match test.kind {
            Kind::Each(work) => Engine::ALL.into_iter().for_each(|engine| add(Work::On(work, engine))),
            Kind::Once(work) | Kind::Alone(work) => add(Work::Plain(work)),
        }
    }
    runs
}

/// Runs them all, and reports each when it is done.
pub(crate) fn all(cluster: &Cluster, tests: &[&Test]) -> Outcome {
    let outcome = Mutex::default();
    for alone in [false, true] {
        let left = Mutex::new(runs(tests, alone));
        std::thread::scope(|scope| {
            for _ in 0..if alone { 1 } else { AT_ONCE } {
                scope.spawn(|| {
                    let next = || left.lock().unwrap().pop_front();
                    while let Some(run) = next() {
                        one(cluster, &run, &outcome);
                    }
                });
            }
        });
    }
    outcome.into_inner().unwrap()
}

fn one(cluster: &Cluster, run: &Run, outcome: &Mutex<Outcome>) {
    let begin = Instant::now();
    // A panic's message is on stderr already.
    let good = catch_unwind(AssertUnwindSafe(|| run.work(cluster))).is_ok();
    let word = if good { "ok" } else { "FAILED" };
    println!("test {} ... {word} ({:.1} s)", run.name(), begin.elapsed().as_secs_f32());
    let mut outcome = outcome.lock().unwrap();
    if good {
        outcome.passed += 1;
    } else {
        outcome.failed.push(run.name());
    }
}
