//! A worker that was broken into attacks workers that join its container for execs. A joining worker is root's and has every right when it
//! enters the pid namespace.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::{Context, Row, Shape, also};
use crate::call::{Answer, at, call, into};
use crate::outcome::Outcome;

/// The file that appears when the last exec has ended.
pub const DONE: &str = "/told/done";

/// The container's own worker has 1.
const PIDS: std::ops::Range<u64> = 2..64;
const LONGEST: Duration = Duration::from_secs(120);

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("an exec that joins: ptrace, its memory, its descriptors", also::CAPABILITIES, look_for).joined(),
        Row::new("an exec that joins, both of user 1000: the same", also::CAPABILITIES, look_for)
            .shape(Shape::User)
            .joined(),
    ]
}

fn look_for(_: &Context) -> Outcome {
    // The reader notices if standard output is gone.
    let _ = std::io::stdout().write_all(b"waiting\n");
    let begin = Instant::now();
    let mut denied = BTreeSet::new();
    while !Path::new(DONE).exists() && begin.elapsed() < LONGEST {
        for (way, answer) in PIDS.flat_map(attempts) {
            match answer {
                Ok(_) => return Outcome::Open(way.to_owned()),
                // No process has this number, or the file does not exist.
                Err(Errno::ESRCH | Errno::ENOENT) => {}
                Err(e) => drop(denied.insert(format!("{e:?}"))),
            }
        }
    }
    match denied.is_empty() {
        true => Outcome::denied("nobody was seen"),
        false => Outcome::denied(denied.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

fn attempts(pid: u64) -> [(&'static str, Answer); 5] {
    const SEIZE: u64 = 0x4206;
    let mut bytes = [0_u8; 8];
    // The program's address differs each time, so the attack tests only whether it may read at all.
    let (ours, theirs) = ([into(&mut bytes), 8], [0x40_0000_u64, 8]);
    let pidfd = call(libc::SYS_pidfd_open, [pid, 0]);
    let stolen = pidfd.and_then(|fd| call(libc::SYS_pidfd_getfd, [fd as u64, 0, 0]));
    let entered = pidfd.and_then(|fd| call(libc::SYS_setns, [fd as u64, libc::CLONE_NEWNS as u64]));
    if let Ok(fd) = pidfd {
        crate::call::close(fd);
    }
    [
        ("ptrace", call(libc::SYS_ptrace, [SEIZE, pid, 0, 0])),
        // EFAULT means that only the address is wrong: the kernel let the reader in.
        ("process_vm_readv", let_in(call(libc::SYS_process_vm_readv, [pid, at(&ours), 1, at(&theirs), 1, 0]))),
        ("pidfd_getfd", stolen),
        ("setns", entered),
        ("/proc/PID/mem", crate::call::open(c"/proc/2/mem", libc::O_RDWR)),
    ]
}

fn let_in(answer: Answer) -> Answer {
    if answer == Err(Errno::EFAULT) { Ok(0) } else { answer }
}
