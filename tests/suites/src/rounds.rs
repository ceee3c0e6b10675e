//! Runs a program of many tests, and restarts it for the remaining ones when a test broke it off.

use std::collections::BTreeSet;

use crate::attempt::Attempt;
use crate::outcome::{Outcome, Outcomes};

/// The number of rounds after which a program is given up.
const ROUNDS: usize = 40;

/// The facts in the output of one program.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// The tests that ended. A subtest's name is its test's, a slash and its own; a test with a failed subtest is omitted.
    pub(crate) ended: Outcomes,
    /// The tests that began and did not end.
    pub(crate) unfinished: BTreeSet<String>,
    /// Whether the program reached its own end.
    pub(crate) whole: bool,
}

/// Runs a part of a suite to its end. `run` gets the number of the round and the finished tests.
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
