//! The output of a Go test program with `-test.v`.

use std::collections::BTreeMap;

use crate::outcome::{Outcome, Outcomes};
use crate::rounds::Read;

/// Parses the output of a program, whole or broken off.
pub(crate) fn read(text: &str) -> Read {
    let mut read = Read::default();
    let mut told: BTreeMap<&str, String> = BTreeMap::new();
    let mut current = "";
    for line in text.lines() {
        if let Some((word, name)) = line.strip_prefix("=== ").and_then(|rest| rest.split_once(char::is_whitespace)) {
            current = name.trim();
            if word == "RUN" && !current.contains('/') {
                read.unfinished.insert(current.to_owned());
            }
        } else if line == "PASS" || line == "FAIL" {
            read.whole = true;
        } else if let Some((outcome, name)) = ending(line) {
            read.unfinished.remove(name);
            let outcome = match outcome {
                "PASS" => Outcome::Passed,
                "SKIP" => Outcome::Skipped,
                _ => Outcome::Failed(told.get(name).cloned().unwrap_or_default()),
            };
            read.ended.insert(name.to_owned(), outcome);
            current = name;
        } else {
            told.entry(current).or_default().extend([line, "\n"]);
        }
    }
    let parents: Vec<String> =
        read.ended.keys().filter(|name| has_failed_subtest(name, &read.ended)).cloned().collect();
    parents.iter().for_each(|name| drop(read.ended.remove(name)));
    read
}

/// `--- FAIL: TestName/subtest (0.00s)`, of any depth.
fn ending(line: &str) -> Option<(&str, &str)> {
    let (outcome, rest) = line.trim_start().strip_prefix("--- ")?.split_once(": ")?;
    let (name, _) = rest.rsplit_once(" (")?;
    ["PASS", "FAIL", "SKIP"].contains(&outcome).then_some((outcome, name))
}

fn has_failed_subtest(name: &str, outcomes: &Outcomes) -> bool {
    let below = format!("{name}/");
    outcomes.iter().any(|(other, outcome)| other.starts_with(&below) && matches!(outcome, Outcome::Failed(_)))
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::outcome::Outcome;

    const OUTPUT: &str = "=== RUN   TestA\n--- PASS: TestA (0.00s)\n=== RUN   TestB\n=== RUN   TestB/one\n    b_test.go:7: no\n\
        === RUN   TestB/two\n--- FAIL: TestB (0.10s)\n    --- FAIL: TestB/one (0.00s)\n    --- PASS: TestB/two (0.00s)\n\
        === RUN   TestC\n    c_test.go:9: not here\n--- SKIP: TestC (0.00s)\n=== RUN   TestD\npanic: it broke\n";

    #[test]
    fn a_subtest_tells_its_parents_failure() {
        let read = read(OUTPUT);
        let ended: Vec<&str> = read.ended.keys().map(String::as_str).collect();
        assert_eq!(ended, ["TestA", "TestB/one", "TestB/two", "TestC"]);
        assert_eq!(read.ended["TestA"], Outcome::Passed);
        assert_eq!(read.ended["TestB/one"], Outcome::Failed("    b_test.go:7: no\n".into()));
        assert_eq!(read.ended["TestC"], Outcome::Skipped);
    }

    #[test]
    fn a_test_that_breaks_the_program_off_is_unfinished() {
        let read = read(OUTPUT);
        assert!(!read.whole);
        assert_eq!(read.unfinished.into_iter().collect::<Vec<_>>(), ["TestD"]);
    }
}
