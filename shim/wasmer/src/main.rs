//! `catamaran-wasmer`: the executable of a Wasm container that runs on Wasmer.

use std::process::ExitCode;

use catamaran_wasmer::Wasmer;
use catamaran_worker::Runner;

const _: () = assert!(Wasmer::FILTERED, "a worker that is shipped runs under its filter of system calls");

fn main() -> ExitCode {
    catamaran_worker::run::<Wasmer>()
}
