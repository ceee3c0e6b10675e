//! What keeps the memory of idle shims and workers small. Freed memory is given back to the kernel by hand: the C library keeps what it has once had, up to 128 kB at the heap's end and
//! all that lies between blocks in use.
#![allow(unsafe_code, reason = "the C library's function has no safe form; this module is its safe form")]

use nix::libc;

/// How many events an event loop takes from the kernel at a time. The library's own number, 1024, is 12 kB in every process.
pub const EVENTS: usize = 64;

/// Gives the heap's free pages back.
pub fn trim() {
    // SAFETY: takes a number, and changes only memory that the allocator has and nobody uses.
    unsafe { libc::malloc_trim(0) };
}
