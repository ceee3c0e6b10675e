//! Compiles the spec's `linux.seccomp` to the program that the worker installs together with the shim's own filter.
//!
//! Of all rules of the profile that match a call, the one with the strictest action counts, as the kernel takes the strictest of several
//! filters (seccomp(2), "Return values"). A rule for a call that this architecture's table lacks is ignored, as in every other runtime; our
//! own filter denies such a call.

use std::str::FromStr;

use catamaran_worker::filter::{self, Calls, Condition, Operator, Rule, Verdict};
use catamaran_worker::job::Profile;
use nix::libc;
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
    Seccomp, SeccompBuilder,
};
use syscalls::Sysno;

use crate::error::{Error, Result};

/// The kernel's limit, less the room for the worker's own filter, which is appended to the profile.
const MOST_INSTRUCTIONS: usize = filter::MOST_INSTRUCTIONS - 1024;
/// The most rules of a profile. Each name of an entry counts with all rules of that entry.
const MOST_RULES: usize = 1 << 16;
/// The error number of `SCMP_ACT_ERRNO` without an `errnoRet` (OCI runtime spec, "Seccomp").
const DEFAULT_ERRNO: u32 = libc::EPERM as u32;
/// Arguments of a system call.
const ARGUMENTS: usize = 6;

/// Compiles the profile.
pub(crate) fn compile(profile: &LinuxSeccomp) -> Result<Profile> {
    check(profile)?;
    let default = verdict(profile.default_action(), profile.default_errno_ret(), "defaultErrnoRet")?;
    let (mut calls, mut added) = (Calls::default(), 0);
    for (index, syscall) in profile.syscalls().iter().flatten().enumerate() {
        let rules = rules(index, syscall)?;
        for name in syscall.names() {
            // The name is a newer kernel's or another architecture's.
            let Ok(number) = Sysno::from_str(name) else { continue };
            added += rules.len();
            if added > MOST_RULES {
                let found = format!("more than {MOST_RULES} rules");
                return Err(refused("syscalls", found, "each name once, and fewer rules about arguments"));
            }
            calls.add(number.id() as usize, &rules);
        }
    }
    calls.strictest_first();
    let program = filter::assemble(&calls, default);
    if program.len() > MOST_INSTRUCTIONS {
        let found = format!("{} instructions", program.len());
        return Err(refused("syscalls", found, format!("at most {MOST_INSTRUCTIONS}: fewer rules about arguments")));
    }
    let log = profile.flags().iter().flatten().any(|f| *f == LinuxSeccompFilterFlag::SeccompFilterFlagLog);
    Ok(Profile { program, log })
}

/// Returns the features of a profile that this shim knows (runtime-spec, features-linux.md).
pub(crate) fn features() -> oci_spec::Result<Seccomp> {
    use LinuxSeccompAction as Action;
    let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    SeccompBuilder::default()
        .enabled(true)
        .actions(vec![
            Action::ScmpActAllow,
            Action::ScmpActErrno,
            Action::ScmpActKill,
            Action::ScmpActKillProcess,
            Action::ScmpActKillThread,
            Action::ScmpActLog,
            Action::ScmpActTrace,
            Action::ScmpActTrap,
        ])
        .operators(words(&[
            "SCMP_CMP_EQ",
            "SCMP_CMP_GE",
            "SCMP_CMP_GT",
            "SCMP_CMP_LE",
            "SCMP_CMP_LT",
            "SCMP_CMP_MASKED_EQ",
            "SCMP_CMP_NE",
        ]))
        .known_flags(words(&[
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_TSYNC",
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        ]))
        .supported_flags(words(&["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]))
        .build()
}

fn refused(key: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::refused(format!("config.json: linux.seccomp.{key}"), found, expected)
}

/// Refuses a profile whose calls an agent decides. Ignores the architectures, because a worker has only one, and is killed when it enters
/// the kernel as another. Ignores SPEC_ALLOW, which would switch off a mitigation.
fn check(profile: &LinuxSeccomp) -> Result<()> {
    if profile.listener_path().is_some() {
        return Err(refused("listenerPath", "set", "none: this version has no seccomp agents (SCMP_ACT_NOTIFY)"));
    }
    Ok(())
}

fn verdict(action: LinuxSeccompAction, errno: Option<u32>, key: &str) -> Result<Verdict> {
    let number = |default: u32| match errno {
        None => Ok(default as u16),
        Some(errno) => u16::try_from(errno)
            .map_err(|_| refused(key, errno.to_string(), "an error number or message of at most 65535")),
    };
    Ok(match action {
        // The whole process: if only a thread were killed, the engine would wait for it for ever.
        LinuxSeccompAction::ScmpActKill
        | LinuxSeccompAction::ScmpActKillThread
        | LinuxSeccompAction::ScmpActKillProcess => Verdict::Kill,
        LinuxSeccompAction::ScmpActTrap => Verdict::Trap,
        LinuxSeccompAction::ScmpActErrno => Verdict::Errno(number(DEFAULT_ERRNO)?),
        LinuxSeccompAction::ScmpActTrace => Verdict::Trace(number(DEFAULT_ERRNO)?),
        LinuxSeccompAction::ScmpActLog => Verdict::Log,
        LinuxSeccompAction::ScmpActAllow => Verdict::Allow,
        LinuxSeccompAction::ScmpActNotify => {
            return Err(refused(
                "defaultAction or syscalls[].action",
                "SCMP_ACT_NOTIFY",
                "another action: this version has no seccomp agents",
            ));
        }
    })
}

/// Returns the rules of one entry of `syscalls`. All its conditions must hold; but if two are about the same argument, each condition is
/// a rule of its own, as in other runtimes with libseccomp (runc, "matchCall").
fn rules(index: usize, syscall: &LinuxSyscall) -> Result<Vec<Rule>> {
    let verdict = verdict(syscall.action(), syscall.errno_ret(), &format!("syscalls[{index}].errnoRet"))?;
    let conditions: Vec<Condition> =
        syscall.args().iter().flatten().map(|arg| condition(index, arg)).collect::<Result<_>>()?;
    let mut seen = [false; ARGUMENTS];
    let alternatives = conditions.iter().any(|c| std::mem::replace(&mut seen[c.argument], true));
    Ok(match alternatives {
        true => conditions.into_iter().map(|c| Rule { conditions: vec![c], verdict }).collect(),
        false => vec![Rule { conditions, verdict }],
    })
}

fn condition(index: usize, arg: &LinuxSeccompArg) -> Result<Condition> {
    let argument = arg.index();
    if argument >= ARGUMENTS {
        let key = format!("syscalls[{index}].args[].index");
        return Err(refused(&key, argument.to_string(), "0 to 5"));
    }
    let operator = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => Operator::NotEqual,
        LinuxSeccompOperator::ScmpCmpLt => Operator::Less,
        LinuxSeccompOperator::ScmpCmpLe => Operator::AtMost,
        LinuxSeccompOperator::ScmpCmpEq => Operator::Equal,
        LinuxSeccompOperator::ScmpCmpGe => Operator::AtLeast,
        LinuxSeccompOperator::ScmpCmpGt => Operator::Greater,
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            let value = arg.value_two().unwrap_or(0) & arg.value();
            return Ok(Condition { argument, operator: Operator::Masked(arg.value()), value });
        }
    };
    Ok(Condition { argument, operator, value: arg.value() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compiled(profile: serde_json::Value) -> Result<Profile> {
        compile(&serde_json::from_value(profile).unwrap())
    }

    /// Returns the profile's answer to a call, as the kernel would read its program.
    fn answer(profile: &Profile, call: i64, arguments: [u64; 6]) -> u32 {
        filter::answer(&profile.program, call as u32, arguments).unwrap()
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const fn errno(number: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | number as u32
    }

    #[test]
    fn syscalls_match_by_name_and_arguments_or_get_the_default_action() {
        let profile = compiled(json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [
                {"names": ["read", "write", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0xffff_ffff_u32, "op": "SCMP_CMP_EQ"}]},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 0, "value": 0x7e02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
                {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
                {"names": ["mount"], "action": "SCMP_ACT_KILL"},
            ],
        }))
        .unwrap();
        assert!(!profile.log);
        assert_eq!(answer(&profile, libc::SYS_read, [0; 6]), ALLOW);
        assert_eq!(answer(&profile, libc::SYS_write, [0; 6]), ALLOW);
        assert_eq!(answer(&profile, libc::SYS_openat, [0; 6]), errno(38));
        for (persona, expected) in [(8, ALLOW), (0xffff_ffff, ALLOW), (9, errno(38)), (1 << 32 | 8, errno(38))] {
            assert_eq!(answer(&profile, libc::SYS_personality, [persona, 0, 0, 0, 0, 0]), expected, "{persona:#x}");
        }
        assert_eq!(answer(&profile, libc::SYS_clone, [0x11, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(answer(&profile, libc::SYS_clone, [0x1000_0011, 0, 0, 0, 0, 0]), errno(38));
        assert_eq!(answer(&profile, libc::SYS_bpf, [0; 6]), errno(1));
        assert_eq!(answer(&profile, libc::SYS_mount, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
        assert_eq!(answer(&profile, 9999, [0; 6]), errno(38));
    }

    #[test]
    fn the_strictest_rule_wins_and_one_argument_twice_is_an_alternative() {
        let profile = compiled(json!({
            "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [
                    {"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}]},
                {"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 25, "args": [
                    {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 5, "op": "SCMP_CMP_GT"}]},
            ],
        }))
        .unwrap();
        assert!(profile.log);
        for (domain, expected) in [(40, errno(1)), (16, errno(1)), (2, ALLOW)] {
            assert_eq!(answer(&profile, libc::SYS_socket, [domain, 0, 0, 0, 0, 0]), expected);
        }
        assert_eq!(answer(&profile, libc::SYS_ioctl, [1, 6, 0, 0, 0, 0]), errno(25));
        assert_eq!(answer(&profile, libc::SYS_ioctl, [1, 5, 0, 0, 0, 0]), ALLOW);
        assert_eq!(answer(&profile, libc::SYS_ioctl, [2, 6, 0, 0, 0, 0]), ALLOW);
    }

    /// `tests/fuzz` found this: names and conditions of one entry multiply.
    #[test]
    fn a_profile_whose_rules_multiply_is_refused_before_they_are_made() {
        let args: Vec<_> = (0..1000).map(|n| json!({"index": 0, "value": n, "op": "SCMP_CMP_EQ"})).collect();
        let entry = json!({"names": vec!["read"; 100_000], "action": "SCMP_ACT_ERRNO", "args": args});
        let refused = compiled(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [entry]})).unwrap_err();
        assert!(refused.to_string().contains("more than 65536 rules"), "{refused}");
    }

    #[test]
    fn unsupported_seccomp_features_are_refused_by_name() {
        for (profile, word) in [
            (json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "SCMP_ACT_NOTIFY"),
            (json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent"}), "listenerPath"),
            (json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 70000}), "70000"),
            (
                json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO",
                    "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}),
                "args[].index",
            ),
        ] {
            let text = compiled(profile).err().unwrap().to_string();
            assert!(text.contains("linux.seccomp") && text.contains(word), "{text}");
        }
    }
}
