//! The calls to try on a profile: around every number and every value that it names.

use serde_json::Value;

use crate::bpf::Call;
use crate::profile::number;

/// AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64, AUDIT_ARCH_I386 of linux/audit.h, and none.
pub(crate) const ARCHITECTURES: [u32; 4] = [0xc000_003e, 0xc000_00b7, 0x4000_0003, 0];
/// The architecture of this machine.
pub(crate) const NATIVE: u32 = if cfg!(target_arch = "x86_64") { ARCHITECTURES[0] } else { ARCHITECTURES[1] };

/// The limits of tried names in one entry, and of tried calls for one profile.
const MOST_NAMES: usize = 16;
const MOST: usize = 4000;

/// Calls of this machine's architecture.
pub(crate) fn around(profile: &Value) -> Vec<Call> {
    let call = |number, arguments| Call { arch: NATIVE, number, arguments };
    let mut calls: Vec<_> = [0, 1, 499, 1 << 30, u32::MAX].map(|number| call(number, [0; 6])).into();
    for entry in profile["syscalls"].as_array().into_iter().flatten() {
        let conditions: Vec<_> = entry["args"].as_array().into_iter().flatten().filter_map(Condition::new).collect();
        let mut met = [0; 6];
        conditions.iter().for_each(|condition| met[condition.index] = condition.met);
        let names = entry["names"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for number in names.filter_map(number).take(MOST_NAMES) {
            for number in [number.saturating_sub(1), number, number + 1] {
                calls.extend([met, [0; 6], [u64::MAX; 6]].map(|arguments| call(number, arguments)));
            }
            for condition in &conditions {
                calls.extend(condition.near().map(|value| {
                    let mut arguments = met;
                    arguments[condition.index] = value;
                    call(number, arguments)
                }));
            }
        }
    }
    calls.truncate(MOST);
    calls
}

struct Condition {
    /// 0 to 5.
    index: usize,
    value: u64,
    /// An argument for which the condition holds, if there is one.
    met: u64,
}

impl Condition {
    fn new(condition: &Value) -> Option<Self> {
        let index = usize::try_from(condition["index"].as_u64()?).ok().filter(|index| *index < 6)?;
        let (value, two) = (condition["value"].as_u64()?, condition["valueTwo"].as_u64().unwrap_or(0));
        let met = match condition["op"].as_str()? {
            "SCMP_CMP_NE" | "SCMP_CMP_GT" => value.wrapping_add(1),
            "SCMP_CMP_LT" => value.wrapping_sub(1),
            "SCMP_CMP_MASKED_EQ" => value & two,
            _ => value,
        };
        Some(Self { index, value, met })
    }

    /// Arguments on both sides of each of its borders: one more and one less, each bit, each half.
    fn near(&self) -> impl Iterator<Item = u64> {
        let Self { value, met, .. } = *self;
        let beside = [value, value.wrapping_sub(1), value.wrapping_add(1), !value, 0, u64::MAX];
        let halves = [value.rotate_left(32), value << 32, value >> 32, value & 0xffff_ffff];
        beside.into_iter().chain(halves).chain((0..64).map(move |bit| met ^ (1 << bit)))
    }
}
