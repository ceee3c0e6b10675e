//! Gives memory back to the kernel that a process has freed: the C library keeps what it has once had, up to 128 kB at the heap's end and
//! all that lies between blocks in use.
#![allow(unsafe_code, reason = "the C library's function has no safe form; this module is its safe form")]

use nix::libc;

/// Gives the heap's free pages back.
pub fn trim() {
    // SAFETY: takes a number, and changes only memory that the allocator has and nobody uses.
    unsafe { libc::malloc_trim(0) };
}
