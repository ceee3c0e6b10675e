//! A seccomp profile's answer to a call, read off its JSON rule by rule (OCI runtime spec, "Seccomp"; seccomp(2), "Return values"): no
//! tree, no order of numbers, no halves of arguments.

use std::str::FromStr;

use serde_json::Value;
use syscalls::Sysno;

use crate::bpf::Call;

/// EPERM, if a profile names no error number.
const DEFAULT_ERRNO: u64 = 1;

/// The kernel's order: the first of several answers counts. The numbers are linux/seccomp.h's.
const STRICTEST_FIRST: [u32; 6] = [0x8000_0000, 0x0003_0000, 0x0005_0000, 0x7ff0_0000, LOG, ALLOW];
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;
/// The bits of an answer without its data.
const ACTION: u32 = 0xffff_0000;

/// A profile.
#[derive(Debug)]
pub struct Profile {
    default: u32,
    entries: Vec<Entry>,
}

/// One entry of `syscalls`.
#[derive(Debug)]
struct Entry {
    numbers: Vec<u32>,
    conditions: Vec<Condition>,
    /// Whether one condition that holds is enough: so if two are about one argument (runc's reading).
    any: bool,
    answer: u32,
}

#[derive(Debug)]
struct Condition {
    index: usize,
    holds: fn(u64, u64, u64) -> bool,
    value: u64,
    value_two: u64,
}

impl Profile {
    /// Reads an accepted profile; returns None if it is none.
    pub fn new(profile: &Value) -> Option<Self> {
        let entries = array(&profile["syscalls"]).iter().map(Entry::new).collect::<Option<_>>()?;
        Some(Self { default: value(&profile["defaultAction"], &profile["defaultErrnoRet"])?, entries })
    }

    /// The answer that the kernel must give to a call.
    pub fn answer(&self, call: &Call) -> u32 {
        let found = self.entries.iter().filter(|entry| entry.numbers.contains(&call.number) && entry.holds(call));
        let rank = |answer: &u32| STRICTEST_FIRST.iter().position(|action| *answer & ACTION == *action);
        // Of equally strict answers the first.
        found.map(|entry| entry.answer).min_by_key(rank).unwrap_or(self.default)
    }
}

impl Entry {
    fn new(entry: &Value) -> Option<Self> {
        let names = array(&entry["names"]).iter().filter_map(Value::as_str);
        let conditions = array(&entry["args"]).iter().map(Condition::new).collect::<Option<Vec<_>>>()?;
        let shared = |one: &Condition| conditions.iter().filter(|other| other.index == one.index).count() > 1;
        let any = conditions.iter().any(shared);
        let answer = value(&entry["action"], &entry["errnoRet"])?;
        Some(Self { numbers: names.filter_map(number).collect(), conditions, any, answer })
    }

    fn holds(&self, call: &Call) -> bool {
        let holds = |one: &Condition| {
            call.arguments.get(one.index).is_some_and(|argument| (one.holds)(*argument, one.value, one.value_two))
        };
        if self.any { self.conditions.iter().any(holds) } else { self.conditions.iter().all(holds) }
    }
}

impl Condition {
    fn new(condition: &Value) -> Option<Self> {
        Some(Self {
            index: usize::try_from(condition["index"].as_u64()?).ok()?,
            holds: match condition["op"].as_str()? {
                "SCMP_CMP_NE" => |argument, value, _| argument != value,
                "SCMP_CMP_LT" => |argument, value, _| argument < value,
                "SCMP_CMP_LE" => |argument, value, _| argument <= value,
                "SCMP_CMP_EQ" => |argument, value, _| argument == value,
                "SCMP_CMP_GE" => |argument, value, _| argument >= value,
                "SCMP_CMP_GT" => |argument, value, _| argument > value,
                "SCMP_CMP_MASKED_EQ" => |argument, mask, value| argument & mask == value & mask,
                _ => return None,
            },
            value: condition["value"].as_u64()?,
            value_two: condition["valueTwo"].as_u64().unwrap_or(0),
        })
    }
}

/// The joint answer of two filters: the second one counts if the first lets the call pass.
pub fn both(first: u32, second: u32) -> u32 {
    let passes = |answer: u32| [LOG, ALLOW].contains(&(answer & ACTION));
    match (passes(first), passes(second)) {
        (true, false) => second,
        (true, true) => first.min(second),
        (false, _) => first,
    }
}

/// The number of a call on this machine.
pub fn number(name: &str) -> Option<u32> {
    Sysno::from_str(name).ok().map(|call| call.id().cast_unsigned())
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn value(action: &Value, errno: &Value) -> Option<u32> {
    let data = || u16::try_from(errno.as_u64().unwrap_or(DEFAULT_ERRNO)).ok().map(u32::from);
    Some(match action.as_str()? {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" | "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | data()?,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | data()?,
        "SCMP_ACT_LOG" => LOG,
        "SCMP_ACT_ALLOW" => ALLOW,
        _ => return None,
    })
}
