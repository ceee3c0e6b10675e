//! Gives memory back to the kernel once a pod is quiet. A creation takes some 100 kB of heap and 60 kB of stack for a few milliseconds, and
//! the C library keeps the heap, the kernel the stack, for as long as the process lives: in every idle pod.
#![allow(unsafe_code, reason = "a stack cannot be given back in safe code; each block has its SAFETY comment")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::mm::Advice;

/// The time after a call until its memory is given back: it delays no answer, and a burst of calls uses the same pages again.
const QUIET: Duration = Duration::from_millis(200);
/// The part of the stack below the current frame that is given back. A deeper part than this was never used, or stays.
const DEPTH: usize = 1 << 20;

/// Whether memory is about to be given back.
#[derive(Default)]
pub(super) struct Memory {
    due: Arc<AtomicBool>,
}

impl Memory {
    /// Gives memory back soon.
    pub(super) fn settle(&self) {
        if self.due.swap(true, Ordering::Relaxed) {
            return;
        }
        let due = self.due.clone();
        tokio::spawn(async move {
            tokio::time::sleep(QUIET).await;
            due.store(false, Ordering::Relaxed);
            give_back();
        });
    }
}

fn give_back() {
    catamaran_worker::memory::trim();
    // Another thread's stack has neighbours.
    if rustix::thread::gettid() != rustix::process::getpid() {
        return;
    }
    let page = rustix::param::page_size();
    if let Some(start) = (stack_pointer() & !(page - 1)).checked_sub(page + DEPTH) {
        // SAFETY: below the stack pointer lie frames of calls that have returned, and the frame of this call, which has less than the
        // page that is left out. Later calls find zeroes there, and write to their frames before they read them. Nothing but the stack
        // is mapped there: the kernel keeps 128 MB below the main thread's free of mappings for which it chooses the place. If the
        // stack is shorter, the answer is ENOMEM, and the part that there is was given back.
        let _ = unsafe { rustix::mm::madvise(start as *mut _, DEPTH, Advice::LinuxDontNeed) };
    }
}

/// Returns the address of the end of the stack in use.
fn stack_pointer() -> usize {
    let pointer: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads a register.
    unsafe {
        std::arch::asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads a register.
    unsafe {
        std::arch::asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    pointer
}
