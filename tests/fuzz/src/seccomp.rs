//! `linux.seccomp`: the compiled program, compared with the profile itself.
//!
//! Two profiles of one input stand for the two filters of a worker, the container's and its own; the whole program consists of both, after
//! the check of the architecture.

use catamaran_daemon::untrusted;
use catamaran_worker::filter::{MOST_INSTRUCTIONS, joined, of_this_architecture};
use catamaran_worker::job::Instruction;
use serde_json::{Value, json};

use crate::bpf::{self, Call};
use crate::calls::{ARCHITECTURES, NATIVE, around};
use crate::lines::{number, pick};
use crate::profile::{self, Profile};
use crate::{Taken, told};

/// The number of calls that are also tried as those of other architectures.
const MOST_ELSEWHERE: usize = 64;
/// The answer that ends the whole process.
const KILL: u32 = 0x8000_0000;
const ACTIONS: [&str; 8] = ["allow", "errno", "kill", "kill_process", "kill_thread", "log", "trace", "trap"];
const OPERATORS: [&str; 7] = ["eq", "ge", "gt", "le", "lt", "masked_eq", "ne"];
const NAMES: [&str; 14] = [
    "read",
    "write",
    "openat",
    "clone",
    "clone3",
    "socket",
    "ioctl",
    "personality",
    "mount",
    "bpf",
    "getpid",
    "execve",
    "futex",
    "no_such_call",
];

/// A profile as JSON; or lines, which `---` divides into two profiles:
///
/// ```text
/// default ACTION [ERRNO]
/// ACTION[:ERRNO] NAME[,NAME...] [INDEX OPERATOR VALUE [VALUE2]] [; INDEX ...]
/// call ARCH NUMBER ARGUMENT...
/// ```
///
/// # Panics
/// When the program's answer differs from the profile's.
pub fn target(input: &[u8]) -> Taken {
    let text = String::from_utf8_lossy(input);
    let (profiles, asked) = match input.first() {
        Some(b'{') => {
            let Ok(read) = serde_json::from_slice(input) else { return told::taken(untrusted::seccomp(input)) };
            (vec![read], Vec::new())
        }
        _ => (text.split("---\n").take(2).map(written).collect::<Vec<_>>(), text.lines().filter_map(call).collect()),
    };
    let mut compiled = Vec::new();
    for profile in &profiles {
        match untrusted::seccomp(profile.to_string().as_bytes()) {
            Ok(program) => compiled.push((Profile::new(profile), program.program)),
            refused => return told::taken(refused),
        }
    }
    let calls: Vec<_> = profiles.iter().flat_map(around).chain(asked).collect();
    for (profile, program) in &compiled {
        // A profile by itself has no rule for the architecture.
        let right = |call: &Call| profile.as_ref().map(|profile| profile.answer(call));
        assert_eq!(mismatch(program, &right, &calls), None, "{profile:x?}");
    }
    let both = |call: &Call| {
        let mut answers = compiled.iter().map(|(profile, _)| profile.as_ref().map(|profile| profile.answer(call)));
        let first = answers.next().flatten()?;
        let answer = answers.next().map_or(Some(first), |second| Some(profile::both(first, second?)))?;
        Some(if call.arch == NATIVE { answer } else { KILL })
    };
    let programs: Vec<_> = compiled.iter().map(|(_, program)| program.as_slice()).collect();
    let whole = whole(&programs);
    let elsewhere = calls.iter().take(MOST_ELSEWHERE).flat_map(|call| ARCHITECTURES.map(|arch| Call { arch, ..*call }));
    let calls: Vec<_> = elsewhere.chain(calls.iter().copied()).collect();
    // Both together may exceed the kernel's limit: a worker reports it then.
    if whole.len() <= MOST_INSTRUCTIONS {
        assert_eq!(mismatch(&whole, &both, &calls), None, "{compiled:x?}");
    }
    true
}

/// The program that a worker installs (`confine/syscalls.rs`).
fn whole(programs: &[&[Instruction]]) -> Vec<Instruction> {
    let rest = match programs {
        [first, second] => joined(first, second),
        programs => programs.concat(),
    };
    of_this_architecture().into_iter().chain(rest).collect()
}

/// Returns the first call with a wrong answer, or the reason for which the kernel would refuse the program.
pub fn mismatch(program: &[Instruction], right: &dyn Fn(&Call) -> Option<u32>, calls: &[Call]) -> Option<String> {
    if let Err(why) = bpf::check(program) {
        return Some(why);
    }
    calls.iter().find_map(|call| {
        let (answer, right) = (bpf::answer(program, call), right(call));
        let same = answer.as_ref().ok() == right.as_ref();
        (!same).then(|| format!("{call:x?}: {answer:x?}, where the profile says {right:x?}"))
    })
}

/// The calls to try on a profile.
pub fn calls(profile: &Value) -> Vec<Call> {
    around(profile)
}

/// Makes the profile of some lines.
pub fn written(text: &str) -> Value {
    let (mut default, mut entries) = (json!({"defaultAction": "SCMP_ACT_ERRNO"}), Vec::new());
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("default") => {
                default = json!({"defaultAction": action(words.next().unwrap_or_default())});
                if let Some(errno) = words.next() {
                    default["defaultErrnoRet"] = json!(number(errno) as u16);
                }
            }
            Some("call") | None => {}
            Some(first) => entries.push(entry(first, &words.collect::<Vec<_>>())),
        }
    }
    default["syscalls"] = json!(entries);
    default
}

fn action(word: &str) -> String {
    format!("SCMP_ACT_{}", pick(word, &ACTIONS)).to_uppercase()
}

fn entry(first: &str, rest: &[&str]) -> Value {
    let (word, errno) = first.split_once(':').map_or((first, None), |(word, errno)| (word, Some(number(errno) as u16)));
    let (names, conditions) = rest.split_first().map_or(("", rest), |(names, rest)| (*names, rest));
    let names: Vec<_> =
        names.split(',').map(|name| if profile::number(name).is_some() { name } else { pick(name, &NAMES) }).collect();
    let args: Vec<_> = conditions.split(|word| *word == ";").filter_map(condition).collect();
    let mut entry = json!({"names": names, "action": action(word), "args": args});
    if let Some(errno) = errno {
        entry["errnoRet"] = json!(errno);
    }
    entry
}

fn condition(words: &[&str]) -> Option<Value> {
    let (index, words) = words.split_first()?;
    let operator = pick(words.first().copied().unwrap_or_default(), &OPERATORS);
    let value = words.get(1).map_or(0, |word| number(word));
    let mut condition =
        json!({"index": number(index) % 6, "op": format!("SCMP_CMP_{operator}").to_uppercase(), "value": value});
    if let Some(two) = words.get(2) {
        condition["valueTwo"] = json!(number(two));
    }
    Some(condition)
}

fn call(line: &str) -> Option<Call> {
    let mut words = line.strip_prefix("call ")?.split_ascii_whitespace().map(number);
    let arch = words.next().filter(|arch| *arch != 0).map_or(NATIVE, |arch| arch as u32);
    let number = words.next()? as u32;
    Some(Call { arch, number, arguments: std::array::from_fn(|_| words.next().unwrap_or_default()) })
}
