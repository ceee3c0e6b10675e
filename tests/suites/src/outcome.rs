//! The outcomes of a suite's tests.

use std::collections::BTreeMap;

/// The outcome of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It reported that it does not apply here.
    Skipped,
    /// It failed, with this text.
    Failed(String),
}

/// Outcomes by the tests' whole names, such as `os TestStat`.
pub type Outcomes = BTreeMap<String, Outcome>;
