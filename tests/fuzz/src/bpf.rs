//! Classic BPF in seccomp's form (bpf_check_classic and seccomp_check_filter of the kernel, and filter.rst for each instruction): the check
//! that a program must pass, and its answer to a call.

use catamaran_worker::job::Instruction;

/// `struct seccomp_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// An `AUDIT_ARCH_*`.
    pub arch: u32,
    /// The system call.
    pub number: u32,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// The limit of instructions, `BPF_MAXINSNS`.
const MOST: usize = 4096;
/// `sizeof(struct seccomp_data)`.
const DATA: usize = 64;

/// The fields of an opcode that are used here: load a word, `and`, jump, compare, return.
const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const ALWAYS: u16 = 0x05;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

impl Call {
    /// A word of the structure, as the kernel lays it out.
    fn word(&self, offset: usize) -> Option<u32> {
        let mut data = [0; DATA];
        let (number, rest) = data.split_first_chunk_mut::<4>()?;
        let (arch, rest) = rest.split_first_chunk_mut::<4>()?;
        // The instruction pointer, which no program here reads, and the arguments after it.
        let arguments = rest.get_mut(8..)?;
        *number = self.number.to_ne_bytes();
        *arch = self.arch.to_ne_bytes();
        for (place, argument) in arguments.chunks_exact_mut(8).zip(self.arguments) {
            place.copy_from_slice(&argument.to_ne_bytes());
        }
        let word = data.get(offset..offset + 4)?;
        Some(u32::from_ne_bytes(word.try_into().ok()?))
    }
}

/// Returns the reason for which the kernel would refuse the program.
///
/// # Errors
/// The first reason.
pub fn check(program: &[Instruction]) -> Result<(), String> {
    if program.is_empty() || program.len() > MOST {
        return Err(format!("{} instructions", program.len()));
    }
    for (at, i) in program.iter().enumerate() {
        let lands = |by: u32| (by as usize) < program.len() - at - 1;
        let right = match i.code {
            LOAD_WORD => (i.k as usize) < DATA && i.k % 4 == 0,
            AND => true,
            ALWAYS => lands(i.k),
            EQUAL | GREATER | AT_LEAST | ANY_BIT => lands(i.jt.into()) && lands(i.jf.into()),
            RETURN => true,
            _ => false,
        };
        if !right {
            return Err(format!("instruction {at} of {}: {i:?}", program.len()));
        }
    }
    match program.last() {
        Some(last) if last.code == RETURN => Ok(()),
        _ => Err("the last instruction is no return".to_owned()),
    }
}

/// Returns the answer of a checked program.
///
/// # Errors
/// When it jumps out of itself, which no checked program does.
pub fn answer(program: &[Instruction], call: &Call) -> Result<u32, String> {
    let (mut accumulator, mut at) = (0_u32, 0_usize);
    loop {
        let i = program.get(at).ok_or_else(|| format!("it goes on at {at}, of {}", program.len()))?;
        at += 1;
        let branch = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
        match i.code {
            LOAD_WORD => accumulator = call.word(i.k as usize).ok_or_else(|| format!("it loads {}", i.k))?,
            AND => accumulator &= i.k,
            ALWAYS => at += i.k as usize,
            EQUAL => at += branch(accumulator == i.k),
            GREATER => at += branch(accumulator > i.k),
            AT_LEAST => at += branch(accumulator >= i.k),
            ANY_BIT => at += branch(accumulator & i.k != 0),
            RETURN => return Ok(i.k),
            code => return Err(format!("the opcode {code:#x}")),
        }
    }
}
