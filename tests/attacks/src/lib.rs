//! A worker that was broken into, and what it cannot do.
//!
//! ```text
//! attacker, attacker-unfiltered   main: catamaran_worker::run::<Attacker<..>>(), as in every worker
//!   '-- Attacker                  an engine whose guest is native code, run where the guest would be
//!         '-- rows                one attack each: -> Outcome
//! tests/table                     the host's side: containers, what must not change outside, the table
//! ```
//!
//! The attacker goes through the whole confinement of a worker and then does what an attacker would who got out of the
//! engine: any system call, any memory. Which attacks, the container's arguments say; what it got, it prints, a line
//! before and a line after each attack, so that one that ends the process is seen as well.
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
