//! The system calls of the holder, one function each.
#![allow(unsafe_code, reason = "there is no library below; this module wraps the system calls in safe functions")]

use core::arch::asm;

use crate::filter::{Instruction, LENGTH};
use crate::number;

const SIGINT: u32 = 2;
const SIGKILL: usize = 9;
const SIGTERM: u32 = 15;
const SIGCHLD: usize = 17;
const SIG_BLOCK: usize = 0;
const SIG_IGN: usize = 1;
/// The set of SIGINT and SIGTERM, in the kernel's form.
const ENDS: u64 = 1 << (SIGINT - 1) | 1 << (SIGTERM - 1);
/// The bytes of a set of signals.
const SET: usize = size_of::<u64>();

const PR_SET_PDEATHSIG: usize = 1;
const PR_SET_DUMPABLE: usize = 4;
const PR_SET_NAME: usize = 15;
const SECCOMP_SET_MODE_FILTER: usize = 1;
const POLLIN: i16 = 1;
const EINTR: isize = -4;

/// The kernel refused a call, for which there is no valid reason. The holder then ends.
pub(crate) struct Ended;

/// The end of a wait.
pub(crate) enum Woken {
    /// The control socket has a message, or was closed.
    ByWord,
    BySignal,
}

/// Makes a system call.
///
/// # Safety
/// Pointers among the arguments must be valid for what the call reads and writes.
#[cfg(target_arch = "x86_64")]
unsafe fn system(number: u32, arguments: [usize; 5]) -> isize {
    let [a, b, c, d, e] = arguments;
    let result: isize;
    // SAFETY: these are a call's registers (syscall(2)); the kernel also changes rcx and r11, which are declared.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// Makes a system call.
///
/// # Safety
/// As on x86-64.
#[cfg(target_arch = "aarch64")]
unsafe fn system(number: u32, arguments: [usize; 5]) -> isize {
    let [a, b, c, d, e] = arguments;
    let result: isize;
    // SAFETY: these are a call's registers (syscall(2)); the kernel changes no others.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack));
    }
    result
}

fn checked(result: isize) -> Result<usize, Ended> {
    if result < 0 { Err(Ended) } else { Ok(result.cast_unsigned()) }
}

/// Blocks SIGTERM and SIGINT. They then stay pending, even for the first process of a pid namespace.
pub(crate) fn block_ends() -> Result<(), Ended> {
    let set = ENDS;
    // SAFETY: the call reads the set, whose size is given, and writes no old one.
    let set = unsafe { system(number::RT_SIGPROCMASK, [SIG_BLOCK, (&raw const set) as usize, 0, SET, 0]) };
    checked(set).map(drop)
}

/// Makes the kernel reap this process's children, orphans included, by ignoring SIGCHLD (wait(2), "NOTES").
pub(crate) fn ignore_children() -> Result<(), Ended> {
    // The kernel's `struct sigaction`: handler, flags, restorer, mask.
    let action: [usize; 4] = [SIG_IGN, 0, 0, 0];
    // SAFETY: the call reads the structure, which has the kernel's size, and writes no old one.
    let set = unsafe { system(number::RT_SIGACTION, [SIGCHLD, (&raw const action) as usize, 0, SET, 0]) };
    checked(set).map(drop)
}

/// Sets the process's name, as `ps -o comm` shows it.
pub(crate) fn set_name() -> Result<(), Ended> {
    prctl(PR_SET_NAME, c"catamaran-hold".as_ptr() as usize)
}

/// Prevents other processes from tracing this one or opening its files in /proc.
pub(crate) fn close_to_others() -> Result<(), Ended> {
    prctl(PR_SET_DUMPABLE, 0)
}

pub(crate) fn die_with_parent() -> Result<(), Ended> {
    prctl(PR_SET_PDEATHSIG, SIGKILL)
}

fn prctl(what: usize, value: usize) -> Result<(), Ended> {
    // SAFETY: the callers pass a number, or a static name that ends with a null byte.
    checked(unsafe { system(number::PRCTL, [what, value, 0, 0, 0]) }).map(drop)
}

/// Restricts the process to the calls that the filter allows, for good.
pub(crate) fn restrict(program: &[Instruction; LENGTH]) -> Result<(), Ended> {
    // `struct sock_fprog` of linux/filter.h.
    #[repr(C)]
    struct Program(u16, *const Instruction);
    let program = Program(LENGTH as u16, program.as_ptr());
    // SAFETY: the kernel reads `LENGTH` instructions, and changes none.
    let set = unsafe { system(number::SECCOMP, [SECCOMP_SET_MODE_FILTER, 0, (&raw const program) as usize, 0, 0]) };
    checked(set).map(drop)
}

pub(crate) fn write(descriptor: i32, bytes: &[u8]) -> Result<(), Ended> {
    // SAFETY: the call reads `bytes.len()` bytes.
    let written = unsafe { system(number::WRITE, [descriptor as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0]) };
    checked(written).map(drop)
}

/// Reads into `bytes`. Returns the number of bytes; 0 at the end.
pub(crate) fn read(descriptor: i32, bytes: &mut [u8]) -> Result<usize, Ended> {
    let (at, length) = (bytes.as_mut_ptr() as usize, bytes.len());
    // SAFETY: the call writes `length` bytes at most.
    checked(unsafe { system(number::READ, [descriptor as usize, at, length, 0, 0]) })
}

pub(crate) fn close(descriptor: i32) -> Result<(), Ended> {
    // SAFETY: the call takes a number; the holder closes each descriptor once.
    checked(unsafe { system(number::CLOSE, [descriptor as usize, 0, 0, 0, 0]) }).map(drop)
}

/// Opens a descriptor that becomes readable on SIGTERM and SIGINT.
pub(crate) fn signals() -> Result<i32, Ended> {
    let set = ENDS;
    // SAFETY: the call reads the set, whose size is given.
    let made = unsafe { system(number::SIGNALFD4, [usize::MAX, (&raw const set) as usize, SET, 0, 0]) };
    checked(made).map(|descriptor| descriptor as i32)
}

/// Waits for a message or a signal.
pub(crate) fn wait(control: i32, signals: i32) -> Result<Woken, Ended> {
    // `struct pollfd` of linux/poll.h.
    #[repr(C)]
    struct Watched(i32, i16, i16);
    loop {
        let mut both = [Watched(control, POLLIN, 0), Watched(signals, POLLIN, 0)];
        // SAFETY: the call reads and writes both structures; time and set of signals are null.
        let woken = unsafe { system(number::PPOLL, [(&raw mut both) as usize, both.len(), 0, 0, SET]) };
        if woken == EINTR {
            continue;
        }
        checked(woken)?;
        let [_, Watched(_, _, signalled)] = both;
        return Ok(if signalled == 0 { Woken::ByWord } else { Woken::BySignal });
    }
}

/// Waits for SIGTERM or SIGINT.
pub(crate) fn await_end() -> Result<(), Ended> {
    let set = ENDS;
    loop {
        // SAFETY: the call reads the set, whose size is given, and writes nothing.
        let ended = unsafe { system(number::RT_SIGTIMEDWAIT, [(&raw const set) as usize, 0, 0, SET, 0]) };
        // A tracer or a stop signal interrupted the call.
        if ended != EINTR {
            return checked(ended).map(drop);
        }
    }
}

pub(crate) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: the call takes a number. It does not return.
        unsafe { system(number::EXIT_GROUP, [code as usize, 0, 0, 0, 0]) };
    }
}
