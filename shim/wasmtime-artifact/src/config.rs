//! The settings that compile process and worker share.
//!
//! Wasmtime writes its settings into an artifact and refuses an artifact with other settings. Many defaults depend on cargo features, the
//! target or the environment, which differ between the programs. So every setting of that check is set here by value. The compile process
//! adds the settings that only a compiler has (optimisation, register allocation).

use std::num::NonZeroUsize;

use wasmtime::{
    Collector, Config, Inlining, InstanceAllocationStrategy, ModuleVersionStrategy, ProfilingStrategy, Result,
    WasmBacktraceDetails, WasmFeatures,
};

/// The version of a command's settings. Raise it when a setting changes, or when a CVE of the code generator makes old artifacts unsafe.
///
/// Each artifact carries this number, and a worker refuses artifacts of another. The cache's folder is named after the compiler's build,
/// not this number: a raised number makes another executable and so another folder, and the entries of the old one are evicted in time.
pub const SETTINGS: u32 = 2;

/// The version of the settings that only servers have.
pub const SERVER_SETTINGS: u32 = 2;

/// The version of the settings that only extended commands have.
pub const EXTENDED_SETTINGS: u32 = 1;

/// The exact version of Wasmtime. Wasmtime's own check compares only the major version, but a patch release often fixes the code generator,
/// and code from before the fix must not run any more.
pub const WASMTIME: &str = "48.0.8";

/// The most bytes of a guest's own stack, as Linux usually gives a native program. Interpreters such as CPython recurse deeper than
/// Wasmtime's default of 512 KiB allows, and only touched pages take memory.
const GUEST_STACK: usize = 8 << 20;

/// The additional bytes for host functions, which run on the guest's stack.
const HOST_STACK: usize = 2 << 20;

const KIB: u64 = 1 << 10;
const MIB: u64 = KIB << 10;
const GIB: u64 = MIB << 10;

/// The most frames of a trap's backtrace: enough to show a recursion, and few enough for a termination log (4 KiB).
const BACKTRACE_FRAMES: Option<NonZeroUsize> = NonZeroUsize::new(20);

/// Returns the settings of a command's engine, for compile process and worker. Fails only if Wasmtime refuses the version text.
pub fn config() -> Result<Config> {
    let mut config = Config::new();
    config.module_version(ModuleVersionStrategy::Custom(version()))?;
    language(&mut config);
    memory(&mut config);
    execution(&mut config);
    Ok(config)
}

/// Returns the settings of a server's engine, which needs Wasmtime's feature `component-model-async`. The worker adds the allocation of
/// instances, which Wasmtime's check ignores. Fails as [`config`] does.
///
/// `interruptible` makes the guest check a clock in each loop and function (epochs), so that a computing request can be ended. The checks
/// cost up to 45 % in a tight loop.
pub fn server(interruptible: bool) -> Result<Config> {
    // The version alone keeps artifacts of other worlds from fitting, even if the settings below become equal.
    let mut config = concurrent(server_version())?;
    config.epoch_interruption(interruptible);
    Ok(config)
}

/// Returns the settings of an extended command's engine, which needs Wasmtime's feature `component-model-async`. Fails as [`config`] does.
pub fn extended() -> Result<Config> {
    concurrent(extended_version())
}

/// Returns a command's settings with the additions for WASI 0.3.
fn concurrent(version: String) -> Result<Config> {
    let mut config = config()?;
    config.module_version(ModuleVersionStrategy::Custom(version))?;
    // Each instance has an event loop, for WASI 0.3 and for wasmtime-wasi-http's dispatcher.
    config.concurrency_support(true);
    // WASI 0.3 consists of async functions, streams and futures. Other async features stay off.
    config.wasm_features(WasmFeatures::CM_ASYNC, true);
    Ok(config)
}

/// Returns the version text of a command's artifact.
fn version() -> String {
    format!("{WASMTIME}+catamaran{SETTINGS}")
}

/// Returns the version text of a server's artifact. A worker of another world refuses it.
fn server_version() -> String {
    format!("{}.http{SERVER_SETTINGS}", version())
}

/// Returns the version text of an extended command's artifact.
fn extended_version() -> String {
    format!("{}.extended{EXTENDED_SETTINGS}", version())
}

/// Sets a command's language: Wasm 3.0 without threads, components as in WASI 0.2, and no further proposal.
fn language(config: &mut Config) {
    // The default list depends on cargo features, so the list here starts empty.
    config.wasm_features(WasmFeatures::all(), false);
    config.wasm_features(WasmFeatures::WASM3, true);
    // Kotlin, Dart and OCaml need these two features, and both need `gc` in the worker.
    config.wasm_features(WasmFeatures::GC_TYPES | WasmFeatures::EXCEPTIONS, true);
    // WASI preview 1 on Wasmtime cannot start a thread (wasi-threads is gone), and Wasmtime's shared memory is of its second tier, without
    // security releases. Programs with threads use WASIX, on the other engine.
    config.wasm_features(WasmFeatures::THREADS, false);
    config.shared_memory(false);
    config.wasm_branch_hinting(false);
    config.relaxed_simd_deterministic(false);
    config.wasm_features(WasmFeatures::COMPONENT_MODEL, true);
    config.debug_adapter_modules(false);
    // Saves the data structures for the component model's async functions, which commands do not use.
    config.concurrency_support(false);
    // `Auto` would depend on cargo features.
    config.collector(Collector::DeferredReferenceCounting);
}

/// Sets memories and tables. The whole address range of a 32-bit memory is reserved and guarded, so that no access needs a bounds check.
fn memory(config: &mut Config) {
    // A process has one guest, which is made once. A pool would cost 4 TB of address space and 9 ms.
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    config.memory_reservation(4 * GIB);
    config.memory_guard_size(32 * MIB);
    // For 64-bit memories only: the room to grow before a memory is moved.
    config.memory_reservation_for_growth(2 * GIB);
    config.memory_may_move(true);
    config.guard_before_linear_memory(true);
    // The initial image is mapped from the artifact's file: all pods of the node share its pages until they write to them.
    config.memory_init_cow(true);
    config.memory_guaranteed_dense_image_size(16 * MIB);
    config.force_memory_init_memfd(false);
    config.table_lazy_init(true);
    // A heap for garbage-collected objects is reserved only for modules with such objects.
    config.gc_heap_reservation(4 * GIB);
    config.gc_heap_guard_size(32 * MIB);
    config.gc_heap_reservation_for_growth(2 * GIB);
    config.gc_heap_may_move(true);
    config.gc_heap_initial_size(0);
}

/// Sets how code runs, traps and reports its position.
fn execution(config: &mut Config) {
    config.signals_based_traps(true);
    // A signal to its process ends a command. Epochs would cost up to 45 % in a tight loop.
    config.epoch_interruption(false);
    config.consume_fuel(false);
    config.max_wasm_stack(GUEST_STACK);
    config.async_stack_size(GUEST_STACK + HOST_STACK);
    // Each stack comes from mmap and serves one guest.
    config.async_stack_zeroing(false);
    config.wasm_backtrace_max_frames(BACKTRACE_FRAMES);
    // The default reads an environment variable. Files and lines would need DWARF in every artifact.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    // For code offsets in backtraces.
    config.generate_address_map(true);
    // Unwind information is only for foreign unwinders. Wasm backtraces walk frame pointers, a panic in a host function is caught before it
    // reaches Wasm frames, and registering the information would read the whole table of a large module at each start.
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

    /// A change of the first text invalidates the commands in every node's cache.
    #[test]
    fn artifacts_of_each_world_carry_a_version_of_their_own() {
        assert_eq!(version(), format!("{WASMTIME}+catamaran2"));
        assert_eq!(server_version(), format!("{WASMTIME}+catamaran2.http2"));
        assert_eq!(extended_version(), format!("{WASMTIME}+catamaran2.extended1"));
    }

    #[test]
    fn the_settings_make_an_engine() {
        wasmtime::Engine::new(&config().unwrap()).unwrap();
    }
}
