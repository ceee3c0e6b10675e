//! A program of many tests, started again for those that are left where one of them broke it off.

use std::collections::BTreeSet;

use crate::attempt::Attempt;
use crate::outcome::{Outcome, Outcomes};

/// A program that breaks off more often than this is given up.
const ROUNDS: usize = 40;

/// What can be read from the output of one program.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// The tests that ended. A subtest's name follows its test's and a slash; a test whose subtest failed is left out.
    pub(crate) ended: Outcomes,
    /// Tests that began and did not end.
    pub(crate) unfinished: BTreeSet<String>,
    /// The program came to its own end.
    pub(crate) whole: bool,
}

/// Runs a part of a suite to its end. `run` is told the number of the round and the tests that are done.
pub(crate) fn run(part: &str, mut run: impl FnMut(usize, &BTreeSet<String>) -> (Attempt, Read)) -> Outcomes {
    let named = |name: &str| format!("{part} {name}");
    let program = named("(the program)");
    let mut outcomes = Outcomes::new();
    let mut done = BTreeSet::new();
    for number in 0..ROUNDS {
        let (attempt, read) = run(number, &done);
        let stopped = read.unfinished.is_empty();
        let tests = read.ended.keys().chain(&read.unfinished).filter_map(|name| name.split('/').next());
        done.extend(tests.map(str::to_owned));
        outcomes.extend(read.ended.into_iter().map(|(name, outcome)| (named(&name), outcome)));
        if read.whole {
            return outcomes;
        }
        outcomes.extend(read.unfinished.iter().map(|name| (named(name), Outcome::Failed(attempt.end()))));
        if stopped {
            outcomes.insert(program, Outcome::Failed(attempt.end()));
            return outcomes;
        }
    }
    outcomes.insert(program, Outcome::Failed(format!("it broke off {ROUNDS} times")));
    outcomes
}
