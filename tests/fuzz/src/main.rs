//! libFuzzer on one target, which the environment names.

#![no_main]

use std::sync::OnceLock;

use catamaran_fuzz::{TARGETS, Target, run};

static TARGET: OnceLock<Target> = OnceLock::new();

fn named() -> Target {
    let name = std::env::var("CATAMARAN_FUZZ_TARGET").unwrap_or_default();
    match TARGETS.iter().find(|(known, _)| *known == name) {
        Some((_, target)) => *target,
        None => {
            let known: Vec<_> = TARGETS.iter().map(|(known, _)| *known).collect();
            eprintln!("catamaran-fuzz: no target {name:?}: CATAMARAN_FUZZ_TARGET is one of {}", known.join(", "));
            std::process::exit(2)
        }
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    run(*TARGET.get_or_init(named), input);
});
