//! Compiles a module or a component to an artifact for one of Wasmtime's workers, or refuses it with a text for the user.
//!
//! ```text
//! bytes --- inspect ---> module or component --- check sizes ---> translate ---> artifact
//!              `--- refusal: not Wasm, not for this world   `--- refusal: too large  `--- refusal: invalid, with the offset
//! ```
//!
//! The bytes are hostile. The code runs in a process without rights and with limits, and opens no file.

mod describe;
mod functions;
mod inspect;
mod legacy;
mod operands;
mod room;

pub use describe::describe;
pub use inspect::{Kind, inspect};

use catamaran_wasmtime_artifact::config;
use std::sync::Arc;

use catamaran_worker::compiler::{self, Functions, Refusal, Tier, World};
use wasmtime::wasmparser;
use wasmtime::{Config, Engine, OptLevel, RegallocAlgorithm, Strategy};

use functions::Shared;

/// Returns the artifact for `world` of the module or component in `bytes`, or the reason to refuse it.
///
/// The same bytes give the same artifact on the same kind of CPU, with or without `functions` of other modules.
pub fn compile(bytes: &[u8], tier: Tier, world: World, functions: Option<Functions>) -> Result<Vec<u8>, Refusal> {
    let kind = inspect(bytes, world)?;
    room::check_start(bytes).and_then(|()| operands::check(bytes)).map_err(Refusal::Module)?;
    let shared = functions.filter(|_| !functions::is_from_go(bytes)).map(|functions| Arc::new(Shared::new(functions)));
    let artifact = translate_with(bytes, kind, tier, world, shared.as_ref())?;
    if let Some(shared) = shared {
        shared.finish();
    }
    compiler::in_proportion(bytes, artifact)
}

/// Compiles a file that [`inspect`] accepted. Tests also compile files that it refuses.
pub fn translate(bytes: &[u8], kind: Kind, tier: Tier, world: World) -> Result<Vec<u8>, Refusal> {
    translate_with(bytes, kind, tier, world, None)
}

fn translate_with(
    bytes: &[u8],
    kind: Kind,
    tier: Tier,
    world: World,
    shared: Option<&Arc<Shared>>,
) -> Result<Vec<u8>, Refusal> {
    let engine = settings(tier, world)
        .and_then(|mut config| {
            if let Some(shared) = shared {
                config.enable_incremental_compilation(shared.clone())?;
            }
            Engine::new(&config)
        })
        .map_err(|e| refused("the compiler's settings do not fit", &e))?;
    match kind {
        Kind::Module => engine.precompile_module(bytes).map_err(|e| not_compiled(bytes, "module", &e)),
        Kind::Component => engine.precompile_component(bytes).map_err(|e| not_compiled(bytes, "component", &e)),
    }
}

fn not_compiled(bytes: &[u8], what: &str, e: &wasmtime::Error) -> Refusal {
    match legacy::exceptions(bytes) {
        Some(why) => Refusal::Module(format!("the {what} cannot be compiled: {why}")),
        None => refused(&format!("the {what} cannot be compiled"), e),
    }
}

fn refused(what: &str, e: &wasmtime::Error) -> Refusal {
    Refusal::Module(format!("{what}: {e:#}"))
}

/// Returns the worker's settings with those that only a compiler has. The target is this host with all features of its CPU.
///
/// Winch would compile faster, but a worker without a compiler refuses its code: the calling convention is a setting that only a compiler's
/// configuration has.
fn settings(tier: Tier, world: World) -> wasmtime::Result<Config> {
    let mut config = match world {
        World::Command => config::config(),
        World::ExtendedCommand => config::extended(),
        World::Http => config::server(true),
        World::HttpUninterrupted => config::server(false),
    }?;
    config.strategy(Strategy::Cranelift);
    let (level, allocation) = match tier {
        Tier::Fast => (OptLevel::None, RegallocAlgorithm::SinglePass),
        Tier::Best => (OptLevel::Speed, RegallocAlgorithm::Backtracking),
    };
    config.cranelift_opt_level(level);
    config.cranelift_regalloc_algorithm(allocation);
    config.cranelift_debug_verifier(false);
    config.cranelift_nan_canonicalization(false);
    config.parallel_compilation(true);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    /// A component with so many functions, of which no two are the same.
    fn application(functions: usize) -> Vec<u8> {
        let body = |number: usize| {
            let steps: String = (0..40)
                .map(|step| format!("local.get 0 i32.const {} i32.mul local.set 0 ", number * 40 + step))
                .collect();
            format!("(func (param i32) (result i32) {steps} local.get 0)")
        };
        let all: String = (0..functions).map(body).collect();
        let run = r#"(core module $m (func (export "run") (result i32) i32.const 0) FUNCTIONS)
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $command (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $command))"#;
        wat::parse_str(format!("(component {})", run.replace("FUNCTIONS", &all))).unwrap()
    }

    #[test]
    fn functions_of_another_component_make_the_same_machine_code() {
        let memory = || File::from(rustix::fs::memfd_create("functions", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        for tier in [Tier::Fast, Tier::Best] {
            let with = |bytes: &[u8], new: &File, known: &[&File]| {
                let copy = |file: &File| file.try_clone().unwrap();
                let known = known.iter().copied().map(copy).collect();
                let functions = Functions { new: copy(new), most: 1 << 30, known };
                compile(bytes, tier, World::Command, Some(functions)).unwrap()
            };
            let (first, second) = (application(200), application(220));
            let alone = |bytes: &[u8]| compile(bytes, tier, World::Command, None).unwrap();
            let (new, newer) = (memory(), memory());
            assert!(with(&first, &new, &[]) == alone(&first));
            assert!(with(&second, &newer, &[&new]) == alone(&second));
            let sizes = [&new, &newer].map(|file| file.metadata().unwrap().len());
            // Cranelift has more than one name for a function, so some are compiled again.
            assert!(sizes[0] > 0 && sizes[1] < sizes[0], "{sizes:?}: nothing was found");
        }
    }
}
