//! Compiles a module from standard input to an artifact on standard output, for the worker's tests, which link no compiler.
//!
//! The argument is the tier, `fast` or `best`. The inspection is skipped, so that tests give a worker modules that it must refuse itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a program for tests: a panic is how it says that it failed")]

use std::io::{Read, Write};

use catamaran_wasmer_compile::translate;
use catamaran_worker::compiler::Tier;

fn main() {
    let tier = match std::env::args().nth(1).as_deref() {
        Some("fast") => Tier::Fast,
        Some("best") => Tier::Best,
        other => panic!("fast or best, not {other:?}"),
    };
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).unwrap();
    std::io::stdout().write_all(&translate(&bytes, tier).unwrap()).unwrap();
}
