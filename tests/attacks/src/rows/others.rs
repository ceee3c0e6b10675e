//! Processes of the host and of other containers, if the spec shows them (`hostPID`).
//!
//! The victim is a process of root's without capabilities, which the test started: as the worker is root's too, the kernel allows it
//! everything that one user's processes may do to each other. Attacks that would end a process go to others of its kind (`PREY_1` to
//! `PREY_3`). The shim is the worker's parent.

use super::{Context, Row, Shape, also};
use crate::call::{Answer, at, call, into, signed};
use crate::outcome::Outcome;

/// Signal 0: the answer is only whether it could be sent.
const NOTHING: u64 = 0;

pub(super) fn rows() -> Vec<Row> {
    let rows = vec![
        Row::new("kill: a process of the host", also::LANDLOCK, |c| {
            let victim = c.number("PREY_1");
            Outcome::new([
                ("kill", call(libc::SYS_kill, [victim, libc::SIGKILL as u64])),
                ("tkill", call(libc::SYS_tkill, [victim, libc::SIGKILL as u64])),
                ("tgkill", call(libc::SYS_tgkill, [victim, victim, libc::SIGKILL as u64])),
            ])
        }),
        Row::new("kill: the shim", also::LANDLOCK, |c| call(libc::SYS_kill, [shim(c), NOTHING]).into()),
        Row::new("rt_sigqueueinfo, pidfd_send_signal: a process of the host", also::LANDLOCK, |c| {
            let victim = c.number("PREY_2");
            let mut info = [0_i32; 32];
            (info[0], info[2]) = (libc::SIGTERM, libc::SI_QUEUE);
            Outcome::new([
                ("rt_sigqueueinfo", call(libc::SYS_rt_sigqueueinfo, [victim, libc::SIGTERM as u64, at(&info)])),
                (
                    "pidfd_send_signal",
                    pidfd(victim)
                        .and_then(|fd| call(libc::SYS_pidfd_send_signal, [fd as u64, libc::SIGTERM as u64, 0, 0])),
                ),
            ])
        }),
        Row::new("fcntl: a signal to a process of the host when a stream has room", also::LANDLOCK, stream_signal),
        Row::new("ptrace: attach to a process of the host", also::NONE, |c| {
            let victim = c.number("VICTIM");
            const SEIZE: u64 = 0x4206;
            Outcome::new([
                ("seize", call(libc::SYS_ptrace, [SEIZE, victim, 0, 0])),
                ("attach", call(libc::SYS_ptrace, [16, victim, 0, 0])),
            ])
        }),
        Row::new("ptrace: attach to the shim", also::CAPABILITIES, |c| {
            const SEIZE: u64 = 0x4206;
            call(libc::SYS_ptrace, [SEIZE, shim(c), 0, 0]).into()
        }),
        Row::new("process_vm_readv, process_vm_writev: a process of the host", also::NONE, |c| {
            memory_of(c.number("VICTIM"), c.number("VICTIM_MEMORY"))
        }),
        Row::new("process_vm_readv, process_vm_writev: the shim", also::CAPABILITIES, |c| {
            memory_of(shim(c), c.number("SHIM_MEMORY"))
        }),
        Row::new("pidfd_getfd: a descriptor of a process of the host", also::NONE, |c| {
            pidfd(c.number("VICTIM")).and_then(|fd| call(libc::SYS_pidfd_getfd, [fd as u64, 0, 0])).into()
        }),
        Row::new("pidfd_getfd: a descriptor of the shim", also::CAPABILITIES, |c| {
            let fds = pidfd(shim(c));
            Outcome::new(
                [0, 1, 2, 3, 4, 5, 6, 7]
                    .map(|n| ("a descriptor", fds.and_then(|fd| call(libc::SYS_pidfd_getfd, [fd as u64, n, 0])))),
            )
        }),
        Row::new("prlimit: a process of the host", also::NONE, |c| {
            let limit = [1_u64, 1];
            call(libc::SYS_prlimit64, [c.number("VICTIM"), 7, at(&limit), 0]).into()
        }),
        Row::new("setpriority, ioprio_set: a process of the host", also::NONE, |c| {
            let victim = c.number("VICTIM");
            Outcome::new([
                ("setpriority", call(libc::SYS_setpriority, [0, victim, 19])),
                ("ioprio_set", call(libc::SYS_ioprio_set, [1, victim, 3 << 13])),
            ])
        }),
        Row::new("sched_setaffinity, sched_setattr: a process of the host", also::NONE, |c| {
            let victim = c.number("VICTIM");
            // SCHED_IDLE.
            let attributes = [48_u32, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let parameter = 0_i32;
            Outcome::new([
                ("affinity", call(libc::SYS_sched_setaffinity, [victim, 8, at(&1_u64)])),
                ("setattr", call(libc::SYS_sched_setattr, [victim, at(&attributes), 0])),
                ("setscheduler", call(libc::SYS_sched_setscheduler, [victim, 5, at(&parameter)])),
            ])
        }),
        Row::new("move_pages, migrate_pages, process_madvise: a process of the host", also::CAPABILITIES, |c| {
            let victim = c.number("VICTIM");
            let page = c.number("VICTIM_MEMORY");
            let mut node = 0_i32;
            let range = [page, 4096];
            Outcome::new([
                ("move_pages", call(libc::SYS_move_pages, [victim, 1, at(&page), 0, into(&mut node), 2])),
                (
                    "process_madvise",
                    pidfd(victim).and_then(|fd| {
                        call(libc::SYS_process_madvise, [fd as u64, at(&range), 1, libc::MADV_PAGEOUT as u64, 0])
                    }),
                ),
            ])
        }),
        Row::new("kcmp, get_robust_list: addresses of another process", also::CAPABILITIES, |c| {
            let mut place = 0_u64;
            let mut length = 0_u64;
            let victim = c.number("VICTIM");
            Outcome::new([
                ("kcmp", call(libc::SYS_kcmp, [victim, shim(c), 1, 0, 0])),
                ("robust list", call(libc::SYS_get_robust_list, [shim(c), into(&mut place), into(&mut length)])),
            ])
        }),
        Row::new("perf_event_open: a process of the host", also::CAPABILITIES, |c| {
            // The task clock, without the kernel.
            let mut attributes = [0_u32; 32];
            (attributes[0], attributes[1], attributes[2], attributes[10]) = (1, 128, 1, 1 << 5);
            call(libc::SYS_perf_event_open, [at(&attributes), c.number("VICTIM"), signed(-1), signed(-1), 0]).into()
        }),
        Row::new("/proc of the host's processes", also::NO_PROCFS, |c| {
            let path = |what: &str| format!("/proc/{}/{what}\0", c.number("VICTIM"));
            Outcome::new(["mem", "root", "environ", "oom_score_adj", "fd/0", "ns/mnt", "cwd"].map(|what| {
                let path = path(what);
                let opened =
                    std::ffi::CStr::from_bytes_with_nul(path.as_bytes()).map_err(|_| nix::errno::Errno::EINVAL);
                (what, opened.and_then(|path| crate::call::open(path, libc::O_RDONLY)))
            }))
        }),
        Row::new("setns: a namespace of the host, by pidfd", also::CAPABILITIES, |c| {
            let all = [libc::CLONE_NEWNS, libc::CLONE_NEWNET, libc::CLONE_NEWUTS, libc::CLONE_NEWPID];
            Outcome::new(all.map(|kind| {
                ("setns", pidfd(c.number("VICTIM")).and_then(|fd| call(libc::SYS_setns, [fd as u64, kind as u64])))
            }))
        }),
    ];
    rows.into_iter().map(|row| row.shape(Shape::HostPid)).collect()
}

/// The worker's parent: the kernel's answer, or else the host's.
fn shim(context: &Context) -> u64 {
    call(libc::SYS_getppid, []).map_or_else(|_| context.number("SHIM"), |pid| pid as u64)
}

fn pidfd(pid: u64) -> Answer {
    call(libc::SYS_pidfd_open, [pid, 0])
}

fn memory_of(pid: u64, address: u64) -> Outcome {
    let mut bytes = [0_u8; 8];
    let ours = [into(&mut bytes), 8];
    let theirs = [address, 8];
    Outcome::new([
        ("read", call(libc::SYS_process_vm_readv, [pid, at(&ours), 1, at(&theirs), 1, 0])),
        ("written", call(libc::SYS_process_vm_writev, [pid, at(&ours), 1, at(&theirs), 1, 0])),
    ])
}

/// Signals through a descriptor: its owner gets a signal of the descriptor's choosing when there is something to read or room to write
/// (fcntl(2), `F_SETOWN`, `F_SETSIG`), a kill(2) by another name.
fn stream_signal(context: &Context) -> Outcome {
    let stream = 1;
    let owned = call(libc::SYS_fcntl, [stream, libc::F_SETOWN as u64, context.number("PREY_3")])
        .and_then(|_| call(libc::SYS_fcntl, [stream, F_SETSIG, libc::SIGTERM as u64]))
        .and_then(|_| {
            let flags = call(libc::SYS_fcntl, [stream, libc::F_GETFL as u64, 0])?;
            call(libc::SYS_fcntl, [stream, libc::F_SETFL as u64, (flags | i64::from(libc::O_ASYNC)) as u64])
        });
    owned.into()
}

/// linux/fcntl.h; the C library's crate has no name for it.
const F_SETSIG: u64 = 10;
