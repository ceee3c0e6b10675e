//! Lists folders for a guest: the kernel's own entries, piece by piece.
//!
//! wasmer-wasix lists the whole folder anew for each piece that a guest reads, and skips as many names as the guest has had:
//! a guest that removes files while it reads misses as many, and 20,000 of them take minutes. So wasmer-wasix is only asked
//! which folder a descriptor is. The folder is open from the first piece on, until the guest closes it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use catamaran_worker::listing::Listing;
use rustix::fs::{CWD, Mode, OFlags, openat};
use wasmer::RuntimeError;
use wasmer_wasix::wasmer_wasix_types::wasi::Errno;

use crate::call::Call;
use crate::errors::wasis;
use crate::threads;

/// The most folders that are open for being read, because a process may end unnoticed without closing its own. A folder that is read on
/// after it was forgotten is opened once more.
const MOST: usize = 256;

struct Kept {
    process: u32,
    descriptor: u64,
    folder: PathBuf,
    listing: Listing,
}

static KEPT: Mutex<VecDeque<Kept>> = Mutex::new(VecDeque::new());

/// `fd_readdir`: the folder, a buffer, its length, a position, where to say how much was filled.
pub(crate) fn read(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let folder = match call.folder(0)? {
        Ok(folder) => folder,
        Err(refused) => return Ok(refused),
    };
    let (buffer, from) = (call.number(1), call.number(3));
    let Some(room) = call.room(buffer, call.number(2)) else { return Ok(Errno::Fault as i32) };
    let mut names = vec![0; room];
    let filled = match filled(call.number(0), folder, from, &mut names) {
        Ok(filled) => filled,
        Err(e) => return Ok(wasis(e.raw_os_error().unwrap_or(libc::EIO)) as i32),
    };
    let put = call.put(buffer, &names[..filled]) && call.put_size(4, filled);
    Ok(if put { 0 } else { Errno::Fault as i32 })
}

fn filled(descriptor: u64, folder: PathBuf, from: u64, names: &mut [u8]) -> io::Result<usize> {
    let process = threads::process();
    let known = {
        let mut all = kept();
        let known = all.iter().position(|kept| (kept.process, kept.descriptor) == (process, descriptor));
        known.and_then(|known| all.remove(known))
    };
    let mut mine = match known {
        Some(kept) if kept.folder == folder => kept,
        _ => Kept { process, descriptor, listing: Listing::new(open(&folder)?)?, folder },
    };
    // Without the lock: a file system may take its time.
    let filled = mine.listing.fill(from, names, |found| found.inode);
    let mut all = kept();
    while all.len() >= MOST {
        all.pop_front();
    }
    all.push_back(mine);
    filled
}

fn open(folder: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Forgets the folder of a descriptor that was closed or replaced.
pub(crate) fn closed(descriptor: u64) {
    let process = threads::process();
    kept().retain(|kept| (kept.process, kept.descriptor) != (process, descriptor));
}

/// Forgets the folders of a process that ends.
pub(crate) fn ended() {
    let process = threads::process();
    kept().retain(|kept| kept.process != process);
}

fn kept() -> MutexGuard<'static, VecDeque<Kept>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}
