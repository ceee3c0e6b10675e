//! `catamaran-wasmtime`: the executable of a Wasm container that runs on Wasmtime.

use std::process::ExitCode;

use catamaran_wasmtime::Wasmtime;

fn main() -> ExitCode {
    catamaran_worker::run::<Wasmtime>()
}
