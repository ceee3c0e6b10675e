//! What the bench and `catamaran-engines` share: the programs, and the tables of docs/engines.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "like a test: a panic is how the program says that a run failed"
)]

pub mod page;
pub mod programs;
