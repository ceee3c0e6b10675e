//! Reads and writes, at the descriptor's position or at one that the call names, with the kernel's refusals.

use wasmer::RuntimeError;
use wasmer_wasix::wasmer_wasix_types::wasi::Errno;

use crate::call::{Call, Descriptor};
use crate::{errors, opened, raised, waits};

/// `fd_read`: descriptor, buffers, their number, where the size goes.
pub(crate) fn read(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    waits::read(call).map(not_open_so)
}

/// `fd_write`: as [`read`].
pub(crate) fn write(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let (said, end) = opened::appending(|| waits::send_parts(call));
    let said = raised::of_a_write(said)?;
    // wasmer-wasix knows the end only as it was when the file was opened.
    if let (0, Some(end)) = (said, end) {
        call.go_to(end)?;
    }
    Ok(not_open_so(said))
}

/// `fd_pread`: descriptor, buffers, their number, the position, where the size goes.
pub(crate) fn read_at(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    match no_position(call)? {
        Some(refused) => Ok(refused),
        None => waits::read(call).map(not_open_so),
    }
}

/// `fd_pwrite`: as [`read_at`].
pub(crate) fn write_at(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    match no_position(call)? {
        Some(refused) => Ok(refused),
        None => call.made().map(not_open_so),
    }
}

/// The kernel's error for an impossible position, the fourth argument.
fn no_position(call: &mut Call<'_>) -> Result<Option<i32>, RuntimeError> {
    if i64::try_from(call.number(3)).is_err() {
        return Ok(Some(Errno::Inval as i32));
    }
    // A descriptor has 32 bits.
    Ok(match call.what(call.number(0) as u32)? {
        Descriptor::File(opened) if opened.seekable => None,
        Descriptor::Folder(_) => None,
        Descriptor::Other(said) if said == Errno::Badf as i32 => Some(said),
        Descriptor::File(_) | Descriptor::Other(_) => Some(Errno::Spipe as i32),
    })
}

/// For a descriptor that was not opened for this, wasmer-wasix answers that it lacks a right.
fn not_open_so(said: i32) -> i32 {
    if said == Errno::Access as i32 && errors::last().is_none() { Errno::Badf as i32 } else { said }
}
