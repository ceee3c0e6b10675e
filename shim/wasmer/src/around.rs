//! Calls of WASI that this worker does something around, in the process's own code: wasmer-wasix has no hook for them.

use std::cell::Cell;

use wasmer::{AsStoreMut, Extern, Function, FunctionEnv, FunctionEnvMut, Imports, Module, RuntimeError, StoreMut, Value};

use crate::{imports, signals};

thread_local! {
    static SYNCING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in a guest's fsync or fdatasync: wasmer-wasix asks for the same flush when a file is closed.
pub(crate) fn is_syncing() -> bool {
    SYNCING.get()
}

/// What a call is put between.
#[derive(Clone, Copy)]
enum Around {
    Sync,
    Signals,
}

const CALLS: [(&str, Around); 3] =
    [("fd_sync", Around::Sync), ("fd_datasync", Around::Sync), ("callback_signal", Around::Signals)];

/// Puts what is done around them around those calls that `module` imports.
pub(crate) fn wrap(module: &Module, store: &mut StoreMut<'_>, imports: &mut Imports) {
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        let around = CALLS.iter().find(|(call, _)| *call == name).map(|(_, around)| *around);
        let (Some(around), true) = (around, imports::is_provided(from, name)) else { continue };
        let Some(Extern::Function(inner)) = imports.get_export(from, name) else { continue };
        imports.define(from, name, wrapped(store, inner, around));
    }
}

fn wrapped(store: &mut StoreMut<'_>, inner: Function, around: Around) -> Function {
    let ty = inner.ty(store);
    let env = FunctionEnv::new(store, inner);
    Function::new_with_env(store, &env, ty, move |mut env: FunctionEnvMut<'_, Function>, arguments: &[Value]| {
        let inner = env.data().clone();
        if let Around::Signals = around {
            // Before the guest's handler counts: a signal in between is the guest's.
            signals::take().map_err(|e| RuntimeError::new(format!("taking signals: {e}")))?;
        }
        SYNCING.set(matches!(around, Around::Sync));
        let result = inner.call(&mut env.as_store_mut(), arguments);
        SYNCING.set(false);
        result.map(Vec::from)
    })
}
