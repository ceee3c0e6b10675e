//! A worker that was broken into, and the limits of its powers.
//!
//! ```text
//! attacker, attacker-unfiltered   main: catamaran_worker::run::<Attacker<..>>(), as in every worker
//!   '-- Attacker                  an engine whose guest is native code, run where the guest would be
//!         '-- rows                one attack each: -> Outcome
//! tests/table                     the host's side: containers, what must not change outside, the table
//! ```
//!
//! The attacker goes through the whole confinement of a worker and then acts like a guest that got out of the engine: any system call, any
//! memory. The container's arguments name the attacks; it prints a line before and a line with the gain after each attack, so that the test
//! also sees an attack that ends the process.
//!
//! The second binary is the same without the worker's filter of system calls
//! ([`catamaran_worker::Runner::FILTERED`]): it shows what holds when the filter has a hole.

mod attacker;
mod call;
mod code;
mod outcome;
pub mod rows;
pub mod sidecar;

pub use attacker::Attacker;
pub use outcome::Outcome;
pub use rows::{Row, Shape};
