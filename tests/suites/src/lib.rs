//! Foreign test suites, run through both engines: `make suites`.
//!
//! ```text
//! go/        the tests of Go's standard library, compiled for wasip1 by the machine's Go
//! cpython    CPython's own tests, on an interpreter for WASI from `provision-cpython`
//! rounds     restarts a program where a test broke it off; attempt: one container, however it ends
//! verdict    compares the outcomes with `expected/SUITE-ENGINE`, and prints the table
//! ```
//!
//! Every failure is listed in `expected/SUITE-ENGINE` with its reason. A failure that is not listed fails the run, and so does a listed one
//! that no longer fails. `README.md` has the tables, and names the suites that are not available.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says that it failed"
)]

mod attempt;
mod cpython;
mod go;
mod outcome;
mod rounds;
mod suite;
mod verdict;

pub use cpython::CPython;
pub use go::GoPackages;
pub use outcome::{Outcome, Outcomes};
pub use suite::Suite;
pub use verdict::{Row, Verdict, print_table};
