//! The first instructions, and the last resort.
#![allow(
    unsafe_code,
    reason = "a program without start-up code reads its own stack; each place has its SAFETY comment"
)]

use core::arch::naked_asm;

use crate::{call, hold};

/// The entry point. The kernel leaves a stack pointer and nothing else of use (System V ABI, «Process Initialization»).
///
/// # Safety
/// Only the kernel may enter here, once.
#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn _start() -> ! {
    // The outermost frame has no caller; the stack is aligned for a call.
    naked_asm!("xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {begin}", "ud2", begin = sym begin)
}

/// As on x86-64.
///
/// # Safety
/// Only the kernel may enter here, once.
#[cfg(target_arch = "aarch64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("mov x29, xzr", "mov x30, xzr", "mov x0, sp", "bl {begin}", "brk #1", begin = sym begin)
}

/// # Safety
/// `stack` is what the kernel left: the arguments' number, the arguments, a null, the environment, a null.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the first word is there always.
    let arguments = unsafe { *stack };
    // SAFETY: behind the arguments and their null follows the environment, which ends with a null itself: a word is there
    // in any case.
    let environment = unsafe { stack.add(arguments + 2) };
    // SAFETY: as said.
    let first = unsafe { *environment };
    // SAFETY: the kernel has put that string there, and it stays: nobody writes to the environment.
    let report = unsafe { text(first as *const u8) };
    call::exit(hold(report))
}

/// Returns the bytes of a string that ends with a zero; none for a null pointer.
///
/// # Safety
/// The string stays as it is for ever.
unsafe fn text(first: *const u8) -> &'static [u8] {
    if first.is_null() {
        return &[];
    }
    let mut length = 0;
    loop {
        // SAFETY: up to its zero the string is there, and no byte behind it is looked at.
        let at = unsafe { first.add(length) };
        // SAFETY: as said. Volatile, or the compiler would make it the C library's strlen.
        if unsafe { at.read_volatile() } == 0 {
            break;
        }
        length += 1;
    }
    // SAFETY: `length` bytes were just read, and they stay.
    unsafe { core::slice::from_raw_parts(first, length) }
}

/// Never runs, because nothing here panics; the compiler demands it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    call::exit(134)
}
