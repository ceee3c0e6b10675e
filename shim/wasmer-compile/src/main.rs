//! `catamaran-wasmer-compile`: module on standard input, artifact on standard output, verdict as exit code.

use std::process::ExitCode;

use catamaran_worker::compiler::{self, Refusal, World};

fn main() -> ExitCode {
    compiler::run(|bytes, tier, world| match world {
        World::Command => catamaran_wasmer_compile::compile(bytes, tier),
        World::ExtendedCommand | World::Http | World::HttpUninterrupted => Err(Refusal::OtherEngine(
            "it is to be a component, and Wasmer runs none; the other engine, wasmtime, runs it".to_owned(),
        )),
    })
}
