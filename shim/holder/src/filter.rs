//! The filter of system calls, which allows those that the holder makes once it is installed. Any other call ends the holder.
//!
//! It is classic BPF, assembled at compile time (seccomp(2), «Filters»).

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
    // The kernel makes this call itself when a stopped process goes on.
    number::RESTART_SYSCALL,
    number::EXIT_GROUP,
];

// linux/bpf_common.h
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// linux/audit.h: AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64.
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// linux/seccomp.h
const KILL_PROCESS: u32 = 0x8000_0000;
const ALLOW: u32 = 0x7fff_0000;

/// Two for the architecture, one to load the number, one comparison a call, and the two ends.
pub(crate) const LENGTH: usize = 3 + ALLOWED.len() + 2;

/// The program.
pub(crate) static PROGRAM: [Instruction; LENGTH] = program();

const fn program() -> [Instruction; LENGTH] {
    let mut all = [statement(RETURN, KILL_PROCESS); LENGTH];
    // The last instruction but one ends the process.
    let kill = (LENGTH - 2) as u8;
    all[0] = statement(LOAD, ARCHITECTURE);
    all[1] = Instruction { code: IF_EQUAL, jt: 0, jf: kill - 2, k: NATIVE };
    all[2] = statement(LOAD, NUMBER);
    let mut index = 0;
    while index < ALLOWED.len() {
        let at = 3 + index;
        // Jumps over the other comparisons and the end that kills.
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
