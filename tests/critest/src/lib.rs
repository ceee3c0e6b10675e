//! Shared code of runs of Kubernetes' suites: a registry of stand-ins for their images, lists of specs with reasons, and the comparison of
//! a run on runc with one on Catamaran. `make critest` and `make conformance` use it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says that it failed"
)]

pub mod list;
pub mod outcome;
mod registry;

pub use outcome::{Outcomes, compare};
pub use registry::Registry;

/// A regular expression that matches only this name.
pub fn quoted(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_ascii_punctuation() { vec!['\\', c] } else { vec![c] }).collect()
}
