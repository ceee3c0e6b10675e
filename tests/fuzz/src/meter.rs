//! Counts what a target allocates: a text that costs much more memory than it is long is a finding.
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait; this one hands on every call as it came")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// As much may be allocated at once for an input of no length, in bytes: protobuf takes up to 10 MB for a length that is only claimed.
const LEAST: usize = 16 << 20;
/// And as much more for each byte of it: a list of small objects costs most.
const FOR_EACH_BYTE: usize = 1024;
/// No allocation is granted beyond: the machine is to go on.
const HARD: usize = 2 << 30;

struct Meter;

#[global_allocator]
static METER: Meter = Meter;

thread_local! {
    /// What this thread has allocated and not freed; below zero where it frees what another one allocated.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Counts bytes that are allocated; false where that is too much.
fn grown(bytes: usize) -> bool {
    let live = LIVE.with(|live| {
        live.set(live.get().saturating_add_unsigned(bytes));
        live.get()
    });
    PEAK.with(|peak| peak.set(peak.get().max(live)));
    live < HARD.cast_signed()
}

fn shrunk(bytes: usize) {
    LIVE.with(|live| live.set(live.get().saturating_sub_unsigned(bytes)));
}

// SAFETY: memory is the system allocator's, asked and freed with the layout that came; no memory is what `alloc` may answer.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !grown(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        shrunk(layout.size());
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Runs a target for an input of this length.
///
/// # Panics
/// Where it had more memory at once than it may have for that.
pub fn bounded<T>(length: usize, run: impl FnOnce() -> T) -> T {
    let before = LIVE.get();
    PEAK.set(before);
    let value = run();
    let most = LEAST + FOR_EACH_BYTE * length;
    let had = usize::try_from(PEAK.get() - before).unwrap_or_default();
    assert!(had <= most, "{had} bytes of memory for an input of {length}, more than {most}");
    value
}
