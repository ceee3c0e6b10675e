//! Answers of wasmtime-wasi that may hide the kernel's own, and the kernel's error numbers in WASI's words.

use std::io;

use rustix::io::Errno;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

/// An answer that need not be final.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// "Not permitted": a link leads to an absolute path, or above the root. Or the kernel said so, and says it again.
    NotPermitted,
    /// "No such file": the path may name a file that only a procfs has.
    NotFound,
    /// "Input or output error": the answer for each error number that wasmtime-wasi does not know.
    Unclear,
    /// No answer yet: wasmtime-wasi has no way to make the call.
    Unasked,
}

impl Refused {
    pub(super) fn from_code(code: ErrorCode) -> Option<Self> {
        match code {
            ErrorCode::NotPermitted => Some(Self::NotPermitted),
            ErrorCode::Io => Some(Self::Unclear),
            ErrorCode::NoEntry => Some(Self::NotFound),
            _ => None,
        }
    }
}

/// Translates an error number to WASI 0.2.
pub(super) fn code(errno: Errno) -> ErrorCode {
    match errno {
        Errno::ROFS => ErrorCode::ReadOnly,
        Errno::XDEV => ErrorCode::CrossDevice,
        Errno::DQUOT => ErrorCode::Quota,
        Errno::TXTBSY => ErrorCode::TextFileBusy,
        Errno::NODEV => ErrorCode::NoDevice,
        Errno::NXIO => ErrorCode::NoSuchDevice,
        Errno::AGAIN => ErrorCode::WouldBlock,
        Errno::DEADLK => ErrorCode::Deadlock,
        Errno::NOLCK => ErrorCode::NoLock,
        known => io::Error::from(known).into(),
    }
}
