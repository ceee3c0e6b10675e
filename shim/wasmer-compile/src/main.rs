//! `catamaran-wasmer-compile`: module on standard input, artifact on standard output, verdict as exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    catamaran_worker::compiler::run(catamaran_wasmer_compile::compile)
}
