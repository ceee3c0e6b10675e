//! The attacker without the worker's filter of system calls.

use std::process::ExitCode;

fn main() -> ExitCode {
    catamaran_worker::run::<catamaran_attacks::Attacker<false>>()
}
