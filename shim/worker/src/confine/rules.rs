//! The rules that the lists of allowed system calls are made of.

use nix::libc;

use crate::filter::{Calls, Condition, Operator, Rule, Verdict};

/// Lets a call pass whose arguments meet all of `conditions`.
pub(super) fn allow(calls: &mut Calls, number: i64, conditions: &[Condition]) {
    calls.add(number as usize, &[Rule { conditions: conditions.to_vec(), verdict: Verdict::Allow }]);
}

/// The bits `mask` of an argument equal `value`.
pub(super) fn is(argument: usize, mask: u64, value: u64) -> Condition {
    Condition { argument, operator: Operator::Masked(mask), value }
}

/// The argument equals `value`. It is an `int` to the kernel, which reads only its lower half.
pub(super) fn int(argument: usize, value: libc::c_int) -> Condition {
    is(argument, u64::from(u32::MAX), u64::from(value as u32))
}

/// The bits of an `int` besides `flags` equal `value`.
pub(super) fn of_int(argument: usize, flags: libc::c_int, value: libc::c_int) -> Condition {
    is(argument, u64::from(!flags as u32), value as u64)
}

/// The argument equals `value` in all of its 64 bits.
pub(super) fn equals(argument: usize, value: u64) -> Condition {
    Condition { argument, operator: Operator::Equal, value }
}
