//! fsync and fdatasync of files and folders, by the kernel. wasmer-wasix refuses them for a folder, and for a file that is
//! only read.

use rustix::fs::{CWD, Mode, OFlags, fdatasync, fsync, openat};
use wasmer::RuntimeError;
use wasmer_wasix::wasmer_wasix_types::wasi::Errno;

use crate::call::{Call, Descriptor};
use crate::errors;

/// `fd_sync`: descriptor.
pub(crate) fn whole(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    sync(call, true)
}

/// `fd_datasync`: descriptor.
pub(crate) fn data(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    sync(call, false)
}

fn sync(call: &mut Call<'_>, whole: bool) -> Result<i32, RuntimeError> {
    call.below_the_root(&[0]);
    // A descriptor has 32 bits.
    let descriptor = call.number(0) as u32;
    Ok(match call.what(descriptor)? {
        Descriptor::File(opened) if whole => errors::said(fsync(&opened.file)),
        Descriptor::File(opened) => errors::said(fdatasync(&opened.file)),
        Descriptor::Folder(folder) => {
            let opened = openat(CWD, folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            errors::said(opened.and_then(fsync))
        }
        Descriptor::Other(said) if said == Errno::Badf as i32 => said,
        // Only the kernel knows where the container's own streams lead.
        Descriptor::Other(_) => errors::said(match descriptor {
            0 => fsync(rustix::stdio::stdin()),
            1 => fsync(rustix::stdio::stdout()),
            2 => fsync(rustix::stdio::stderr()),
            _ => Err(rustix::io::Errno::INVAL),
        }),
    })
}
