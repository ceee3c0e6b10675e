//! The entry point, and the handler of panics.
#![allow(
    unsafe_code,
    reason = "a program without start-up code reads its own stack; each place has its SAFETY comment"
)]

use core::arch::naked_asm;

use crate::{call, hold};

/// The entry point. The kernel passes everything on the stack (System V ABI, "Process Initialization").
///
/// # Safety
/// Only the kernel may enter here, once.
#[cfg(target_arch = "x86_64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn _start() -> ! {
    // Marks the outermost frame, and aligns the stack for a call.
    naked_asm!("xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {begin}", "ud2", begin = sym begin)
}

/// The entry point, as on x86-64.
///
/// # Safety
/// Only the kernel may enter here, once.
#[cfg(target_arch = "aarch64")]
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("mov x29, xzr", "mov x30, xzr", "mov x0, sp", "bl {begin}", "brk #1", begin = sym begin)
}

/// Runs the program, with the first variable of the environment as the report to the shim, and exits.
///
/// # Safety
/// `stack` must be the kernel's: the number of arguments, the arguments, a null, the environment, a null.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the stack always has a first word.
    let arguments = unsafe { *stack };
    // SAFETY: after the arguments and their null comes the environment, which has at least its own null.
    let environment = unsafe { stack.add(arguments + 2) };
    // SAFETY: as above.
    let first = unsafe { *environment };
    // SAFETY: the kernel put that string there, and nothing writes to the environment.
    let report = unsafe { text(first as *const u8) };
    call::exit(hold(report))
}

/// Returns the bytes of a string that ends with a null byte; none for a null pointer.
///
/// # Safety
/// The string must never change.
unsafe fn text(first: *const u8) -> &'static [u8] {
    if first.is_null() {
        return &[];
    }
    let mut length = 0;
    loop {
        // SAFETY: the string goes up to its null byte, and no byte after it is read.
        let at = unsafe { first.add(length) };
        // SAFETY: as above. Volatile, because the compiler would make this loop a call of the C library's strlen.
        if unsafe { at.read_volatile() } == 0 {
            break;
        }
        length += 1;
    }
    // SAFETY: `length` bytes were just read, and do not change.
    unsafe { core::slice::from_raw_parts(first, length) }
}

/// The compiler requires this function. It never runs, because nothing here panics.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    call::exit(134)
}
