//! What all suites have in common.

use catamaran_harness::{Engine, Node};

use crate::outcome::Outcomes;

/// A suite of tests that runs in containers.
pub trait Suite {
    /// How `expected/NAME-ENGINE` and the table call it.
    fn name(&self) -> &'static str;

    /// Runs its tests on an engine: those of the parts that have one of `words` in their names, or all parts without words.
    fn run(&self, node: &Node, engine: Engine, words: &[String]) -> Outcomes;
}

/// Whether a part of a suite was asked for.
pub(crate) fn wanted(name: &str, words: &[String]) -> bool {
    words.is_empty() || words.iter().any(|word| name == word)
}
