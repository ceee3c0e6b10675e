//! The interface of all suites.

use catamaran_harness::{Engine, Node};

use crate::outcome::Outcomes;

/// A suite of tests that runs in containers.
pub trait Suite {
    /// Its name in `expected/NAME-ENGINE` and in the table.
    fn name(&self) -> &'static str;

    /// The names of its parts.
    fn parts(&self) -> Vec<&'static str>;

    /// Runs its tests on an engine: those of the parts with one of `words` in their names, or all parts without words.
    fn run(&self, node: &Node, engine: Engine, words: &[String]) -> Outcomes;
}

/// Whether a part of a suite was requested.
pub(crate) fn wanted(name: &str, words: &[String]) -> bool {
    words.is_empty() || words.iter().any(|word| name == word)
}
