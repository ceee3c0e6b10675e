//! Links and runs a module of WASI preview 1 that is a program.

use catamaran_wasmtime_artifact::imports;
use catamaran_worker::{Guest, RunnerError};
use wasmtime::{Engine, Error, ExternType, InstancePre, Linker, Module, Result, Store, UnknownImportError};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p1;

use crate::files::{self, Preview1};
use crate::wasi;

/// A module with its imports resolved.
pub(crate) struct Program(InstancePre<Preview1>);

impl Program {
    /// Links the module. The text of an error is for the user.
    pub(crate) fn new(engine: &Engine, module: &Module) -> std::result::Result<Self, RunnerError> {
        check_start(module)?;
        let mut linker = Linker::new(engine);
        provide(&mut linker).map_err(|e| RunnerError::Module(format!("WASI preview 1 cannot be linked: {e:#}")))?;
        linker.instantiate_pre(module).map(Self).map_err(|e| RunnerError::Module(explain(&e)))
    }

    /// Makes the guest's world. Must be called within the event loop's context.
    pub(crate) fn store(&self, guest: &Guest) -> std::result::Result<Store<Preview1>, String> {
        Ok(Store::new(self.0.module().engine(), Preview1::new(wasi::builder(guest)?.build_p1())))
    }

    /// Runs the module to its end.
    pub(crate) async fn run(&self, store: &mut Store<Preview1>) -> Result<()> {
        let instance = self.0.instantiate_async(&mut *store).await?;
        let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
        start.call_async(store, ()).await
    }
}

/// Provides WASI preview 1, with a `proc_exit` that takes any code, and with links followed as in a native container.
fn provide(linker: &mut Linker<Preview1>) -> Result<()> {
    p1::add_to_linker_async(linker, Preview1::wasi)?;
    // wasmtime-wasi makes an error of codes from 126 on, but a container's code is 0..=255, as for any process.
    linker.allow_shadowing(true);
    linker.func_wrap(imports::PREVIEW1, "proc_exit", |code: i32| -> Result<()> { Err(I32Exit(code).into()) })?;
    files::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The text for a module that could not be linked.
fn explain(e: &Error) -> String {
    match e.downcast_ref::<UnknownImportError>() {
        Some(unknown) => imports::not_provided(unknown.module(), unknown.name()),
        // A known name with another signature: Wasmtime's text names the import and both types.
        None => format!("the module cannot be linked: {e:#}"),
    }
}

/// A container runs a command: a module that exports `_start`, without parameters or results.
fn check_start(module: &Module) -> std::result::Result<(), RunnerError> {
    match module.get_export("_start") {
        Some(ExternType::Func(ty)) if ty.params().len() == 0 && ty.results().len() == 0 => Ok(()),
        Some(_) => Err(RunnerError::Module(
            "the module's export `_start` is not a function without parameters and results".to_owned(),
        )),
        None => Err(RunnerError::Module(imports::no_start(module.get_export("_initialize").is_some()))),
    }
}
