//! The room that an open file takes: its size, what is reserved for it, and how it will be read.

use std::num::NonZero;

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use wasmer::RuntimeError;
use wasmer_wasix::wasmer_wasix_types::wasi::Errno;

use crate::call::{Call, Descriptor};
use crate::errors;

/// `fd_filestat_set_size`: descriptor, size.
pub(crate) fn set_size(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    if i64::try_from(call.number(1)).is_err() {
        return Ok(Errno::Inval as i32);
    }
    // wasmer-wasix's answers for a descriptor that is no file, or not open for writing.
    let others = [Errno::Access, Errno::Isdir].map(|errno| errno as i32);
    let said = call.made()?;
    Ok(if others.contains(&said) && errors::last().is_none() { Errno::Inval as i32 } else { said })
}

/// `fd_allocate`: descriptor, offset, length. wasmer-wasix would make the file longer, and reserve nothing.
pub(crate) fn allocate(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let (offset, length) = (call.number(1), call.number(2));
    // A descriptor has 32 bits.
    let what = call.what(call.number(0) as u32)?;
    if let Descriptor::Other(said) = what
        && said == Errno::Badf as i32
    {
        return Ok(said);
    }
    if i64::try_from(offset).is_err() || i64::try_from(length).is_err() || length == 0 {
        return Ok(Errno::Inval as i32);
    }
    Ok(match what {
        Descriptor::File(opened) => errors::said(fallocate(&opened.file, FallocateFlags::empty(), offset, length)),
        Descriptor::Folder(_) => Errno::Badf as i32,
        Descriptor::Other(_) => Errno::Spipe as i32,
    })
}

/// `fd_advise`: descriptor, offset, length, WASI's advice.
pub(crate) fn advise(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    const ADVICE: [Advice; 6] =
        [Advice::Normal, Advice::Sequential, Advice::Random, Advice::WillNeed, Advice::DontNeed, Advice::NoReuse];
    let advice = usize::try_from(call.number(3)).ok().and_then(|number| ADVICE.get(number).copied());
    // A descriptor has 32 bits.
    Ok(match (call.what(call.number(0) as u32)?, advice) {
        (Descriptor::Other(said), _) if said == Errno::Badf as i32 => said,
        (Descriptor::Other(_), _) => Errno::Spipe as i32,
        (_, None) => Errno::Inval as i32,
        (Descriptor::Folder(_), Some(_)) => 0,
        (Descriptor::File(opened), Some(advice)) => {
            errors::said(fadvise(&opened.file, call.number(1), NonZero::new(call.number(2)), advice))
        }
    })
}
