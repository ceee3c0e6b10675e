//! `catamaran-wasmtime-compile`: reads a module or component from standard input, writes the artifact to standard output, and ends with the
//! verdict as its exit code. With `describe`, writes the file's imports and exports instead.

use std::process::ExitCode;

fn main() -> ExitCode {
    if catamaran_worker::describe::is_asked() {
        return catamaran_worker::describe::run(catamaran_wasmtime_compile::describe);
    }
    catamaran_worker::compiler::run(catamaran_wasmtime_compile::compile)
}
