//! Assembles rules about system calls into classic BPF (seccomp(2), «Filters»): a search tree over the call's number, and at its
//! leaves the conditions on the arguments. It makes the worker's own filter and the spec's profile.
//!
//! Runs of numbers with the same answer are one leaf. The kernel runs a filter once for each number when the filter is installed
//! (and remembers the calls that are allowed whatever their arguments), so that a chain of comparisons costs a start more than
//! all of the other confinement.

use nix::libc;

use crate::job::Instruction;

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
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
const HIGH: u32 = if cfg!(target_endian = "little") { 4 } else { 0 };
const LOW: u32 = 4 - HIGH;

/// linux/audit.h: AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64.
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// The longest program that the kernel takes, `BPF_MAXINSNS`.
pub const MOST_INSTRUCTIONS: usize = 4096;

/// The fate of a call (seccomp(2), «Return values»).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The whole process ends with SIGSYS.
    Kill,
    /// SIGSYS, which can be handled.
    Trap,
    /// Fails with this error number.
    Errno(u16),
    /// Told to a tracer with this message; ENOSYS if there is no tracer.
    Trace(u16),
    /// Allowed, and logged.
    Log,
    /// Allowed.
    Allow,
}

impl Verdict {
    /// Returns its rank in the kernel's own order; 0 is the strictest.
    pub fn rank(self) -> u8 {
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

/// How an argument is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "they say it themselves")]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    AtLeast,
    Greater,
    /// The argument's bits under this mask equal the value.
    Masked(u64),
}

/// An unsigned comparison of all 64 bits of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// 0 to 5.
    pub argument: usize,
    /// How it is compared.
    pub operator: Operator,
    /// The value that it is compared with.
    pub value: u64,
}

/// A verdict for the calls that meet every condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Empty: the rule holds for every such call.
    pub conditions: Vec<Condition>,
    /// The verdict on such a call.
    pub verdict: Verdict,
}

/// The rules of each call, by its number; the first that matches decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls(Vec<Vec<Rule>>);

impl Calls {
    /// Adds rules for a call, behind those that the call has.
    pub fn add(&mut self, number: usize, rules: &[Rule]) {
        if self.0.len() <= number {
            self.0.resize(number + 1, Vec::new());
        }
        self.0[number].extend_from_slice(rules);
    }

    /// Has the strictest rule of each call decide; equals keep their order.
    pub fn strictest_first(&mut self) {
        for rules in &mut self.0 {
            rules.sort_by_key(|rule| rule.verdict.rank());
        }
    }
}

/// Returns the program that answers by these rules, and `default` if none matches. It does not check the architecture.
pub fn assemble(calls: &Calls, default: Verdict) -> Vec<Instruction> {
    let mut leaves: Vec<(u32, Vec<Instruction>)> = Vec::new();
    for (number, rules) in calls.0.iter().enumerate() {
        let code = leaf(rules, default);
        if leaves.last().is_none_or(|(_, last)| *last != code) {
            leaves.push((number as u32, code));
        }
    }
    leaves.push((calls.0.len() as u32, leaf(&[], default)));
    let mut program = vec![statement(LOAD, NUMBER)];
    program.extend(search(&leaves));
    program
}

/// Returns the code that finds a call's leaf: the last whose first number is not above the call's.
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

/// Returns the rule's conditions and its verdict. A call that does not meet the conditions goes on behind the rule.
fn tested(rule: &Rule) -> Vec<Instruction> {
    // Backwards, because each condition's jumps need the distance to the rule's end.
    let mut code = vec![statement(RETURN, rule.verdict.value())];
    for condition in rule.conditions.iter().rev() {
        let mut whole = condition_code(condition, code.len() as u8);
        whole.extend(code);
        code = whole;
    }
    code
}

/// Returns code that falls through if the condition holds, and otherwise skips the `rest` instructions behind it.
fn condition_code(condition: &Condition, rest: u8) -> Vec<Instruction> {
    let at = ARGUMENTS + 8 * condition.argument as u32;
    let (high, low) = ((condition.value >> 32) as u32, condition.value as u32);
    let (load_high, load_low) = (statement(LOAD, at + HIGH), statement(LOAD, at + LOW));
    // A jump by 0 goes on, one to the condition's end means that the condition holds, one beyond `rest` leaves the rule.
    match condition.operator {
        Operator::Equal => {
            vec![load_high, branch(IF_EQUAL, high, 0, rest + 2), load_low, branch(IF_EQUAL, low, 0, rest)]
        }
        Operator::NotEqual => vec![load_high, branch(IF_EQUAL, high, 0, 2), load_low, branch(IF_EQUAL, low, rest, 0)],
        // The kernel reads only the lower half of an `int`.
        Operator::Masked(0xffff_ffff) if high == 0 => vec![load_low, branch(IF_EQUAL, low, 0, rest)],
        Operator::Masked(mask) if mask >> 32 == 0 && high == 0 => {
            vec![load_low, statement(AND, mask as u32), branch(IF_EQUAL, low, 0, rest)]
        }
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

/// Greater, or at least: a greater upper half meets the condition, a smaller one does not.
fn ordered(load_high: Instruction, high: u32, load_low: Instruction, last: Instruction, rest: u8) -> Vec<Instruction> {
    vec![load_high, branch(IF_GREATER, high, 3, 0), branch(IF_EQUAL, high, 0, rest + 2), load_low, last]
}

/// Less, or at most: a smaller upper half meets the condition, a greater one does not.
fn unordered(
    load_high: Instruction,
    high: u32,
    load_low: Instruction,
    last: Instruction,
    rest: u8,
) -> Vec<Instruction> {
    vec![load_high, branch(IF_GREATER, high, rest + 3, 0), branch(IF_EQUAL, high, 0, 2), load_low, last]
}

/// Runs a program of this module on a call as the kernel would, for tests of rules. Returns None at an instruction that this
/// module does not make.
pub fn answer(program: &[Instruction], number: u32, arguments: [u64; 6]) -> Option<u32> {
    let mut at = 0;
    let mut accumulator = 0;
    loop {
        let Instruction { code, jt, jf, k } = *program.get(at)?;
        at += 1;
        let taken = match code {
            LOAD if k == NUMBER => {
                accumulator = number;
                continue;
            }
            LOAD => {
                let offset = k.checked_sub(ARGUMENTS)?;
                let argument = *arguments.get(offset as usize / 8)?;
                accumulator = if offset % 8 == HIGH { (argument >> 32) as u32 } else { argument as u32 };
                continue;
            }
            AND => {
                accumulator &= k;
                continue;
            }
            JUMP => {
                at += k as usize;
                continue;
            }
            IF_EQUAL => accumulator == k,
            IF_GREATER => accumulator > k,
            IF_AT_LEAST => accumulator >= k,
            RETURN => return Some(k),
            _ => return None,
        };
        at += usize::from(if taken { jt } else { jf });
    }
}

/// Returns the instructions that go before a program: a call of another architecture than this build's ends the process.
pub fn of_this_architecture() -> [Instruction; 3] {
    [statement(LOAD, ARCHITECTURE), branch(IF_EQUAL, NATIVE, 1, 0), statement(RETURN, Verdict::Kill.value())]
}

/// Joins two programs into one: `second` decides on a call that `first` lets pass. Two filters, one after the other, would need
/// a first one that allows seccomp(2) itself, and the kernel would run both for every call.
pub fn joined(first: &[Instruction], second: &[Instruction]) -> Vec<Instruction> {
    let mut whole = first.to_vec();
    for passed in [libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_LOG] {
        let behind = whole.len();
        let passes = |i: &Instruction| i.code == RETURN && i.k == passed;
        if !first.iter().any(passes) {
            continue;
        }
        for (at, instruction) in whole[..first.len()].iter_mut().enumerate() {
            if passes(instruction) {
                *instruction = statement(JUMP, (behind - at - 1) as u32);
            }
        }
        // A call that both let pass gets the first one's answer: allowed, or allowed and logged.
        let allowed = |i: &Instruction| i.code == RETURN && i.k == libc::SECCOMP_RET_ALLOW;
        whole.extend(second.iter().map(|i| if allowed(i) { Instruction { k: passed, ..*i } } else { *i }));
    }
    whole
}

fn statement(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &[Instruction], number: u32, arguments: [u64; 6]) -> u32 {
        answer(program, number, arguments).unwrap()
    }

    fn calls(all: impl IntoIterator<Item = Vec<Rule>>) -> Calls {
        let mut calls = Calls::default();
        all.into_iter().enumerate().for_each(|(number, rules)| calls.add(number, &rules));
        calls
    }

    #[test]
    fn every_comparison_of_64_bit_arguments_is_exact() {
        let values = [0, 1, 7, u64::from(u32::MAX), 1 << 32, (1 << 32) + 7, (7 << 32) + 1, u64::MAX - 1, u64::MAX];
        type Holds = fn(u64, u64) -> bool;
        let operators: [(Operator, Holds); 9] = [
            (Operator::Equal, |a, b| a == b),
            (Operator::NotEqual, |a, b| a != b),
            (Operator::Less, |a, b| a < b),
            (Operator::AtMost, |a, b| a <= b),
            (Operator::AtLeast, |a, b| a >= b),
            (Operator::Greater, |a, b| a > b),
            (Operator::Masked(0xff_0000_00ff), |a, b| a & 0xff_0000_00ff == b),
            (Operator::Masked(0xffff_ffff), |a, b| a & 0xffff_ffff == b),
            (Operator::Masked(7), |a, b| a & 7 == b),
        ];
        for (operator, holds) in operators {
            for value in values {
                for argument in values {
                    // A second condition behind it, so that the jump over a condition is tested too.
                    for second in [0, 1] {
                        let conditions = vec![
                            Condition { argument: 2, operator, value },
                            Condition { argument: 5, operator: Operator::Equal, value: 1 },
                        ];
                        let rules = [Rule { conditions, verdict: Verdict::Allow }];
                        let program = assemble(&calls([rules.to_vec()]), Verdict::Kill);
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
    fn a_large_filter_finds_every_call() {
        // Conditions on every call, so that no two leaves are the same and the jumps grow long.
        let all = calls((0..300).map(|n| {
            let condition = Condition { argument: 0, operator: Operator::Equal, value: n };
            vec![Rule { conditions: vec![condition], verdict: Verdict::Errno(n as u16) }]
        }));
        let program = assemble(&all, Verdict::Allow);
        for n in 0..300 {
            assert_eq!(run(&program, n, [u64::from(n), 0, 0, 0, 0, 0]), Verdict::Errno(n as u16).value());
            assert_eq!(run(&program, n, [u64::from(n) + 1, 0, 0, 0, 0, 0]), Verdict::Allow.value());
        }
        assert_eq!(run(&program, 300, [0; 6]), Verdict::Allow.value());
        assert_eq!(run(&program, u32::MAX, [0; 6]), Verdict::Allow.value());
    }

    #[test]
    fn calls_with_equal_verdicts_share_a_leaf() {
        let allowed = vec![Rule { conditions: Vec::new(), verdict: Verdict::Allow }];
        let program = assemble(&calls(vec![allowed; 400]), Verdict::Errno(1));
        assert_eq!(program.len(), 4);
    }
}
