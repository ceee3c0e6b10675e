//! What became of a suite's tests.

use std::collections::BTreeMap;

/// What became of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It said that it does not apply here.
    Skipped,
    /// It failed, and what it said.
    Failed(String),
}

/// Outcomes by the tests' whole names, such as `os TestStat`.
pub type Outcomes = BTreeMap<String, Outcome>;
