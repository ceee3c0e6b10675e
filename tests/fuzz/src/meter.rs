//! Counts a target's allocations: an input that costs far more memory than its length is a finding.
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait; this one hands on every call as it came")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The allowance for an empty input, in bytes: protobuf takes up to 10 MB for a length that is only claimed.
const LEAST: usize = 16 << 20;
/// The additional allowance for each byte of input: a list of small objects costs most.
const FOR_EACH_BYTE: usize = 1024;
/// The limit beyond which no allocation succeeds, so that the machine goes on.
const HARD: usize = 2 << 30;

struct Meter;

#[global_allocator]
static METER: Meter = Meter;

thread_local! {
    /// The bytes that this thread has allocated and not freed; negative if it frees another thread's.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Counts allocated bytes; returns false if that is too much.
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

// SAFETY: memory is the system allocator's, allocated and freed with the caller's layout; `alloc` may return no memory.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !grown(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise is the one that the system allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        shrunk(layout.size());
        // SAFETY: the caller's promise is the one that the system allocator asks for.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Runs a target for an input of this length.
///
/// # Panics
/// When it has more memory at once than the input's length allows.
pub fn bounded<T>(length: usize, run: impl FnOnce() -> T) -> T {
    let before = LIVE.get();
    PEAK.set(before);
    let value = run();
    let most = LEAST + FOR_EACH_BYTE * length;
    let had = usize::try_from(PEAK.get() - before).unwrap_or_default();
    assert!(had <= most, "{had} bytes of memory for an input of {length}, more than {most}");
    value
}
