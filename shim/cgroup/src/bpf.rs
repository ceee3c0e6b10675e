//! Assembles the one BPF program of this shim: which devices a cgroup's processes may open (bpf(2),
//! BPF_PROG_TYPE_CGROUP_DEVICE). Once attached, it stays for as long as the cgroup does.
#![allow(unsafe_code, reason = "bpf(2) has no safe form; the SAFETY comment at the call says why it is sound here")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::libc;

// linux/bpf.h and linux/bpf_common.h.
const BPF_PROG_LOAD: i64 = 5;
const BPF_PROG_ATTACH: i64 = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Allows others to attach programs here and above too: all of them must agree to let a device be opened.
const BPF_F_ALLOW_MULTI: u32 = 2;
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;
/// `access_type` of `struct bpf_cgroup_dev_ctx`: the device's type below, the access above.
const DEVICE_TYPE: i32 = 0xffff;
const CHARACTER_DEVICE: i32 = 2;
const ACCESS_SHIFT: i32 = 16;
const MKNOD: i32 = 1;
/// The licence decides which functions a program may call; this program calls none.
const LICENSE: &std::ffi::CStr = c"Apache-2.0";
/// The most tries, because the verifier gives up when a signal comes.
const MOST_TRIES: u32 = 5;

/// `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u8,
    /// The destination in the lower half, the source in the upper one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: source << 4 | destination, offset, immediate }
}

/// Makes a program that lets character devices of one major number be opened, and no device be made.
pub(crate) fn device_program(major: u32, minors: &[u32]) -> Vec<Instruction> {
    // «no» comes after the ten instructions below and one for each minor number, «yes» two further on. Jumps count from the next
    // instruction.
    let no = 10 + minors.len() as i16;
    let to_no = |at: i16| no - at - 1;
    let to_yes = |at: i16| no + 2 - at - 1;
    // r1 is the context, r2 the access and the type, r3 the major number, r4 the minor one.
    let mut program = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(LOAD_WORD, 3, 1, 4, 0),
        instruction(LOAD_WORD, 4, 1, 8, 0),
        instruction(MOVE_REGISTER, 5, 2, 0, 0),
        instruction(AND, 5, 0, 0, DEVICE_TYPE),
        instruction(JUMP_IF_NOT_EQUAL, 5, 0, to_no(5), CHARACTER_DEVICE),
        instruction(SHIFT_RIGHT, 2, 0, 0, ACCESS_SHIFT),
        instruction(AND, 2, 0, 0, MKNOD),
        instruction(JUMP_IF_NOT_EQUAL, 2, 0, to_no(8), 0),
        instruction(JUMP_IF_NOT_EQUAL, 3, 0, to_no(9), major.cast_signed()),
    ];
    for minor in minors {
        let at = program.len() as i16;
        program.push(instruction(JUMP_IF_EQUAL, 4, 0, to_yes(at), minor.cast_signed()));
    }
    program.extend([
        instruction(MOVE, 0, 0, 0, 0),
        instruction(EXIT, 0, 0, 0, 0),
        instruction(MOVE, 0, 0, 0, 1),
        instruction(EXIT, 0, 0, 0, 0),
    ]);
    program
}

/// The structure that bpf(2) reads for BPF_PROG_LOAD, up to the last field that is needed.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
}

/// The structure that bpf(2) reads for BPF_PROG_ATTACH.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads a program and attaches it to the cgroup `folder`, of v2.
pub(crate) fn attach(folder: &Path, program: &[Instruction]) -> io::Result<()> {
    let folder = File::open(folder)?;
    let program = load(program)?;
    let request = Attach {
        target: folder.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: `request` is what this command reads, outlives the call, and holds two descriptors that are open during it
    // and no pointer.
    let done = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const request, size_of::<Attach>()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let request = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
    };
    let mut tries = 0;
    loop {
        // SAFETY: `request` is what this command reads and outlives the call; its pointers are to `count` instructions in
        // the kernel's own layout (repr(C), eight bytes each) and to a string that ends in NUL, which outlive it too.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const request, size_of::<Load>()) };
        if fd >= 0 {
            // SAFETY: the kernel has just made this descriptor, which nothing else owns (it is close-on-exec).
            return Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) });
        }
        let e = io::Error::last_os_error();
        tries += 1;
        if e.raw_os_error() != Some(libc::EAGAIN) || tries == MOST_TRIES {
            return Err(e);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would, as far as this program's instructions go.
    fn verdict(program: &[Instruction], access: u32, kind: u32, major: u32, minor: u32) -> u32 {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0u32; 11];
        let mut at = 0usize;
        loop {
            let Instruction { code, registers: pair, offset, immediate } = program[at];
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            let value = immediate as u32;
            at += 1;
            let mut jump = |taken: bool| at = if taken { at.strict_add_signed(offset.into()) } else { at };
            match code {
                LOAD_WORD => registers[to] = context[offset as usize / 4],
                MOVE_REGISTER => registers[to] = registers[from],
                AND => registers[to] &= value,
                SHIFT_RIGHT => registers[to] >>= value,
                MOVE => registers[to] = value,
                JUMP_IF_EQUAL => jump(registers[to] == value),
                JUMP_IF_NOT_EQUAL => jump(registers[to] != value),
                EXIT => return registers[0],
                other => panic!("instruction {other:x}"),
            }
        }
    }

    #[test]
    fn the_bpf_program_allows_what_is_listed() {
        const READ: u32 = 2;
        const WRITE: u32 = 4;
        let program = device_program(1, &[3, 5, 7, 8, 9]);
        assert_eq!(program.len(), 19);
        for minor in 0..=300 {
            let listed = [3, 5, 7, 8, 9].contains(&minor);
            for access in [0, READ, WRITE, READ | WRITE] {
                assert_eq!(verdict(&program, access, 2, 1, minor) == 1, listed, "1:{minor} {access}");
                assert_eq!(verdict(&program, access, 1, 1, minor), 0, "a block device");
                assert_eq!(verdict(&program, access, 2, 5, minor), 0, "another driver's");
                assert_eq!(verdict(&program, access | 1, 2, 1, minor), 0, "made");
            }
        }
    }
}
