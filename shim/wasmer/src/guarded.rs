//! Calls that have wasmer-wasix end the process for what a guest gives them: refused before.

use wasmer::{RuntimeError, Type};
use wasmer_wasix::wasmer_wasix_types::wasi::Errno;

use crate::call::Call;

/// `call_dynamic`: the function's place in the table, then buffers of values and results with their lengths. A reference is no
/// bytes, and is not checked for.
pub(crate) fn call_dynamic(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let scalar = |ty: &Type| matches!(ty, Type::I32 | Type::I64 | Type::F32 | Type::F64 | Type::V128);
    let scalars = call.function(0).is_none_or(|ty| ty.params().iter().chain(ty.results()).all(scalar));
    let ends = |at: usize| call.number(at).checked_add(call.number(at + 1)).is_some();
    match scalars && ends(1) && ends(3) {
        true => call.made(),
        false => Ok(Errno::Inval as i32),
    }
}

/// `thread_spawn`: the address of what describes the thread, which wasmer-wasix gives on as a number with a sign. pthread_create
/// answers EAGAIN for any error.
pub(crate) fn spawn_thread(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    if is_described(call) { call.made() } else { Ok(Errno::Again as i32) }
}

/// `thread-spawn` of wasi-threads, whose errors are below 0.
pub(crate) fn spawn_wasi_thread(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    if is_described(call) { call.made() } else { Ok(-(Errno::Again as i32)) }
}

/// Whether a thread's description lies where it can be given on.
fn is_described(call: &Call<'_>) -> bool {
    i32::try_from(call.number(0)).is_ok()
}
