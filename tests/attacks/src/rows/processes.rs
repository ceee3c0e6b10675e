//! New programs, new processes, and power over existing ones.

use super::{EXECUTED, Row, Shape, also};
use crate::call::{HERE, at, call, open, text, twice};
use crate::outcome::Outcome;

const SIGCHLD: u64 = libc::SIGCHLD as u64;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::new("execve: a program of the image", also::LANDLOCK, |_| {
            let arguments = arguments();
            call(libc::SYS_execve, [text(c"/attacker"), at(&arguments), 0]).into()
        }),
        Row::new("execveat: a program by its descriptor", also::LANDLOCK, |_| {
            open(c"/attacker", libc::O_PATH).and_then(execute).into()
        }),
        Row::new("execveat: a program in memory", also::NONE, |_| in_memory()),
        Row::new("fork", also::CGROUP, |_| twice(libc::SYS_clone, [SIGCHLD, 0]).into()),
        Row::new("clone: sharing memory, not as a thread", also::CGROUP, |_| {
            let flags = (libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_FS | libc::CLONE_VFORK) as u64;
            twice(libc::SYS_clone, [flags | SIGCHLD, 0]).into()
        }),
        Row::new("clone: the shim as its parent", also::PIDS, |_| {
            twice(libc::SYS_clone, [libc::CLONE_PARENT as u64, 0]).into()
        }),
        Row::new("clone3", also::CGROUP, |_| {
            let arguments = [0, 0, 0, 0, SIGCHLD, 0, 0, 0_u64];
            twice(libc::SYS_clone3, [at(&arguments), 64]).into()
        }),
        Row::new("ptrace: traced by the parent", also::NONE, |_| call(libc::SYS_ptrace, [0]).into()).alone(),
        Row::new("kill: everybody", also::PIDS, |_| {
            Outcome::new([
                ("kill(-1)", call(libc::SYS_kill, [crate::call::signed(-1), libc::SIGKILL as u64])),
                ("kill(2)", call(libc::SYS_kill, [2, libc::SIGKILL as u64])),
                ("tkill(2)", call(libc::SYS_tkill, [2, libc::SIGKILL as u64])),
                ("tgkill(2)", call(libc::SYS_tgkill, [2, 2, libc::SIGKILL as u64])),
            ])
        })
        // It would find children that another attack left.
        .alone(),
        Row::new("setsid, setpgid: another group or session", also::NONE, |_| {
            Outcome::new([("setpgid", call(libc::SYS_setpgid, [0, 1])), ("setsid", call(libc::SYS_setsid, []))])
        }),
        Row::new("kill: the shim, by getppid", also::PIDS, |_| match call(libc::SYS_getppid, []) {
            Ok(0) => Outcome::denied("it has no number here"),
            Ok(parent) => call(libc::SYS_kill, [parent as u64, 0]).into(),
            refused => refused.into(),
        }),
    ];
    #[cfg(target_arch = "x86_64")]
    rows.extend([
        Row::new("fork, by its own number", also::CGROUP, |_| twice(libc::SYS_fork, [0, 0]).into()),
        Row::new("vfork", also::CGROUP, |_| twice(libc::SYS_vfork, [0, 0]).into()),
    ]);
    rows.push(
        Row::new("execve: a program of the host's", also::LANDLOCK, |_| {
            let arguments = arguments();
            call(libc::SYS_execve, [text(c"/host/bin/true"), at(&arguments), 0]).into()
        })
        .shape(Shape::ReadOnly),
    );
    rows
}

/// `attacker --version`, which prints [`EXECUTED`] and ends.
fn arguments() -> [u64; 3] {
    debug_assert!(!EXECUTED.is_empty());
    [text(c"attacker"), text(c"--version"), 0]
}

fn execute(fd: i64) -> crate::call::Answer {
    let arguments = arguments();
    call(libc::SYS_execveat, [fd as u64, text(c""), at(&arguments), 0, libc::AT_EMPTY_PATH as u64])
}

fn in_memory() -> Outcome {
    let copied = call(libc::SYS_memfd_create, [text(c"program"), 0]).and_then(|memory| {
        let program = open(c"/attacker", libc::O_RDONLY)?;
        let mut buffer = vec![0_u8; 1 << 16];
        loop {
            let place = buffer.as_mut_ptr() as u64;
            match call(libc::SYS_read, [program as u64, place, buffer.len() as u64])? {
                0 => break,
                n => call(libc::SYS_write, [memory as u64, place, n as u64])?,
            };
        }
        execute(memory)
    });
    copied.or_else(|_| execute(crate::code::ARTIFACT.get().map_or(-1, |a| i64::from(a.fd)))).and(Ok(HERE as i64)).into()
}
