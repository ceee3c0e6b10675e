//! Times to set, as utimensat(2) takes them.

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::{Errno, Result};
use wasmtime_wasi::p1::types::Fstflags;
use wasmtime_wasi::p2::bindings::filesystem::types::NewTimestamp;

const SECOND: u32 = 1_000_000_000;
const UNCHANGED: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };

/// Converts preview 1's times, in nanoseconds since 1970.
pub(super) fn of_preview1(accessed: u64, modified: u64, set: Fstflags) -> Timestamps {
    let time = |at: u64, given, now| match (set.contains(given), set.contains(now)) {
        (true, _) => {
            let (seconds, rest) = (at / u64::from(SECOND), at % u64::from(SECOND));
            Timespec { tv_sec: seconds.cast_signed(), tv_nsec: rest.cast_signed() }
        }
        (false, true) => NOW,
        (false, false) => UNCHANGED,
    };
    Timestamps {
        last_access: time(accessed, Fstflags::ATIM, Fstflags::ATIM_NOW),
        last_modification: time(modified, Fstflags::MTIM, Fstflags::MTIM_NOW),
    }
}

/// Converts WASI 0.2's times.
pub(super) fn of_preview2(accessed: NewTimestamp, modified: NewTimestamp) -> Result<Timestamps> {
    let time = |at| match at {
        NewTimestamp::NoChange => Ok(UNCHANGED),
        NewTimestamp::Now => Ok(NOW),
        NewTimestamp::Timestamp(at) => {
            let seconds = at.seconds.checked_add((at.nanoseconds / SECOND).into()).and_then(|s| s.try_into().ok());
            let tv_sec = seconds.ok_or(Errno::OVERFLOW)?;
            Ok(Timespec { tv_sec, tv_nsec: (at.nanoseconds % SECOND).into() })
        }
    };
    Ok(Timestamps { last_access: time(accessed)?, last_modification: time(modified)? })
}
