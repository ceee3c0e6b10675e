//! New machine code in memory that must not become executable: made by a call, filled, run.
#![allow(
    unsafe_code,
    reason = "the attack is to write machine code and to jump to it; each step has its SAFETY comment"
)]

use std::sync::OnceLock;

use crate::call::Answer;
use crate::outcome::Outcome;

/// A page on every machine that we run on.
pub(crate) const PAGE: usize = 4096;

/// The mark before [`ANSWER`] in the artifact: the guest's module has both as data.
pub const MARK: &[u8; 16] = b"<machine  code> ";

/// A function that answers 42.
#[cfg(target_arch = "x86_64")]
pub const ANSWER: &[u8] = &[0xb8, 42, 0, 0, 0, 0xc3];
/// A function that answers 42.
#[cfg(target_arch = "aarch64")]
pub const ANSWER: &[u8] = &[0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6];

/// The artifact as an engine has it: mapped whole, its code executable.
pub(crate) struct Artifact {
    pub(crate) fd: i32,
    pub(crate) length: usize,
    /// Where the code is mapped, and how long it is.
    pub(crate) code: (usize, usize),
    /// Where the code is in the file.
    pub(crate) offset: usize,
}

pub(crate) static ARTIFACT: OnceLock<Artifact> = OnceLock::new();

/// Writes the function to writable memory.
pub(crate) fn write(address: i64) {
    // SAFETY: the address is that of a page which was mapped writable for the attack.
    unsafe { std::ptr::copy_nonoverlapping(ANSWER.as_ptr(), address as *mut u8, ANSWER.len()) };
}

/// Runs the code at the address: the outcome is open if it answers; if the memory is not executable, the process ends.
pub(crate) fn run(address: i64) -> Outcome {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: makes what was written visible to the instruction fetch; touches no memory else.
    unsafe {
        std::arch::asm!("dc cvau, {a}", "dsb ish", "ic ivau, {a}", "dsb ish", "isb", a = in(reg) address);
    }
    // SAFETY: either the function lies there, or the jump is the fault that the attack is to meet.
    let function: extern "C" fn() -> i32 = unsafe { std::mem::transmute(address as usize) };
    match function() {
        42 => Outcome::Open("new code ran".to_owned()),
        other => Outcome::Open(format!("something ran, and answered {other}")),
    }
}

/// The address of the function in readable memory.
pub(crate) fn find(address: i64, length: usize) -> Option<i64> {
    // SAFETY: the range was just mapped, readable and within its file.
    let bytes = unsafe { std::slice::from_raw_parts(address as *const u8, length) };
    let mark = bytes.windows(MARK.len()).position(|window| window == MARK)?;
    Some(address + (mark + MARK.len()) as i64)
}

/// Fills and runs new memory, or says how it was refused.
pub(crate) fn filled(mapped: Answer) -> Outcome {
    match mapped {
        Ok(address) => {
            write(address);
            run(address)
        }
        Err(e) => Outcome::Denied(format!("{e:?}")),
    }
}
