//! The settings that compiler and worker must agree on.
//!
//! Wasmtime writes its settings into an artifact and refuses one that was made with others. Many defaults follow cargo
//! features, the target, or the environment, and the two executables differ in all three, so everything that takes part
//! in that check is set here by value. The compile package adds the settings that only a compiler knows (optimisation, register
//! allocation).

use std::num::NonZeroUsize;

use wasmtime::{
    Collector, Config, Inlining, InstanceAllocationStrategy, ModuleVersionStrategy, ProfilingStrategy, Result,
    WasmBacktraceDetails, WasmFeatures,
};

/// The number of the settings. Raise it when a setting changes, or when a code generation CVE demands that old artifacts die.
///
/// It is part of the version that each artifact carries, so a worker refuses artifacts of another number by itself. The
/// shim's cache key follows the compiler's executable, not this constant: a raised number makes another executable and with it another
/// folder in the cache, and the old folder is collected.
pub const SETTINGS: u32 = 2;

/// The same for the settings that only servers have.
pub const SERVER_SETTINGS: u32 = 2;

/// The same for the settings that only extended commands have.
pub const EXTENDED_SETTINGS: u32 = 1;

/// The exact version of Wasmtime. Wasmtime's own check compares the major version only, and a patch release is often a
/// fix of the code generator: code from before it must not live on.
pub const WASMTIME: &str = "48.0.8";

/// The most that a guest's own stack grows to: Linux's usual limit for a native program. Interpreters (CPython) recurse deeper than
/// Wasmtime's default of 512 KiB, and memory is paid for only where it was touched.
const GUEST_STACK: usize = 8 << 20;

/// The room for host functions on top, which run on the guest's stack.
const HOST_STACK: usize = 2 << 20;

const KIB: u64 = 1 << 10;
const MIB: u64 = KIB << 10;
const GIB: u64 = MIB << 10;

/// Frames of a trap's backtrace: enough to see a recursion, and a message that a termination log holds (4 KiB).
const BACKTRACE_FRAMES: Option<NonZeroUsize> = NonZeroUsize::new(20);

/// The settings of a command's engine, compiler or runner. Fails only for a version text that Wasmtime does not take.
pub fn config() -> Result<Config> {
    let mut config = Config::new();
    config.module_version(ModuleVersionStrategy::Custom(version()))?;
    language(&mut config);
    memory(&mut config);
    execution(&mut config);
    Ok(config)
}

/// The settings of a server's engine, compiler or runner. Such an engine needs the feature `component-model-async` of Wasmtime. The runner
/// adds how instances are allocated, which takes no part in Wasmtime's check. Fails as [`config`] does.
///
/// `interruptible` makes the guest check a clock in each loop and function (epochs), so that a request can be ended while it computes; that
/// costs up to 45 % of a tight loop.
pub fn server(interruptible: bool) -> Result<Config> {
    // The version keeps artifacts of the other world from fitting, whatever becomes of the settings below, which Wasmtime checks too.
    let mut config = concurrent(server_version())?;
    config.epoch_interruption(interruptible);
    Ok(config)
}

/// The settings of an extended command's engine, compiler or runner. Such an engine needs the feature `component-model-async` of Wasmtime.
/// Fails as [`config`] does.
pub fn extended() -> Result<Config> {
    concurrent(extended_version())
}

/// A command's settings, with what WASI 0.3 needs.
fn concurrent(version: String) -> Result<Config> {
    let mut config = config()?;
    config.module_version(ModuleVersionStrategy::Custom(version))?;
    // An instance has an event loop: for WASI 0.3, and for wasmtime-wasi-http's dispatcher.
    config.concurrency_support(true);
    // WASI 0.3 is made of async functions, streams and futures. What it does not need stays off.
    config.wasm_features(WasmFeatures::CM_ASYNC, true);
    Ok(config)
}

/// Returns the version text of a command's artifact.
fn version() -> String {
    format!("{WASMTIME}+catamaran{SETTINGS}")
}

/// Returns the version text of a server's artifact: a worker of one world refuses an artifact of the other.
fn server_version() -> String {
    format!("{}.http{SERVER_SETTINGS}", version())
}

/// Returns the version text of an extended command's artifact.
fn extended_version() -> String {
    format!("{}.extended{EXTENDED_SETTINGS}", version())
}

/// A command's language: all of Wasm 3.0 but threads, components as WASI 0.2 has them, and no proposal beyond it.
fn language(config: &mut Config) {
    // By default the list follows cargo features; a list that begins empty cannot.
    config.wasm_features(WasmFeatures::all(), false);
    config.wasm_features(WasmFeatures::WASM3, true);
    // Kotlin, Dart and OCaml targets need these two; both need `gc` in the runner.
    config.wasm_features(WasmFeatures::GC_TYPES | WasmFeatures::EXCEPTIONS, true);
    // WASI preview 1 on Wasmtime has no way to start a thread (wasi-threads is gone), and Wasmtime's shared memory is of
    // its second tier: no security releases. Threads are what WASIX, on the other engine, is for.
    config.wasm_features(WasmFeatures::THREADS, false);
    config.shared_memory(false);
    config.wasm_branch_hinting(false);
    config.relaxed_simd_deterministic(false);
    config.wasm_features(WasmFeatures::COMPONENT_MODEL, true);
    config.debug_adapter_modules(false);
    // Spares the data structures of the component model's async functions, which commands do not have.
    config.concurrency_support(false);
    // `Auto` follows cargo features.
    config.collector(Collector::DeferredReferenceCounting);
}

/// Linear memories and tables: all of a 32-bit memory reserved and guarded, so that no access needs a bounds check.
fn memory(config: &mut Config) {
    // One guest a process, made once: a pool would cost 4 TB of address space and 9 ms.
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    config.memory_reservation(4 * GIB);
    config.memory_guard_size(32 * MIB);
    // 64-bit memories only: room to grow before they are moved.
    config.memory_reservation_for_growth(2 * GIB);
    config.memory_may_move(true);
    config.guard_before_linear_memory(true);
    // The initial image is mapped from the artifact's file: shared by all pods of the node until written to.
    config.memory_init_cow(true);
    config.memory_guaranteed_dense_image_size(16 * MIB);
    config.force_memory_init_memfd(false);
    config.table_lazy_init(true);
    // Heaps of garbage-collected objects are reserved only for modules that have such objects.
    config.gc_heap_reservation(4 * GIB);
    config.gc_heap_guard_size(32 * MIB);
    config.gc_heap_reservation_for_growth(2 * GIB);
    config.gc_heap_may_move(true);
    config.gc_heap_initial_size(0);
}

/// How code runs, traps, and reports where.
fn execution(config: &mut Config) {
    config.signals_based_traps(true);
    // A signal to its process ends a command, never a count: epochs cost up to 45 % of a tight loop.
    config.epoch_interruption(false);
    config.consume_fuel(false);
    config.max_wasm_stack(GUEST_STACK);
    config.async_stack_size(GUEST_STACK + HOST_STACK);
    // A stack is used by one guest only and comes from mmap.
    config.async_stack_zeroing(false);
    config.wasm_backtrace_max_frames(BACKTRACE_FRAMES);
    // Set by value: the default reads an environment variable. File and line would need DWARF in every artifact.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    // Code offsets in backtraces.
    config.generate_address_map(true);
    // Only for foreign unwinders. Wasm backtraces walk frame pointers, a panic in a host function is caught before it
    // meets Wasm frames, and registration would read the whole table of a large module at each start.
    config.native_unwind_info(false);
    config.debug_info(false);
    config.debug_symbols(true);
    config.profiler(ProfilingStrategy::None);
    config.compiler_inlining(Inlining::No);
}

#[cfg(test)]
mod tests {
    use super::{WASMTIME, config, extended_version, server_version, version};

    #[test]
    fn the_version_is_the_one_that_is_linked() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME}\"\n")), "update WASMTIME");
    }

    /// A change of the first one invalidates the commands in every node's cache.
    #[test]
    fn artifacts_of_commands_and_servers_name_different_makers() {
        assert_eq!(version(), format!("{WASMTIME}+catamaran2"));
        assert_eq!(server_version(), format!("{WASMTIME}+catamaran2.http2"));
        assert_eq!(extended_version(), format!("{WASMTIME}+catamaran2.extended1"));
    }

    #[test]
    fn the_settings_make_an_engine() {
        wasmtime::Engine::new(&config().unwrap()).unwrap();
    }
}
