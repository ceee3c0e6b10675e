//! Ways back to rights: users, capabilities, the switches of prctl(2), limits.

use super::{Row, Shape, also};
use crate::call::{Answer, at, call, signed};
use crate::outcome::Outcome;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::new("capset: every capability", also::CAPABILITIES, |_| capabilities().into()),
        Row::new("prctl: ambient and bounding capabilities, securebits", also::CAPABILITIES, |_| {
            Outcome::new([
                ("ambient", prctl(libc::PR_CAP_AMBIENT, [libc::PR_CAP_AMBIENT_RAISE as u64, 21])),
                ("securebits", prctl(libc::PR_SET_SECUREBITS, [0x2f, 0])),
            ])
        }),
        Row::new("prctl: new privileges allowed again", also::NOBODY, |_| {
            prctl(libc::PR_SET_NO_NEW_PRIVS, [0, 0]).into()
        }),
        Row::new("prctl: dumpable again", also::NONE, |_| prctl(libc::PR_SET_DUMPABLE, [1, 0]).into()),
        Row::new("prctl: not to die with the shim", also::NONE, |_| prctl(libc::PR_SET_PDEATHSIG, [0, 0]).into()),
        Row::new("prctl: traced by anybody", also::KERNEL, |_| {
            prctl(libc::PR_SET_PTRACER, [libc::PR_SET_PTRACER_ANY, 0]).into()
        }),
        Row::new("prctl: another start of code, another executable", also::CAPABILITIES, |_| {
            Outcome::new([
                ("start of code", prctl(libc::PR_SET_MM, [libc::PR_SET_MM_START_CODE as u64, 0x10000])),
                ("executable", prctl(libc::PR_SET_MM, [libc::PR_SET_MM_EXE_FILE as u64, 0])),
            ])
        }),
        Row::new("prctl: subreaper, I/O flusher, core scheduling, timer slack", also::NONE, |_| {
            const IO_FLUSHER: i32 = 57;
            const SCHED_CORE: i32 = 62;
            Outcome::new([
                ("subreaper", prctl(libc::PR_SET_CHILD_SUBREAPER, [1, 0])),
                ("flusher", prctl(IO_FLUSHER, [1, 0])),
                ("core", prctl(SCHED_CORE, [1, 0])),
                ("timer slack", prctl(libc::PR_SET_TIMERSLACK, [1, 0])),
            ])
        }),
        Row::new("seccomp: a filter of its own, strict mode, a listener", also::NONE, |_| {
            // One instruction: allowed.
            let instruction = [0x7fff_0000_0000_0006_u64];
            let program = [1_u64, at(&instruction)];
            Outcome::new([
                ("filter", call(libc::SYS_seccomp, [1, 0, at(&program)])),
                ("listener", call(libc::SYS_seccomp, [1, 8, at(&program)])),
                ("prctl", prctl(libc::PR_SET_SECCOMP, [2, at(&program)])),
            ])
        }),
        Row::new("rlimits: raised", also::CAPABILITIES, |_| {
            let unlimited = [u64::MAX, u64::MAX];
            Outcome::new(
                [4, 7, 8, 12, 13, 14].map(|kind| ("a limit", call(libc::SYS_prlimit64, [0, kind, at(&unlimited), 0]))),
            )
        }),
        Row::new("setrlimit: core files allowed again", also::CAPABILITIES, |_| {
            let limit = [1_u64 << 20, 1 << 20];
            #[cfg(target_arch = "x86_64")]
            let old = call(libc::SYS_setrlimit, [4, at(&limit)]);
            #[cfg(not(target_arch = "x86_64"))]
            let old = Err(nix::errno::Errno::ENOSYS);
            Outcome::new([("setrlimit", old), ("prlimit", call(libc::SYS_prlimit64, [0, 4, at(&limit), 0]))])
        }),
        Row::new("priority raised", also::CAPABILITIES, |_| {
            Outcome::new([
                ("nice", call(libc::SYS_setpriority, [0, 0, signed(-10)])),
                ("real time", call(libc::SYS_sched_setscheduler, [0, 1, at(&10_i32)])),
                ("real-time I/O", call(libc::SYS_ioprio_set, [1, 0, 1 << 13])),
                ("memory kept", call(libc::SYS_mlockall, [3])),
            ])
        }),
    ];
    rows.push(
        Row::new("setuid, setgid, setgroups: root again", also::USER, |_| {
            Outcome::new([
                ("setuid", call(libc::SYS_setuid, [0])),
                ("setreuid", call(libc::SYS_setreuid, [0, 0])),
                ("setresuid", call(libc::SYS_setresuid, [0, 0, 0])),
                ("setgid", call(libc::SYS_setgid, [0])),
                ("setresgid", call(libc::SYS_setresgid, [0, 0, 0])),
                ("setgroups", call(libc::SYS_setgroups, [1, at(&0_u32)])),
                ("capset", capabilities()),
            ])
        })
        .shape(Shape::User),
    );
    rows.push(
        Row::new("setfsuid: root's files", also::USER, |_| {
            // The call returns the old value, so a second call shows the present one.
            match call(libc::SYS_setfsuid, [0]).and_then(|_| call(libc::SYS_setfsuid, [signed(-1)])) {
                Ok(0) => Outcome::Open("files are opened as root".to_owned()),
                Ok(user) => Outcome::denied(format!("files are opened as {user}")),
                refused => refused.into(),
            }
        })
        .shape(Shape::User),
    );
    rows
}

fn prctl(option: i32, [a, b]: [u64; 2]) -> Answer {
    call(libc::SYS_prctl, [option as u64, a, b, 0, 0])
}

fn capabilities() -> Answer {
    // Version 3, this thread; effective, permitted and inheritable, twice.
    let header = [0x2008_0522_u32, 0];
    let all = [u32::MAX, u32::MAX, u32::MAX, 0x1ff, 0x1ff, 0x1ff];
    call(libc::SYS_capset, [at(&header), at(&all)])
}
