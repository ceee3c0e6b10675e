//! Stands in for `catamaran-wasmtime`, and attacks.

use std::process::ExitCode;

fn main() -> ExitCode {
    catamaran_worker::run::<catamaran_attacks::Attacker<true>>()
}
