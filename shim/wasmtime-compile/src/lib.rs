//! Compiles a module or a component to an artifact for one of Wasmtime's workers, or refuses it with a text for the user.
//!
//! ```text
//! bytes --- inspect ---> module or component --- check sizes ---> translate ---> artifact
//!              `--- refusal: not Wasm, not for this world   `--- refusal: too large  `--- refusal: invalid, with the offset
//! ```
//!
//! The bytes are hostile. The code runs in a process without rights and with limits, and opens no file.

mod describe;
mod inspect;
mod legacy;
mod operands;
mod room;

pub use describe::describe;
pub use inspect::{Kind, inspect};

use catamaran_wasmtime_artifact::config;
use catamaran_worker::compiler::{self, Refusal, Tier, World};
use wasmtime::wasmparser;
use wasmtime::{Config, Engine, OptLevel, RegallocAlgorithm, Strategy};

/// Returns the artifact for `world` of the module or component in `bytes`, or the reason to refuse it.
///
/// The same bytes give the same artifact on the same kind of CPU.
pub fn compile(bytes: &[u8], tier: Tier, world: World) -> Result<Vec<u8>, Refusal> {
    let kind = inspect(bytes, world)?;
    room::check_start(bytes).and_then(|()| operands::check(bytes)).map_err(Refusal::Module)?;
    let artifact = translate(bytes, kind, tier, world)?;
    compiler::in_proportion(bytes, artifact)
}

/// Compiles a file that [`inspect`] accepted. Tests also compile files that it refuses.
pub fn translate(bytes: &[u8], kind: Kind, tier: Tier, world: World) -> Result<Vec<u8>, Refusal> {
    let engine = settings(tier, world)
        .and_then(|config| Engine::new(&config))
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
