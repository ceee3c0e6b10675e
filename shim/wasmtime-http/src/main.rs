//! `catamaran-wasmtime-http`: the executable of a container whose component serves HTTP, or is an extended command.

use std::process::ExitCode;

use catamaran_wasmtime_http::Http;
use catamaran_worker::Runner;

const _: () = assert!(Http::FILTERED, "a worker that is shipped runs under its filter of system calls");

fn main() -> ExitCode {
    catamaran_worker::run::<Http>()
}
