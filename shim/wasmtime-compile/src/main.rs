//! `catamaran-wasmtime-compile`: module or component on standard input, artifact on standard output, verdict as exit code. With `describe`,
//! the file's imports and exports on standard output.

use std::process::ExitCode;

fn main() -> ExitCode {
    if catamaran_worker::describe::is_asked() {
        return catamaran_worker::describe::run(catamaran_wasmtime_compile::describe);
    }
    catamaran_worker::compiler::run(catamaran_wasmtime_compile::compile)
}
