//! The three steps of a worker, on Wasmtime.

use std::fs::File;
use std::process::ExitCode;

use catamaran_worker::{Engine, EngineError, Guest, Needs};
use wasmtime::{ExternType, Linker, Module, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p1::{self, WasiP1Ctx};

use crate::{artifact, config, imports, outcome, wasi};

/// What host calls may copy from the guest at once. A guest has no larger memory to name, and what it makes us allocate
/// is charged to its own cgroup; the default (128 MiB) would fail a write that every kernel takes.
const HOSTCALL_BYTES: usize = 4 << 30;

/// A module mapped from its artifact.
pub struct Wasmtime {
    engine: wasmtime::Engine,
    module: Module,
}

impl Engine for Wasmtime {
    const VERSION: &'static str = config::WASMTIME;

    type Program = Box<dyn FnOnce() -> ExitCode>;

    fn load(artifact: File) -> Result<Self, EngineError> {
        let engine = config().and_then(|c| wasmtime::Engine::new(&c)).map_err(misfit)?;
        let module = artifact::map(&engine, artifact).map_err(misfit)?;
        Ok(Self { engine, module })
    }

    fn needs(&self) -> Needs {
        // wasmtime-wasi makes a helper thread for what may wait.
        Needs { threads: true, sockets: false }
    }

    fn link(self, guest: &Guest) -> Result<Self::Program, EngineError> {
        check_start(&self.module)?;
        let mut linker = Linker::new(&self.engine);
        provide(&mut linker).map_err(|e| EngineError::Module(format!("WASI preview 1 cannot be linked: {e:#}")))?;
        let program = linker.instantiate_pre(&self.module).map_err(|e| EngineError::Module(imports::explain(&e)))?;

        // One thread for guest, timers and standard input. The synchronous API of wasmtime-wasi would start a runtime
        // of its own, with a thread for each core.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|e| EngineError::Module(format!("the worker's event loop cannot be made: {e}")))?;
        let wasi = {
            let _entered = runtime.enter();
            wasi::context(guest).map_err(EngineError::Module)?
        };
        let mut store = Store::new(&self.engine, wasi);
        store.set_hostcall_fuel(HOSTCALL_BYTES);

        Ok(Box::new(move || {
            let code = outcome::of(|| {
                runtime.block_on(async {
                    let instance = program.instantiate_async(&mut store).await?;
                    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
                    start.call_async(&mut store, ()).await
                })
            });
            // Not a plain drop: that waits for helper threads, and one may sit in a read for ever.
            runtime.shutdown_background();
            code
        }))
    }
}

fn misfit(e: wasmtime::Error) -> EngineError {
    EngineError::Artifact(format!("{e:#}"))
}

/// WASI preview 1, with an exit that takes any code.
fn provide(linker: &mut Linker<WasiP1Ctx>) -> wasmtime::Result<()> {
    p1::add_to_linker_async(linker, |context| context)?;
    // wasmtime-wasi makes codes from 126 an error, but a container's code is 0..=255, as for any process.
    linker.allow_shadowing(true);
    linker
        .func_wrap(imports::PREVIEW1, "proc_exit", |code: i32| -> wasmtime::Result<()> { Err(I32Exit(code).into()) })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// A container runs a command: a module that exports `_start`, without parameters or results.
fn check_start(module: &Module) -> Result<(), EngineError> {
    match module.get_export("_start") {
        Some(ExternType::Func(ty)) if ty.params().len() == 0 && ty.results().len() == 0 => Ok(()),
        Some(_) => Err(EngineError::Module(
            "the module's export `_start` is not a function without parameters and results".to_owned(),
        )),
        None => Err(EngineError::Module(imports::no_start(module.get_export("_initialize").is_some()))),
    }
}
