//! Refuses calls whose arguments would have wasmer-wasix end the process.

use wasmer::{Memory32, Memory64, RuntimeError, Type};
use wasmer_wasix::wasmer_wasix_types::wasi::{Errno, ProcSpawnFdOp, ProcSpawnFdOpName, Signal, SignalDisposition};

use crate::call::Call;

/// `call_dynamic`: the function's place in the table, then buffers of values and results with their lengths. wasmer-wasix panics at a value
/// that is a reference, because it has no bytes.
pub(crate) fn call_dynamic(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let scalar = |ty: &Type| matches!(ty, Type::I32 | Type::I64 | Type::F32 | Type::F64 | Type::V128);
    let scalars = call.function(0).is_none_or(|ty| ty.params().iter().chain(ty.results()).all(scalar));
    let ends = |at: usize| call.number(at).checked_add(call.number(at + 1)).is_some();
    match scalars && ends(1) && ends(3) {
        true => call.made(),
        false => Ok(Errno::Inval as i32),
    }
}

/// `thread_spawn`: the address of the thread's description, which wasmer-wasix passes on as a signed number. pthread_create
/// answers EAGAIN for any error.
pub(crate) fn spawn_thread(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    if is_described(call) { call.made() } else { Ok(Errno::Again as i32) }
}

/// `thread-spawn` of wasi-threads, whose errors are below 0.
pub(crate) fn spawn_wasi_thread(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    if is_described(call) { call.made() } else { Ok(-(Errno::Again as i32)) }
}

/// Whether the address of a thread's description fits a signed number.
fn is_described(call: &Call<'_>) -> bool {
    i32::try_from(call.number(0)).is_ok()
}

/// `proc_spawn2` and `proc_spawn3`: arguments 6 and 8 are arrays of operations on descriptors and of signal dispositions, each with its
/// length behind it. wasmer-wasix takes the first byte of each element for a valid kind, and jumps by it.
pub(crate) fn spawn_process(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let size = match call.is_wide(6) {
        true => size_of::<ProcSpawnFdOp<Memory64>>(),
        false => size_of::<ProcSpawnFdOp<Memory32>>(),
    };
    let operations = all(call, 6, size, |[kind]: [u8; 1]| ProcSpawnFdOpName::try_from(kind).is_ok());
    let signals = all(call, 8, size_of::<SignalDisposition>(), |[signal, disposition]: [u8; 2]| {
        Signal::try_from(signal).is_ok() && disposition < 2
    });
    if operations && signals { call.made() } else { Ok(Errno::Inval as i32) }
}

/// Whether each of an array's elements begins as it has to, as far as there is memory. The array's address is at `place`.
fn all<const N: usize>(call: &Call<'_>, place: usize, size: usize, holds: impl Fn([u8; N]) -> bool) -> bool {
    let address = |n: u64| n.checked_mul(size as u64)?.checked_add(call.number(place));
    let first = |n: u64| {
        let mut bytes = [0; N];
        address(n).filter(|&at| call.get(at, &mut bytes)).map(|_| bytes)
    };
    (0..call.number(place + 1)).map_while(first).all(holds)
}
