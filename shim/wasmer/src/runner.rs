//! The three steps of a worker, on Wasmer.

use std::fs::File;
use std::process::ExitCode;
use std::sync::Arc;

use catamaran_wasmer_artifact::header::WASMER;
use catamaran_wasmer_artifact::imports;
use catamaran_worker::{Guest, Needs, Runner, RunnerError, Terms};
use tokio::runtime::Runtime as EventLoop;
use virtual_net::{UnsupportedVirtualNetworking, VirtualNetworking};
use wasmer::sys::NativeEngineExt;
use wasmer::{ExternType, FunctionType, Module};
use wasmer_wasix::bin_factory::spawn_exec_module;
use wasmer_wasix::{Runtime, WasiEnv, WasiFunctionEnv};

use crate::net::Pod;
use crate::remembered::Tree;
use crate::signals::{self, Bell};
use crate::tasks::Tasks;
use crate::world::World;
use crate::{artifact, outcome, wasi};

/// The largest stack of Wasm frames of a thread: Linux's usual limit for a native program. Only touched pages take memory.
const GUEST_STACK: usize = 8 << 20;

/// A module copied from its artifact.
pub struct Wasmer {
    engine: wasmer::Engine,
    module: Module,
    /// The address at which the guest's C library keeps its signal dispositions, if it is wasix-libc.
    dispositions: Option<u32>,
}

impl Runner for Wasmer {
    const VERSION: &'static str = WASMER;

    type Program = Box<dyn FnOnce() -> ExitCode>;

    fn load(artifact: File, _: Terms) -> Result<Self, RunnerError> {
        wasmer_vm::set_stack_size(GUEST_STACK);
        let engine = wasmer::Engine::headless();
        let (module, dispositions) = artifact::load(&engine, &artifact).map_err(RunnerError::Artifact)?;
        Ok(Self { engine, module, dispositions })
    }

    fn needs(&self) -> Needs {
        // A preview 1 guest has one thread, beside the one for its timers.
        Needs { threads: true, sockets: opens_sockets(&self.module), ..Needs::default() }
    }

    fn link(self, guest: &Guest) -> Result<Self::Program, RunnerError> {
        check_exports(&self.module).map_err(RunnerError::Module)?;
        let events = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .max_io_events_per_tick(catamaran_worker::memory::EVENTS)
            .enable_time()
            .build()
            .map_err(|e| RunnerError::Module(format!("the worker's event loop cannot be made: {e}")))?;
        let tasks = Arc::new(Tasks::new(events.handle().clone()));
        let tree = Tree::default();
        let world: Arc<dyn Runtime + Send + Sync> = Arc::new(self.world(&events, tasks.clone(), tree.clone()));
        let (env, bell) = {
            let _entered = events.enter();
            let env = wasi::environment(guest, world.clone(), tree).map_err(RunnerError::Module)?;
            let bell = Bell::new().map_err(|e| RunnerError::Module(format!("the worker's signals: {e}")))?;
            (env, bell)
        };
        check_imports(&self.module, &env).map_err(RunnerError::Module)?;

        let module = self.module;
        Ok(Box::new(move || {
            events.spawn(bell.hand_on(env.process.clone()));
            let ended = match spawn_exec_module(module, env, &world) {
                Ok(mut first) => {
                    let ended = events.block_on(first.wait_finished());
                    tasks.await_opened();
                    ended
                }
                // Only the start of the guest's thread can fail before that runs.
                Err(_) => outcome::stop(
                    "catamaran: the guest could not run: no thread can be started for it: the container's pids limit must allow 2\n",
                ),
            };
            // Not a plain return: threads of the guest may be in the middle of anything, and need not be waited for.
            outcome::exit(signals::ending(outcome::code(ended)))
        }))
    }
}

impl Wasmer {
    fn world(&self, events: &EventLoop, tasks: Arc<Tasks>, tree: Tree) -> World {
        let network: Arc<dyn VirtualNetworking> = match opens_sockets(&self.module) {
            true => Arc::new(Pod::new(events.handle().clone())),
            false => Arc::new(UnsupportedVirtualNetworking::default()),
        };
        World::new(self.engine.clone(), tasks, network, self.dispositions, tree)
    }
}

/// Whether the guest can open sockets: it loads no second module, so this one's imports are all that it can call.
fn opens_sockets(module: &Module) -> bool {
    module.imports().any(|import| imports::opens_sockets(import.module(), import.name()))
}

/// Checks that the module is a command: it exports `_start`, without parameters or results, and has a memory that WASI's
/// calls can read and write.
fn check_exports(module: &Module) -> Result<(), String> {
    let export = |name: &str| module.exports().find(|export| export.name() == name).map(|export| export.ty().clone());
    match export("_start") {
        Some(ExternType::Function(ty)) if ty == FunctionType::new([], []) => {}
        Some(_) => {
            return Err("the module's export `_start` is not a function without parameters and results".to_owned());
        }
        None => return Err(imports::no_start(export("_initialize").is_some())),
    }
    let exported = module.exports().any(|export| matches!(export.ty(), ExternType::Memory(_)));
    let imported = module.imports().any(|import| matches!(import.ty(), ExternType::Memory(_)));
    match exported || imported {
        true => Ok(()),
        false => Err("the module exports no memory, which WASI's calls need: export it as `memory`".to_owned()),
    }
}

/// Checks each import by name and type, in a store for this check alone: the instances are made when the guest runs, one for
/// each thread.
fn check_imports(module: &Module, env: &WasiEnv) -> Result<(), String> {
    let mut store = env.runtime().new_store();
    let wasi = WasiFunctionEnv::new(&mut store, env.clone());
    let provided = wasi.import_object_for_all_wasi_versions(&mut store, module).map_err(|e| e.to_string())?;
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        match import.ty() {
            // Made for the module, whatever limits it asks for.
            ExternType::Memory(memory) if imports::is_memory_given(from, name, memory.shared) => {}
            ExternType::Memory(_) => return Err(imports::no_memory(from, name)),
            ExternType::Function(wanted) if imports::is_provided(from, name) => match provided.get_export(from, name) {
                Some(wasmer::Extern::Function(function)) if function.ty(&store) == *wanted => {}
                Some(other) => {
                    let provided = other.ty(&store);
                    return Err(imports::another_type(from, name, &wanted.to_string(), &format!("{provided:?}")));
                }
                None => return Err(imports::not_provided(from, name)),
            },
            _ => return Err(imports::not_provided(from, name)),
        }
    }
    Ok(())
}
