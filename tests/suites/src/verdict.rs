//! A suite's outcomes, compared with the expected ones of an engine.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use catamaran_critest::list;
use catamaran_harness::Engine;

use crate::outcome::{Outcome, Outcomes};

/// A suite's result on an engine.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed for a listed reason.
    pub expected: usize,
    /// Tests that reported that they do not apply.
    pub skipped: usize,
    /// Failures without a listed reason, and reasons without a failure.
    pub troubles: Vec<String>,
}

impl Verdict {
    /// Compares outcomes with `expected/SUITE-ENGINE`. A listed failure that did not run is a trouble only if the `whole` suite was run.
    ///
    /// # Panics
    /// When that file has no reason for a test, or cannot be read.
    pub fn new(suite: &str, engine: Engine, outcomes: &Outcomes, whole: bool) -> Self {
        let file = format!("expected/{suite}-{}", engine.name());
        let listed = list::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(&file));
        judged(outcomes, &listed, whole, &file)
    }
}

fn judged(outcomes: &Outcomes, listed: &BTreeMap<String, String>, whole: bool, file: &str) -> Verdict {
    let mut verdict = Verdict::default();
    for (name, outcome) in outcomes {
        match (outcome, listed.contains_key(name)) {
            (Outcome::Failed(_), true) => verdict.expected += 1,
            (Outcome::Failed(why), false) => verdict.troubles.push(format!("FAILED: {name}\n{}", indented(why))),
            (_, true) => {
                verdict.troubles.push(format!("STALE: {name} no longer fails: remove it from tests/suites/{file}"))
            }
            (Outcome::Passed, false) => verdict.passed += 1,
            (Outcome::Skipped, false) => verdict.skipped += 1,
        }
    }
    for name in listed.keys().filter(|name| whole && !outcomes.contains_key(*name)) {
        verdict.troubles.push(format!("STALE: {name} did not run: remove it from tests/suites/{file}"));
    }
    verdict
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// A line of the table.
#[derive(Debug)]
pub struct Row {
    /// The suite's name.
    pub suite: &'static str,
    /// The engine that ran it.
    pub engine: Engine,
    /// Its result.
    pub verdict: Verdict,
    /// The time that its containers took, with the compilation of their modules.
    pub took: Duration,
}

/// Prints a line for each suite and engine.
pub fn print_table(rows: &[Row]) {
    println!(
        "\n{:<10} {:<9} {:>7} {:>19} {:>8} {:>10} {:>8}",
        "suite", "engine", "passed", "failed as expected", "skipped", "unexpected", "seconds"
    );
    for Row { suite, engine, verdict, took } in rows {
        let Verdict { passed, expected, skipped, troubles } = verdict;
        let (engine, unexpected, seconds) = (engine.name(), troubles.len(), took.as_secs());
        println!("{suite:<10} {engine:<9} {passed:>7} {expected:>19} {skipped:>8} {unexpected:>10} {seconds:>8}");
    }
}

#[cfg(test)]
mod tests {
    use super::judged;
    use crate::outcome::{Outcome, Outcomes};

    #[test]
    fn an_unlisted_failure_and_a_listed_pass_are_troubles() {
        let outcomes: Outcomes = [
            ("passes", Outcome::Passed),
            ("is skipped", Outcome::Skipped),
            ("fails, listed", Outcome::Failed("why".into())),
            ("fails", Outcome::Failed("two\nlines".into())),
            ("passes, listed", Outcome::Passed),
        ]
        .map(|(name, outcome)| (name.to_owned(), outcome))
        .into();
        let listed =
            ["fails, listed", "passes, listed", "is gone"].map(|name| (name.to_owned(), "reason".to_owned())).into();
        let verdict = judged(&outcomes, &listed, false, "expected/it");
        assert_eq!((verdict.passed, verdict.expected, verdict.skipped), (1, 1, 1));
        let first = "FAILED: fails\n    two\n    lines\n";
        let second = "STALE: passes, listed no longer fails: remove it from tests/suites/expected/it";
        assert_eq!(verdict.troubles, [first, second]);
        let verdict = judged(&outcomes, &listed, true, "expected/it");
        assert_eq!(verdict.troubles[2], "STALE: is gone did not run: remove it from tests/suites/expected/it");
    }
}
