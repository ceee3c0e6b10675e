//! `catamaran-wasmer-compile`: reads a module from standard input, writes the artifact to standard output, and ends with the verdict as its
//! exit code.

use std::process::ExitCode;

use catamaran_worker::compiler::{self, Refusal, World};

fn main() -> ExitCode {
    compiler::run(|bytes, tier, world, _| match world {
        World::Command => catamaran_wasmer_compile::compile(bytes, tier),
        World::ExtendedCommand | World::Http | World::HttpUninterrupted => Err(Refusal::OtherEngine(
            "only a component can be a server or an extended command, and Wasmer runs none; the other engine, \
             wasmtime, runs it"
                .to_owned(),
        )),
    })
}
