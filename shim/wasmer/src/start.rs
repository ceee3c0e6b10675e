//! Calls a module's start function that uses WASI once there is an instance: wasmer-wasix has no calls before. The compile
//! process exports the function for that (`catamaran_wasmer_compile`).

use std::cell::RefCell;

use catamaran_wasmer_artifact::header::START;
use wasmer::{Function, Instance, InstantiationError, Store};
use wasmer_wasix::{WasiError, WasiThreadError};

use crate::{outcome, threads};

thread_local! {
    /// The start function of the instance that this thread is making.
    static FUNCTION: RefCell<Option<Function>> = const { RefCell::new(None) };
}

/// Notes the start function of a new instance.
pub(crate) fn note(instance: &Instance) {
    FUNCTION.set(instance.exports.get_function(START).ok().cloned());
}

/// Calls the start function of the instance that this thread has made, if there is one.
pub(crate) fn call(store: &mut Store) -> Result<(), WasiThreadError> {
    let Some(function) = FUNCTION.take() else { return Ok(()) };
    let Err(trap) = function.call(store, &[]) else { return Ok(()) };
    match trap.downcast_ref::<WasiError>() {
        // An exit of a forked process ends that process alone, with this error in place of its code.
        Some(WasiError::Exit(code)) if threads::of_the_first_process() => outcome::exit(outcome::low_byte(code.raw())),
        _ => Err(WasiThreadError::InstanceCreateFailed(Box::new(InstantiationError::Start(trap)))),
    }
}
