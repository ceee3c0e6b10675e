//! Seeks: wasmer-wasix keeps a descriptor's position, and refusals are the kernel's.

use wasmer::RuntimeError;
use wasmer_wasix::wasmer_wasix_types::wasi::{Errno, Whence};

use crate::call::{Call, Descriptor};
use crate::errors::{self, wasis};
use crate::opened;

/// `fd_seek`: descriptor, offset, from where, where the position goes.
pub(crate) fn seek(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    if let Some(refused) = not_seekable(call)? {
        return Ok(refused);
    }
    let offset = call.number(1).cast_signed();
    // wasmer-wasix would go before the beginning, and answer EINVAL.
    if call.number(2) == Whence::Cur as u64
        && offset < 0
        && call.position()?.is_ok_and(|position| position < offset.unsigned_abs())
    {
        return Ok(Errno::Inval as i32);
    }
    let said = opened::not_asked(|| call.made())?;
    Ok(match errors::last() {
        Some(number) if said != 0 => wasis(number) as i32,
        _ => said,
    })
}

/// `fd_tell`: descriptor, where the position goes.
pub(crate) fn tell(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    match not_seekable(call)? {
        Some(refused) => Ok(refused),
        None => call.made(),
    }
}

fn not_seekable(call: &mut Call<'_>) -> Result<Option<i32>, RuntimeError> {
    // A descriptor has 32 bits.
    Ok(match call.what(call.number(0) as u32)? {
        Descriptor::File(opened) if opened.seekable => None,
        Descriptor::Folder(_) => None,
        Descriptor::Other(said) if said == Errno::Badf as i32 => Some(said),
        Descriptor::File(_) | Descriptor::Other(_) => Some(Errno::Spipe as i32),
    })
}
