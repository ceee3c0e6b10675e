//! Links and runs a component that is a program of WASI 0.2.

use catamaran_wasmtime_artifact::interfaces;
use catamaran_worker::{Guest, Needs, RunnerError};
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Result, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre;

use crate::interfaces::provide;
use crate::wasi;
use crate::world::World;

/// Returns the kernel features that the component needs.
pub(crate) fn needs(engine: &Engine, component: &Component) -> Needs {
    let sockets = component.component_type().imports(engine).any(|(name, _)| interfaces::opens_sockets(name));
    // wasmtime-wasi makes a helper thread for operations that may block.
    Needs { threads: true, sockets, ..Needs::default() }
}

/// A component with its imports resolved.
pub(crate) struct Program(CommandPre<World>);

impl Program {
    /// Links the component. The text of an error is for the user.
    pub(crate) fn new(engine: &Engine, component: &Component) -> std::result::Result<Self, RunnerError> {
        let types = component.component_type();
        let refused = types
            .imports(engine)
            .find_map(|(name, _)| interfaces::refusal(name))
            .or_else(|| interfaces::no_program(types.exports(engine).map(|(name, _)| name)))
            .or_else(|| {
                (!types.exports(engine).any(|(name, item)| is_run(engine, name, &item.ty))).then(interfaces::no_run)
            });
        if let Some(text) = refused {
            return Err(RunnerError::Module(text));
        }
        let mut linker = Linker::new(engine);
        provide(&mut linker).map_err(|e| RunnerError::Module(format!("WASI 0.2 cannot be linked: {e:#}")))?;
        linker
            .instantiate_pre(component)
            .and_then(CommandPre::new)
            .map(Self)
            // Wasmtime's text names the interface and the function, and both types.
            .map_err(|e| RunnerError::Module(format!("the component cannot be linked: {e:#}")))
    }

    /// Makes the guest's world. Must be called within the event loop's context.
    pub(crate) fn store(&self, guest: &Guest, sockets: bool) -> std::result::Result<Store<World>, String> {
        let mut builder = wasi::builder(guest)?;
        // The pod's network namespace, and the kernel's rules for it, decide which addresses the guest can reach.
        if sockets {
            builder.inherit_network().allow_tcp(true).allow_udp(true);
        }
        let world = World::new(builder.build())
            .map_err(|e| format!("the container's root directory cannot be found: {e:#}"))?;
        Ok(Store::new(self.0.engine(), world))
    }

    /// Runs the component to its end.
    pub(crate) async fn run(&self, store: &mut Store<World>) -> Result<()> {
        let command = self.0.instantiate_async(&mut *store).await?;
        match command.wasi_cli_run().call_run(store).await? {
            Ok(()) => Ok(()),
            Err(()) => Err(I32Exit(1).into()),
        }
    }
}

/// Whether an export is `wasi:cli/run`, and its function has WASI's type. Wasmtime would check the type only when the guest is started.
fn is_run(engine: &Engine, name: &str, item: &ComponentItem) -> bool {
    let ComponentItem::ComponentInstance(interface) = item else { return false };
    interfaces::is_run(name)
        && matches!(interface.get_export(engine, "run").map(|run| run.ty), Some(ComponentItem::ComponentFunc(run)) if is_main(&run))
}

/// Whether a function has no parameters, and returns a `result` without values.
fn is_main(function: &ComponentFunc) -> bool {
    let mut results = function.results();
    function.params().len() == 0
        && matches!(results.next(), Some(Type::Result(r)) if r.ok().is_none() && r.err().is_none())
        && results.next().is_none()
}
