//! Compiles a module to an artifact for Wasmer's worker, or refuses it with a text for the user.
//!
//! ```text
//! bytes --- inspect ---> module --- check operands ---> translate ---> header, artifact
//!              `--- refusal: no module    `--- refusal: too many  `--- refusal: invalid, with the offset
//! ```
//!
//! The bytes are hostile. The code runs in a process without rights and with limits, and opens no file.

#[cfg(target_arch = "aarch64")]
compile_error!(
    "Wasmer 7.4.2 brings Cranelift 0.135.0, whose code for a br_table is wrong on aarch64 (fixed in 0.135.2): build \
     Catamaran without catamaran-wasmer-compile there"
);

mod dispositions;
mod inspect;
#[path = "../../wasmtime-compile/src/legacy.rs"]
mod legacy;
#[path = "../../wasmtime-compile/src/operands.rs"]
mod operands;
mod start;

pub use inspect::inspect;

use std::fmt::Display;

use catamaran_wasmer_artifact::header::header;
use catamaran_worker::compiler::{self, Refusal, Tier};
use wasmer_compiler::wasmparser::{self, Validator, WasmFeatures};
use wasmer_compiler::{ArtifactBuild, ArtifactCreate, Engine, EngineBuilder, Features, ModuleEnvironment};
use wasmer_compiler_cranelift::{Cranelift, CraneliftOptLevel};
use wasmer_types::CompileError;

/// Returns the artifact of the module in `bytes`, or the reason to refuse it.
///
/// The same bytes give the same artifact on the same kind of CPU.
pub fn compile(bytes: &[u8], tier: Tier) -> Result<Vec<u8>, Refusal> {
    inspect(bytes)?;
    operands::check(bytes).map_err(Refusal::Module)?;
    compiler::in_proportion(bytes, translate(bytes, tier)?)
}

/// Compiles a module that [`inspect`] accepted. Tests also compile modules that it refuses.
pub fn translate(bytes: &[u8], tier: Tier) -> Result<Vec<u8>, Refusal> {
    let engine = engine(tier);
    engine.validate(bytes).map_err(|e| invalid(bytes, &e))?;
    let bytes = &*start::exported(bytes);
    // Not with `Module`, which would make the code executable in this process: that is forbidden and unnecessary.
    let body = build(&engine, bytes).map_err(|e| refused(&e))?.serialize().map_err(|e| refused(&e))?;
    let mut artifact = header(dispositions::address(bytes));
    artifact.extend_from_slice(&body);
    Ok(artifact)
}

fn build(engine: &Engine, bytes: &[u8]) -> Result<ArtifactBuild, CompileError> {
    let module = ModuleEnvironment::new().translate(bytes).map_err(CompileError::Wasm)?.module;
    let tunables = engine.tunables();
    let memories = module.memories.values().map(|memory| tunables.memory_style(memory)).collect();
    let tables = module.tables.values().map(|table| tunables.table_style(table)).collect();
    ArtifactBuild::new(&mut engine.inner_mut(), bytes, engine.target(), memories, tables, None)
}

/// Refuses a module that is invalid for Wasmer, or leaves it to Wasmtime if it is valid there.
fn invalid(bytes: &[u8], e: &CompileError) -> Refusal {
    match Validator::new_with_features(wasmtimes()).validate_all(bytes) {
        Ok(_) => Refusal::OtherEngine(format!(
            "the module needs a part of Wasm that Wasmer's code generator does not have: {e}; the other \
             engine, wasmtime, runs it"
        )),
        Err(_) => match legacy::exceptions(bytes) {
            Some(why) => refused(&why),
            None => refused(e),
        },
    }
}

fn refused(e: &impl Display) -> Refusal {
    Refusal::Module(format!("the module cannot be compiled: {e}"))
}

/// Returns the features that Wasmtime's worker accepts (`catamaran_wasmtime_artifact::config`).
fn wasmtimes() -> WasmFeatures {
    (WasmFeatures::WASM3 | WasmFeatures::GC_TYPES | WasmFeatures::EXCEPTIONS) - WasmFeatures::THREADS
}

/// Returns the features of Wasm 3.0 that the code generator supports, and threads, which WASIX uses. The code generator has no tail calls,
/// and of GC only the types of exceptions. 64-bit memories are off, as in the engine's default. Each feature is set by value, because
/// defaults may change.
fn features() -> Features {
    Features {
        threads: true,
        reference_types: true,
        simd: true,
        bulk_memory: true,
        multi_value: true,
        tail_call: false,
        module_linking: false,
        multi_memory: true,
        memory64: false,
        exceptions: true,
        relaxed_simd: true,
        extended_const: true,
        wide_arithmetic: false,
    }
}

/// Makes the engine. The target is this host with all features of its CPU. Memories are reserved whole, so that no access needs a bounds
/// check: the engine's default, in the worker too.
fn engine(tier: Tier) -> Engine {
    let mut config = Cranelift::new();
    config.opt_level(match tier {
        Tier::Fast => CraneliftOptLevel::None,
        Tier::Best => CraneliftOptLevel::Speed,
    });
    config.canonicalize_nans(false);
    EngineBuilder::new(config).set_features(Some(features())).engine()
}
