//! The three steps of a worker, on Wasmtime.

use std::fs::File;
use std::process::ExitCode;

use catamaran_wasmtime_artifact::config::{WASMTIME, config};
use catamaran_worker::{Guest, Needs, Runner, RunnerError, Terms};
use tokio::runtime::Runtime;
use wasmtime::Store;

use crate::artifact::{self, Code};
use crate::{component, module, outcome};

/// The most bytes that host calls may copy from the guest at once. A guest has no larger memory to name, and our
/// allocations for it are charged to its own cgroup; the default (128 MiB) would fail a write that every kernel takes.
pub const HOSTCALL_BYTES: usize = 4 << 30;

/// A module or a component mapped from its artifact.
pub struct Wasmtime {
    engine: wasmtime::Engine,
    code: Code,
}

impl Runner for Wasmtime {
    const VERSION: &'static str = WASMTIME;

    type Program = Box<dyn FnOnce() -> ExitCode>;

    fn maps_by_name(artifact: &File) -> bool {
        artifact::is_component(artifact)
    }

    fn load(artifact: File, _: Terms) -> Result<Self, RunnerError> {
        let engine = config().and_then(|c| wasmtime::Engine::new(&c)).map_err(misfit)?;
        let code = artifact::map(&engine, artifact).map_err(misfit)?;
        Ok(Self { engine, code })
    }

    fn needs(&self) -> Needs {
        match &self.code {
            // wasmtime-wasi makes a helper thread for operations that may block.
            Code::Module(_) => Needs { threads: true, ..Needs::default() },
            Code::Component(component) => component::needs(&self.engine, component),
        }
    }

    fn link(self, guest: &Guest) -> Result<Self::Program, RunnerError> {
        let sockets = self.needs().sockets;
        match self.code {
            Code::Module(module) => {
                let program = module::Program::new(&self.engine, &module)?;
                let (runtime, store) = prepare(|| program.store(guest))?;
                Ok(started(runtime, store, async move |store| program.run(store).await))
            }
            Code::Component(component) => {
                let program = component::Program::new(&self.engine, &component)?;
                let (runtime, store) = prepare(|| program.store(guest, sockets))?;
                Ok(started(runtime, store, async move |store| program.run(store).await))
            }
        }
    }
}

/// Makes the event loop, and the store within its context.
fn prepare<T: 'static>(store: impl FnOnce() -> Result<Store<T>, String>) -> Result<(Runtime, Store<T>), RunnerError> {
    // One thread for guest, timers, sockets and standard input. The synchronous API of wasmtime-wasi would start a
    // runtime of its own, with a thread for each core.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .max_io_events_per_tick(catamaran_worker::memory::EVENTS)
        .enable_time()
        .build()
        .map_err(|e| RunnerError::Module(format!("the worker's event loop cannot be made: {e}")))?;
    let mut store = {
        let _entered = runtime.enter();
        store().map_err(RunnerError::Module)?
    };
    store.set_hostcall_fuel(HOSTCALL_BYTES);
    Ok((runtime, store))
}

/// Returns a closure that runs the guest and returns its exit code.
fn started<T: 'static>(
    runtime: Runtime,
    mut store: Store<T>,
    run: impl AsyncFnOnce(&mut Store<T>) -> wasmtime::Result<()> + 'static,
) -> Box<dyn FnOnce() -> ExitCode> {
    Box::new(move || {
        let code = outcome::exit_code(runtime.block_on(run(&mut store)));
        // Not a plain drop, which waits for helper threads: one may block in a read for ever.
        runtime.shutdown_background();
        code
    })
}

fn misfit(e: wasmtime::Error) -> RunnerError {
    RunnerError::Artifact(format!("{e:#}"))
}
