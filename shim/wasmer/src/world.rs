//! Hosts wasmer-wasix: gives it threads, sockets and stores, but no packages, no registry, no HTTP client and no modules to
//! compile.

use std::fmt;
use std::sync::Arc;

use wasmer::Engine;
use wasmer_wasix::runtime::module_cache::progress::ModuleLoadProgressReporter;
use wasmer_wasix::runtime::resolver::{MultiSource, Source};
use wasmer_wasix::runtime::{InstantiationState, ModuleInput, TaintReason};
use wasmer_wasix::virtual_net::DynVirtualNetworking;
use wasmer_wasix::{Runtime, SpawnError, VirtualTaskManager};

use crate::call::Own;
use crate::remembered::Tree;
use crate::{around, outcome, signals, start, threads};

/// The host of all processes of one guest.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) tasks: Arc<dyn VirtualTaskManager>,
    pub(crate) network: DynVirtualNetworking,
    /// The address at which the guest's C library keeps its signal dispositions.
    dispositions: Option<u32>,
    /// What wasmer-wasix remembers of the file tree.
    tree: Tree,
    /// A source that knows no package: there is no registry.
    nowhere: Arc<MultiSource>,
}

impl World {
    pub(crate) fn new(
        engine: Engine,
        tasks: Arc<dyn VirtualTaskManager>,
        network: DynVirtualNetworking,
        dispositions: Option<u32>,
        tree: Tree,
    ) -> Self {
        Self { engine, tasks, network, dispositions, tree, nowhere: Arc::default() }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl Runtime for World {
    fn networking(&self) -> &DynVirtualNetworking {
        &self.network
    }

    fn task_manager(&self) -> &Arc<dyn VirtualTaskManager> {
        &self.tasks
    }

    fn source(&self) -> Arc<dyn Source + Send + Sync> {
        self.nowhere.clone()
    }

    fn engine(&self) -> Engine {
        self.engine.clone()
    }

    fn new_store(&self) -> wasmer::Store {
        wasmer::Store::new(self.engine.clone())
    }

    fn prepare_imports(
        &self,
        module: &wasmer::Module,
        store: &mut wasmer::StoreMut<'_>,
        imports: &mut wasmer::Imports,
    ) -> anyhow::Result<InstantiationState> {
        Ok(InstantiationState::new(around::wrap(module, store, imports, &self.tree)))
    }

    fn configure_new_instance(
        &self,
        _module: &wasmer::Module,
        store: &mut wasmer::StoreMut<'_>,
        instance: &wasmer::Instance,
        memory: Option<&wasmer::Memory>,
        state: InstantiationState,
    ) -> anyhow::Result<()> {
        start::note(instance);
        // The memory is imported, or the module's own.
        let own = || instance.exports.iter().memories().next().map(|(_, memory)| memory);
        let told = state.take::<Arc<Own>>()?;
        // `told` has just been made for this instance, so nothing is set yet.
        if let Some(memory) = memory.or_else(own) {
            let _ = told.memory.set(memory.clone());
        }
        if let Ok(functions) = instance.exports.get_table("__indirect_function_table") {
            let _ = told.functions.set(functions.clone());
        }
        // Only of the first instance: a forked process has a memory of its own, and no signals from outside.
        if let (Some(address), Some(memory)) = (self.dispositions, memory) {
            signals::look_at(memory, store, address);
        }
        Ok(())
    }

    /// A module that a guest executes would have to be compiled, and there is no compiler: the guest is told ENOEXEC.
    fn resolve_module<'a>(
        &'a self,
        _input: ModuleInput<'a>,
        _engine: Option<&Engine>,
        _progress: Option<ModuleLoadProgressReporter>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<wasmer::Module, SpawnError>> + Send + 'a>> {
        Box::pin(async { Err(SpawnError::Unsupported) })
    }

    /// Called by the thread that ends, before wasmer-wasix waits for the others.
    fn on_taint(&self, reason: TaintReason) {
        if !threads::of_the_first_process() {
            return;
        }
        match reason {
            TaintReason::RuntimeError(e) => outcome::trapped(&e),
            TaintReason::DlSymbolResolutionFailed(symbol) => {
                outcome::stop(&format!("catamaran: the guest was stopped: no module of it has the symbol `{symbol}`\n"))
            }
            TaintReason::UnknownWasiVersion | TaintReason::NonZeroExitCode(_) => {}
        }
    }
}
