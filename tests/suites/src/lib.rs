//! Test suites that nobody here wrote, through both engines: `make suites`.
//!
//! ```text
//! go/        the tests of Go's standard library, compiled for wasip1 by the machine's Go
//! rounds     a program that is started again where a test broke it off; attempt: one container, however it ends
//! verdict    the outcomes beside `expected/SUITE-ENGINE`, and the table
//! ```
//!
//! Every failure is listed in `expected/SUITE-ENGINE` with its reason. A failure that is not listed fails the run, and so
//! does a listed one that no longer fails. `README.md` has the tables, and says which suites cannot be had.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says that it failed"
)]

mod attempt;
mod go;
mod outcome;
mod rounds;
mod suite;
mod verdict;

pub use go::GoPackages;
pub use outcome::{Outcome, Outcomes};
pub use suite::Suite;
pub use verdict::{Verdict, print_table};
