//! Rules as classic BPF (seccomp(2), «Filters»): a search tree over the call's number, and at its leaves the conditions on
//! the arguments. The worker's own architecture is checked by the shim's own filter, which runs behind this one.
//!
//! Runs of numbers that get the same answer are one leaf: a profile with three hundred names is some eighty
//! instructions, and the kernel, which tries a filter for each number when it is installed, remembers what is allowed
//! whatever the arguments.

use catamaran_worker::job::Instruction;
use nix::libc;

// linux/bpf_common.h
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const IF_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in `struct seccomp_data`; a little-endian machine has an argument's lower half first.
const NUMBER: u32 = 0;
const ARGUMENTS: u32 = 16;
const HIGH: u32 = if cfg!(target_endian = "little") { 4 } else { 0 };
const LOW: u32 = 4 - HIGH;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Kill,
    Trap,
    Errno(u16),
    Trace(u16),
    Log,
    Allow,
}

impl Verdict {
    /// 0 is the strictest: the kernel's own order.
    pub(super) fn rank(self) -> u8 {
        match self {
            Verdict::Kill => 0,
            Verdict::Trap => 1,
            Verdict::Errno(_) => 2,
            Verdict::Trace(_) => 3,
            Verdict::Log => 4,
            Verdict::Allow => 5,
        }
    }

    fn value(self) -> u32 {
        match self {
            Verdict::Kill => libc::SECCOMP_RET_KILL_PROCESS,
            Verdict::Trap => libc::SECCOMP_RET_TRAP,
            Verdict::Errno(number) => libc::SECCOMP_RET_ERRNO | u32::from(number),
            Verdict::Trace(message) => libc::SECCOMP_RET_TRACE | u32::from(message),
            Verdict::Log => libc::SECCOMP_RET_LOG,
            Verdict::Allow => libc::SECCOMP_RET_ALLOW,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    AtLeast,
    Greater,
    /// The argument's bits of this mask are the value.
    Masked(u64),
}

/// A comparison of one argument, all 64 bits of it, without a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: usize,
    pub(super) operator: Operator,
    pub(super) value: u64,
}

/// A verdict for the calls that meet every condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) verdict: Verdict,
}

/// The program for `calls`, the rules of each call by its number; the first rule that matches decides, else `default`.
pub(super) fn assemble(calls: &[Vec<Rule>], default: Verdict) -> Vec<Instruction> {
    let mut leaves: Vec<(u32, Vec<Instruction>)> = Vec::new();
    for (number, rules) in calls.iter().enumerate() {
        let code = leaf(rules, default);
        if leaves.last().is_none_or(|(_, last)| *last != code) {
            leaves.push((number as u32, code));
        }
    }
    leaves.push((calls.len() as u32, leaf(&[], default)));
    let mut program = vec![statement(LOAD, NUMBER)];
    program.extend(search(&leaves));
    program
}

/// The leaf whose first number is the last that is not above the call's.
fn search(leaves: &[(u32, Vec<Instruction>)]) -> Vec<Instruction> {
    let (left, right) = match leaves {
        [] => return Vec::new(),
        [(_, code)] => return code.clone(),
        several => several.split_at(several.len() / 2),
    };
    let pivot = right.first().map_or(0, |(first, _)| *first);
    let (left, right) = (search(left), search(right));
    let mut code = match u8::try_from(left.len()) {
        Ok(near) => vec![branch(IF_AT_LEAST, pivot, near, 0)],
        // Too far for a conditional jump.
        Err(_) => vec![branch(IF_AT_LEAST, pivot, 0, 1), statement(JUMP, left.len() as u32)],
    };
    code.extend(left);
    code.extend(right);
    code
}

fn leaf(rules: &[Rule], default: Verdict) -> Vec<Instruction> {
    let mut code = Vec::new();
    for rule in rules {
        code.extend(tested(rule));
        if rule.conditions.is_empty() {
            return code;
        }
    }
    code.push(statement(RETURN, default.value()));
    code
}

/// The rule's conditions, its verdict where they hold, and otherwise whatever follows.
fn tested(rule: &Rule) -> Vec<Instruction> {
    // From behind: each condition knows how far it is to the rule's end.
    let mut code = vec![statement(RETURN, rule.verdict.value())];
    for condition in rule.conditions.iter().rev() {
        let mut whole = condition_code(condition, code.len() as u8);
        whole.extend(code);
        code = whole;
    }
    code
}

/// Falls through where the condition holds, and skips `rest` instructions behind it where not.
fn condition_code(condition: &Condition, rest: u8) -> Vec<Instruction> {
    let at = ARGUMENTS + 8 * condition.argument as u32;
    let (high, low) = ((condition.value >> 32) as u32, condition.value as u32);
    let (load_high, load_low) = (statement(LOAD, at + HIGH), statement(LOAD, at + LOW));
    // A jump of 0 goes on, one over what is left of the condition meets it, one over `rest` besides misses the rule.
    match condition.operator {
        Operator::Equal => {
            vec![load_high, branch(IF_EQUAL, high, 0, rest + 2), load_low, branch(IF_EQUAL, low, 0, rest)]
        }
        Operator::NotEqual => vec![load_high, branch(IF_EQUAL, high, 0, 2), load_low, branch(IF_EQUAL, low, rest, 0)],
        Operator::Masked(mask) => vec![
            load_high,
            statement(AND, (mask >> 32) as u32),
            branch(IF_EQUAL, high, 0, rest + 3),
            load_low,
            statement(AND, mask as u32),
            branch(IF_EQUAL, low, 0, rest),
        ],
        Operator::Greater => ordered(load_high, high, load_low, branch(IF_GREATER, low, 0, rest), rest),
        Operator::AtLeast => ordered(load_high, high, load_low, branch(IF_AT_LEAST, low, 0, rest), rest),
        Operator::Less => unordered(load_high, high, load_low, branch(IF_AT_LEAST, low, rest, 0), rest),
        Operator::AtMost => unordered(load_high, high, load_low, branch(IF_GREATER, low, rest, 0), rest),
    }
}

/// Above or equal: a greater upper half decides for, a smaller one against.
fn ordered(load_high: Instruction, high: u32, load_low: Instruction, last: Instruction, rest: u8) -> Vec<Instruction> {
    vec![load_high, branch(IF_GREATER, high, 3, 0), branch(IF_EQUAL, high, 0, rest + 2), load_low, last]
}

/// Below or equal: a greater upper half decides against, a smaller one for.
fn unordered(
    load_high: Instruction,
    high: u32,
    load_low: Instruction,
    last: Instruction,
    rest: u8,
) -> Vec<Instruction> {
    vec![load_high, branch(IF_GREATER, high, rest + 3, 0), branch(IF_EQUAL, high, 0, 2), load_low, last]
}

fn statement(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Runs a program as the kernel does, for the instructions that are made here.
    pub(in crate::seccomp) fn run(program: &[Instruction], number: u32, arguments: [u64; 6]) -> u32 {
        let mut at = 0;
        let mut accumulator = 0;
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let mut jump = |taken: bool| at += usize::from(if taken { jt } else { jf });
            match code {
                LOAD if k == NUMBER => accumulator = number,
                LOAD => {
                    let offset = k - ARGUMENTS;
                    let argument = arguments[offset as usize / 8];
                    accumulator = if offset % 8 == HIGH { (argument >> 32) as u32 } else { argument as u32 };
                }
                AND => accumulator &= k,
                JUMP => at += k as usize,
                IF_EQUAL => jump(accumulator == k),
                IF_GREATER => jump(accumulator > k),
                IF_AT_LEAST => jump(accumulator >= k),
                RETURN => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn every_comparison_of_64_bits() {
        let values = [0, 1, 7, u64::from(u32::MAX), 1 << 32, (1 << 32) + 7, (7 << 32) + 1, u64::MAX - 1, u64::MAX];
        type Holds = fn(u64, u64) -> bool;
        let operators: [(Operator, Holds); 7] = [
            (Operator::Equal, |a, b| a == b),
            (Operator::NotEqual, |a, b| a != b),
            (Operator::Less, |a, b| a < b),
            (Operator::AtMost, |a, b| a <= b),
            (Operator::AtLeast, |a, b| a >= b),
            (Operator::Greater, |a, b| a > b),
            (Operator::Masked(0xff_0000_00ff), |a, b| a & 0xff_0000_00ff == b),
        ];
        for (operator, holds) in operators {
            for value in values {
                for argument in values {
                    // A second condition behind it: the jump over it is tried too.
                    for second in [0, 1] {
                        let conditions = vec![
                            Condition { argument: 2, operator, value },
                            Condition { argument: 5, operator: Operator::Equal, value: 1 },
                        ];
                        let rules = [Rule { conditions, verdict: Verdict::Allow }];
                        let program = assemble(&[rules.to_vec()], Verdict::Kill);
                        let answer = run(&program, 0, [0, 0, argument, 0, 0, second]);
                        let expected =
                            if holds(argument, value) && second == 1 { Verdict::Allow } else { Verdict::Kill };
                        assert_eq!(answer, expected.value(), "{argument:#x} {operator:?} {value:#x}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_large_tree_finds_every_number() {
        // Conditions on every call, so that no two leaves are one and the jumps grow long.
        let calls: Vec<Vec<Rule>> = (0..300)
            .map(|n| {
                let condition = Condition { argument: 0, operator: Operator::Equal, value: n };
                vec![Rule { conditions: vec![condition], verdict: Verdict::Errno(n as u16) }]
            })
            .collect();
        let program = assemble(&calls, Verdict::Allow);
        for n in 0..300 {
            assert_eq!(run(&program, n, [u64::from(n), 0, 0, 0, 0, 0]), Verdict::Errno(n as u16).value());
            assert_eq!(run(&program, n, [u64::from(n) + 1, 0, 0, 0, 0, 0]), Verdict::Allow.value());
        }
        assert_eq!(run(&program, 300, [0; 6]), Verdict::Allow.value());
        assert_eq!(run(&program, u32::MAX, [0; 6]), Verdict::Allow.value());
    }

    #[test]
    fn runs_of_equal_answers_are_one_leaf() {
        let allowed = vec![Rule { conditions: Vec::new(), verdict: Verdict::Allow }];
        let program = assemble(&vec![allowed; 400], Verdict::Errno(1));
        assert_eq!(program.len(), 4);
    }
}
