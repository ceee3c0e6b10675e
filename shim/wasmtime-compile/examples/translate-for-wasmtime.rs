//! Compiles a module or component from standard input to an artifact on standard output, for the worker's tests, which link no compiler.
//!
//! `fast` and `best` compile with that tier, for the world that the next argument names or else for `command`. They skip the inspection, so
//! that tests give a worker files that it must refuse itself. `misfit` compiles with a setting that the worker does not have.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a program for tests: a panic is how it says that it failed")]

use std::io::{Read, Write};

use catamaran_wasmtime_artifact::config::config;
use catamaran_wasmtime_compile::{Kind, translate};
use catamaran_worker::compiler::{Tier, World};
use catamaran_worker::form::{self, Form};
use wasmtime::Engine;

fn main() {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).unwrap();
    let kind = match form::parse(&bytes).unwrap() {
        Form::Module => Kind::Module,
        Form::Component => Kind::Component,
    };
    let world = std::env::args().nth(2).map_or(World::Command, |word| World::parse(&word).unwrap());
    let artifact = match std::env::args().nth(1).as_deref() {
        Some("fast") => translate(&bytes, kind, Tier::Fast, world).unwrap(),
        Some("best") => translate(&bytes, kind, Tier::Best, world).unwrap(),
        Some("misfit") => {
            let mut config = config().unwrap();
            config.epoch_interruption(true);
            Engine::new(&config).unwrap().precompile_module(&bytes).unwrap()
        }
        other => panic!("fast, best or misfit, not {other:?}"),
    };
    std::io::stdout().write_all(&artifact).unwrap();
}
