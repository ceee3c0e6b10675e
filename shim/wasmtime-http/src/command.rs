//! An extended command: a program that needs more than `wasi:cli/command` of WASI 0.2, run once.
//!
//! It has what a server's guest has, but its streams are the container's, and its engine has no pool, because it is the only instance.

use std::process::ExitCode;
use std::sync::Arc;

use catamaran_wasmtime::world::World;
use catamaran_wasmtime::{HOSTCALL_BYTES, outcome};
use catamaran_wasmtime_artifact::config;
use catamaran_worker::{Guest, RunnerError};
use wasmtime::component::Component;
use wasmtime::{Engine, Result, Store};
use wasmtime_wasi::I32Exit;

use crate::ceiling::Ceiling;
use crate::exchange::Life;
use crate::guest::{self, Common, Extra};
use crate::link::CommandPre;
use crate::log::Log;
use crate::outgoing::Outgoing;
use crate::{lanes, link, outgoing, pool};

/// Maps the artifact into an engine of its own.
///
/// # Errors
/// When the artifact does not fit this worker.
pub(crate) fn load(artifact: std::fs::File) -> std::result::Result<(Engine, Component), RunnerError> {
    let engine = config::extended().and_then(|config| Engine::new(&config)).map_err(pool::misfit)?;
    let component = pool::map(&engine, artifact)?;
    Ok((engine, component))
}

/// Returns a closure that runs the command and returns its exit code. `sockets` is whether the command has sockets.
pub(crate) fn program(
    engine: &Engine,
    component: &Component,
    guest: &Guest,
    wasi_p3: bool,
    sockets: bool,
    outgoing: &Arc<outgoing::Shared>,
) -> std::result::Result<Box<dyn FnOnce() -> ExitCode>, RunnerError> {
    let pre = link::command(engine, component, wasi_p3)?;
    let runtime =
        lanes::event_loop().map_err(|e| RunnerError::Module(format!("the worker's event loop cannot be made: {e}")))?;
    let common = Common::new(guest, Outgoing::new(outgoing), link::is_configured(engine, component), Log::Direct);
    let extra = Extra::new(&common, Ceiling::new(u64::MAX), Arc::new(Life::default()));
    let world = {
        let _entered = runtime.enter();
        guest::world_of_command(extra, sockets).map_err(RunnerError::Module)?
    };
    let mut store = Store::new(engine, world);
    store.set_hostcall_fuel(HOSTCALL_BYTES);
    Ok(Box::new(move || {
        let code = outcome::exit_code(runtime.block_on(run(&pre, &mut store)));
        // Not a plain drop, which waits for helper threads: one may block in a read for ever.
        runtime.shutdown_background();
        code
    }))
}

async fn run(pre: &CommandPre, store: &mut Store<World<Extra>>) -> Result<()> {
    let ended = match pre {
        CommandPre::P2(pre) => {
            let command = pre.instantiate_async(&mut *store).await?;
            command.wasi_cli_run().call_run(store).await?
        }
        CommandPre::P3(pre) => {
            let command = pre.instantiate_async(&mut *store).await?;
            store.run_concurrent(async move |store| command.wasi_cli_run().call_run(store).await).await??
        }
    };
    ended.map_err(|()| I32Exit(1).into())
}
