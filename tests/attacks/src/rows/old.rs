//! Obsolete interfaces: 32-bit calls, x32 numbers, calls that hardly any kernel has.

use super::{Row, also};
#[cfg(target_arch = "x86_64")]
use crate::call::text;
use crate::call::{at, call};
use crate::outcome::Outcome;

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn rows() -> Vec<Row> {
    vec![numbers()]
}

#[cfg(target_arch = "x86_64")]
pub(super) fn rows() -> Vec<Row> {
    /// The bit of an x32 call's number.
    const X32: i64 = 0x4000_0000;
    vec![
        numbers(),
        Row::new("int 0x80: the calls of 32-bit programs", also::NONE, |_| {
            // getpid is enough to show that the gate is open. Behind it execve has the number 11.
            match crate::call::through_the_old_gate(20) {
                pid if pid > 0 => Outcome::Open(format!("the gate answered {pid}")),
                e => Outcome::Denied(format!("{:?}", nix::errno::Errno::from_raw(-e))),
            }
        }),
        Row::new("x32: calls by their other numbers", also::KERNEL, |_| {
            let code = (libc::PROT_READ | libc::PROT_EXEC) as u64;
            let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
            Outcome::new([
                ("mmap", call(X32 | libc::SYS_mmap, [0, 4096, code, private, u64::MAX, 0])),
                ("execve", call(X32 | 520, [text(c"/attacker"), 0, 0])),
                ("ptrace", call(X32 | 521, [0])),
                ("socket", call(X32 | libc::SYS_socket, [2, 1, 0])),
            ])
        }),
        Row::new("iopl, ioperm: the machine's ports", also::CAPABILITIES, |_| {
            Outcome::new([("iopl", call(libc::SYS_iopl, [3])), ("ioperm", call(libc::SYS_ioperm, [0x80, 1, 1]))])
        }),
        Row::new("old calls: _sysctl, nfsservctl, lookup_dcookie, sysfs, ustat, create_module", also::KERNEL, |_| {
            Outcome::new([
                ("_sysctl", call(libc::SYS__sysctl, [0])),
                ("nfsservctl", call(libc::SYS_nfsservctl, [0, 0, 0])),
                ("lookup_dcookie", call(212, [0, 0, 0])),
                ("create_module", call(174, [text(c"x"), 4096])),
                ("get_kernel_syms", call(177, [0])),
                ("query_module", call(178, [0])),
                ("tuxcall", call(184, [0])),
                ("afs_syscall", call(183, [0])),
                ("epoll_ctl_old", call(214, [0])),
                ("vserver", call(236, [0])),
            ])
        }),
        Row::new("vhangup", also::CAPABILITIES, |_| call(libc::SYS_vhangup, []).into()),
    ]
}

/// Tries every number of the table and well past it: the filter must not let through a call that the kernel does not know.
fn numbers() -> Row {
    Row::new("numbers that no call has yet", also::KERNEL, |_| {
        let zeros = [0_u64; 8];
        let beyond = (480..700).chain([0x3fff_ffff, -1]);
        Outcome::new(beyond.map(|number| ("a call", call(number, [at(&zeros), 0, 0, 0, 0, 0]))))
    })
}
