//! `catamaran-wasmtime`: the executable of a Wasm container that runs on Wasmtime.

use std::process::ExitCode;

use catamaran_wasmtime::Wasmtime;
use catamaran_worker::Runner;

const _: () = assert!(Wasmtime::FILTERED, "a worker that is shipped runs under its filter of system calls");

fn main() -> ExitCode {
    catamaran_worker::run::<Wasmtime>()
}
