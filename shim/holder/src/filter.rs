//! The filter of system calls. It allows the calls that the holder makes after installing it; any other call kills the holder.
//!
//! The filter is classic BPF, assembled at compile time (seccomp(2), "Filters").

use crate::number;

/// `struct sock_filter` of linux/filter.h.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

const ALLOWED: [u32; 8] = [
    number::READ,
    number::WRITE,
    number::CLOSE,
    number::PPOLL,
    number::SIGNALFD4,
    number::RT_SIGTIMEDWAIT,
    // The kernel makes this call itself when a stopped process continues.
    number::RESTART_SYSCALL,
    number::EXIT_GROUP,
];

// Instructions, by linux/bpf_common.h.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// The offset of the call's number in `struct seccomp_data`.
const NUMBER: u32 = 0;
/// The offset of the architecture in `struct seccomp_data`.
const ARCHITECTURE: u32 = 4;

/// AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64 of linux/audit.h.
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// SECCOMP_RET_KILL_PROCESS of linux/seccomp.h.
const KILL_PROCESS: u32 = 0x8000_0000;
/// SECCOMP_RET_ALLOW of linux/seccomp.h.
const ALLOW: u32 = 0x7fff_0000;

/// The number of instructions: two for the architecture, one to load the call's number, a comparison for each call, and two results.
pub(crate) const LENGTH: usize = 3 + ALLOWED.len() + 2;

/// The filter's program.
pub(crate) static PROGRAM: [Instruction; LENGTH] = program();

const fn program() -> [Instruction; LENGTH] {
    let mut all = [statement(RETURN, KILL_PROCESS); LENGTH];
    // The last instruction but one kills the process.
    let kill = (LENGTH - 2) as u8;
    all[0] = statement(LOAD, ARCHITECTURE);
    all[1] = Instruction { code: IF_EQUAL, jt: 0, jf: kill - 2, k: NATIVE };
    all[2] = statement(LOAD, NUMBER);
    let mut index = 0;
    while index < ALLOWED.len() {
        let at = 3 + index;
        // Jumps over the remaining comparisons and the instruction that kills.
        let allowed = (LENGTH - 1 - at - 1) as u8;
        all[at] = Instruction { code: IF_EQUAL, jt: allowed, jf: 0, k: ALLOWED[index] };
        index += 1;
    }
    all[LENGTH - 1] = statement(RETURN, ALLOW);
    all
}

const fn statement(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}
