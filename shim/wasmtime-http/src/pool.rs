//! The engine of a server: slots for as many instances as requests are handled at once.

use std::fs::File;

use catamaran_wasmtime::artifact::{self, Code};
use catamaran_worker::RunnerError;
use catamaran_worker::job::Server;
use wasmtime::component::Component;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, ResourcesRequired, Result};

use crate::{instances, lanes, link};

/// Slots beyond the requests that are handled at once, for instances whose request is over and that are not taken down yet: one a lane at
/// most.
const SPARE: u32 = 64;
/// The most slots for instances that wait, as many as a server may have requests, because each takes address space.
const MOST_WAITING: u32 = 4096;
/// The most stacks, because each is two entries in the process's table of mappings, of which the kernel allows 65,530 (vm.max_map_count).
const MOST_STACKS: u32 = 16384;
/// How much of an instance's memory is reset by writing to it, and stays the pod's; the rest goes back to the kernel, which interrupts the
/// other processors for that, and gives new pages at a fault each. A request's processor time on two lanes, by this constant, in µs: a
/// small guest in C (192 KiB of memory) 96 with 0, 75 with 64 KiB, 48 with 256 KiB, 47 with 512 KiB; one in JavaScript (10 MB) 1,059 with
/// 64 KiB, 901 with 256 KiB, 879 with 1 MiB.
///
/// Asking the kernel which pages were written (PAGEMAP_SCAN) would make these 42 and 656. It is left out, because a worker has no procfs
/// and its filter would have to let a further ioctl through.
const KEPT_MEMORY: usize = 256 << 10;
/// The same for a table.
const KEPT_TABLE: usize = 16 << 10;
/// The most free slots that keep the memory of their last instance for the next one.
const WARM: u32 = 16;
/// The most bytes of a 32-bit memory.
const MEMORY: usize = 4 << 30;
/// The most entries that a table grows to, unless the component's own begin larger.
const TABLE: usize = 20_000;
/// More core instances than any component has, because the compiler bounds their number.
const CORE_INSTANCES: u32 = 4096;

/// Maps the artifact into an engine of its own.
///
/// # Errors
/// When the artifact does not fit this worker.
pub(crate) fn load(artifact: File, server: &Server) -> std::result::Result<(Engine, Component), RunnerError> {
    let again = artifact.try_clone().map_err(|e| RunnerError::Artifact(format!("it cannot be opened twice: {e}")))?;
    let settings = || config(server.request_timeout.is_some());
    // Only an engine can read from the artifact how many memories and tables an instance has.
    let first = settings().and_then(|config| Engine::new(&config)).map_err(misfit)?;
    let component = map(&first, artifact)?;
    let required = component.resources_required();
    let mut config = settings().map_err(misfit)?;
    if let Some(required) = required {
        let of_wasi_3 = link::is_of_wasi_3(&first, &component);
        let slots = slots(server, of_wasi_3);
        let stacks = stacks(slots, of_wasi_3);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots, stacks, &required)));
    }
    let engine = Engine::new(&config).map_err(misfit)?;
    let component = map(&engine, again)?;
    Ok((engine, component))
}

fn config(interruptible: bool) -> Result<Config> {
    catamaran_wasmtime_artifact::config::server(interruptible)
}

pub(crate) fn map(engine: &Engine, artifact: File) -> std::result::Result<Component, RunnerError> {
    match artifact::map(engine, artifact).map_err(misfit)? {
        Code::Component(component) => Ok(component),
        Code::Module(_) => Err(RunnerError::Artifact("it is that of a module".to_owned())),
    }
}

/// Returns the number of slots: each lane has instances of its own, and reusable ones stay there while they wait for a request.
fn slots(server: &Server, of_wasi_3: bool) -> u32 {
    let most = server.most_requests;
    let waiting = match instances::reuse(server.instance_reuse, of_wasi_3) {
        0 | 1 => most,
        _ => most.saturating_mul(u32::try_from(lanes::processors(server.processors)).unwrap_or(u32::MAX)),
    };
    waiting.min(MOST_WAITING.max(most)).saturating_add(SPARE)
}

/// Returns the number of stacks: each of an instance's requests may wait in the middle of a call.
fn stacks(slots: u32, of_wasi_3: bool) -> u32 {
    match of_wasi_3 {
        true => slots.saturating_mul(instances::AT_ONCE_3).min(MOST_STACKS.max(slots)),
        false => slots,
    }
}

fn pool(slots: u32, stacks: u32, required: &ResourcesRequired) -> PoolingAllocationConfig {
    let elements = required.max_initial_table_size.map_or(0, |size| usize::try_from(size).unwrap_or(usize::MAX));
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES))
        .max_core_instances_per_component(CORE_INSTANCES)
        .total_memories(slots.saturating_mul(required.num_memories.max(1)))
        .max_memories_per_component(required.num_memories.max(1))
        .max_memories_per_module(required.num_memories.max(1))
        .total_tables(slots.saturating_mul(required.num_tables.max(1)))
        .max_tables_per_component(required.num_tables.max(1))
        .max_tables_per_module(required.num_tables.max(1))
        .table_elements(elements.max(TABLE))
        .total_stacks(stacks)
        .max_memory_size(MEMORY)
        .max_component_instance_size(MOST_STATE)
        .max_core_instance_size(MOST_STATE)
        .linear_memory_keep_resident(KEPT_MEMORY)
        .table_keep_resident(KEPT_TABLE)
        .max_unused_warm_slots(WARM)
        .decommit_batch_size(1);
    pool
}

/// The most bytes that the engine itself keeps of an instance, which grow with its imports and functions.
const MOST_STATE: usize = 64 << 20;

pub(crate) fn misfit(e: wasmtime::Error) -> RunnerError {
    RunnerError::Artifact(format!("{e:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_has_room_for_a_server_with_the_most_requests() {
        let mut server = Server::new(([127, 0, 0, 1], 8080).into(), "a test");
        server.most_requests = 4096;
        for of_wasi_3 in [false, true] {
            let slots = slots(&server, of_wasi_3);
            let stacks = stacks(slots, of_wasi_3);
            assert!(stacks >= slots && slots > server.most_requests, "{slots} slots, {stacks} stacks");
            let required = ResourcesRequired {
                num_memories: 1,
                max_initial_memory_size: Some(1 << 20),
                num_tables: 1,
                max_initial_table_size: Some(100),
            };
            let mut config = config(true).unwrap();
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots, stacks, &required)));
            Engine::new(&config).unwrap();
        }
        assert_eq!(stacks(320, true), 5120);
    }
}
