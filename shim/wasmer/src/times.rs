//! Sets the times of files. wasmer-wasix sets them only in what it remembers: by a path, of a folder, and on a read-only
//! mount.

use std::cell::RefCell;

use rustix::fs::{self as at, AtFlags, CWD, Timespec, Timestamps};
use wasmer::RuntimeError;
use wasmer_wasix::wasmer_wasix_types::wasi::{Errno, Fstflags};

use crate::call::Call;
use crate::errors::{self, wasis};

thread_local! {
    /// The times that this thread's call is to set on an open file.
    static WANTED: RefCell<Option<Timestamps>> = const { RefCell::new(None) };
}

/// Takes the times that this thread's call is to set.
pub(crate) fn take() -> Option<Timestamps> {
    WANTED.take()
}

/// `path_filestat_set_times`: folder, flags, path, its length, the two times, which of them.
pub(crate) fn by_path(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let Some(times) = wanted(call.number(4), call.number(5), call.number(6)) else { return Ok(Errno::Inval as i32) };
    let path = match call.path(0, 2)? {
        Ok(path) => path,
        Err(refused) => return Ok(refused),
    };
    let flags = if call.follows(1) { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    Ok(errors::said(at::utimensat(CWD, path, &times, flags)))
}

/// `fd_filestat_set_times`: descriptor, the two times, which of them.
pub(crate) fn by_descriptor(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let Some(times) = wanted(call.number(1), call.number(2), call.number(3)) else { return Ok(Errno::Inval as i32) };
    WANTED.set(Some(times.clone()));
    let said = call.made();
    let left = WANTED.take();
    match (said?, errors::last(), left) {
        // wasmer-wasix ignores the open file's error.
        (0, Some(number), None) => Ok(wasis(number) as i32),
        // Nobody took them: a folder, or a stream, which has no times.
        (0, _, Some(_)) => match call.folder(0)? {
            Ok(folder) => Ok(errors::said(at::utimensat(CWD, folder, &times, AtFlags::empty()))),
            Err(_) => Ok(0),
        },
        (said, ..) => Ok(said),
    }
}

/// The two times as the kernel takes them; None if the guest wants one of them set twice.
fn wanted(accessed: u64, modified: u64, flags: u64) -> Option<Timestamps> {
    let flags = Fstflags::from_bits_truncate(flags as u16);
    let one = |nanoseconds: u64, set: Fstflags, now: Fstflags| {
        let tv_nsec = match (flags.contains(set), flags.contains(now)) {
            (true, true) => return None,
            (false, false) => at::UTIME_OMIT,
            (false, true) => at::UTIME_NOW,
            (true, false) => (nanoseconds % 1_000_000_000) as _,
        };
        // Both numbers are below 2^35.
        Some(Timespec { tv_sec: (nanoseconds / 1_000_000_000) as _, tv_nsec })
    };
    Some(Timestamps {
        last_access: one(accessed, Fstflags::SET_ATIM, Fstflags::SET_ATIM_NOW)?,
        last_modification: one(modified, Fstflags::SET_MTIM, Fstflags::SET_MTIM_NOW)?,
    })
}

#[cfg(test)]
mod tests {
    use rustix::fs as at;
    use wasmer_wasix::wasmer_wasix_types::wasi::Fstflags;

    use super::wanted;

    #[test]
    fn a_file_time_is_set_to_now_or_left_unchanged() {
        let flags = |flags: Fstflags| u64::from(flags.bits());
        let times = wanted(1_500_000_007, 9, flags(Fstflags::SET_ATIM)).unwrap();
        assert_eq!((times.last_access.tv_sec, times.last_access.tv_nsec), (1, 500_000_007));
        assert_eq!(times.last_modification.tv_nsec, at::UTIME_OMIT);
        let times = wanted(0, 0, flags(Fstflags::SET_MTIM_NOW)).unwrap();
        assert_eq!((times.last_access.tv_nsec, times.last_modification.tv_nsec), (at::UTIME_OMIT, at::UTIME_NOW));
        assert!(wanted(0, 0, flags(Fstflags::SET_ATIM | Fstflags::SET_ATIM_NOW)).is_none());
    }
}
