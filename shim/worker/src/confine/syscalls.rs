//! The system calls that are allowed to a worker once its machine code is mapped, and to a compile process. Any other fails with
//! ENOSYS, as on a kernel that does not have it, so that a library falls back instead of dying.
//!
//! The missing calls are the point: no exec, no new process (threads only), no socket unless the module has a use for it
//! (`sockets.rs`, and `accepts.rs` for a server), no mount, no namespace, no ptrace, no keyring, no bpf, no io_uring, no
//! userfaultfd; and no call that makes memory executable. A guest that takes over its worker has the worker's code, and no way
//! to more.
#![allow(unsafe_code, reason = "seccomp(2) has no safe form; the call has its SAFETY comment")]

use std::io;

use super::rules::{allow, equals, is};
use super::{ConfineError, accepts, commands, connects, sockets, step};
use crate::filter::{self, Calls, Verdict};
use crate::job::{Instruction, Profile};
use crate::runner::Needs;
use nix::libc;

/// The calls that are allowed whatever their arguments.
#[rustfmt::skip]
const ALLOWED: &[i64] = &[
    // Open descriptors.
    libc::SYS_read, libc::SYS_readv, libc::SYS_pread64, libc::SYS_preadv, libc::SYS_preadv2,
    libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64, libc::SYS_pwritev, libc::SYS_pwritev2,
    libc::SYS_lseek, libc::SYS_close, libc::SYS_dup, libc::SYS_dup3,
    libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_ftruncate, libc::SYS_fadvise64,
    // Files of the container's tree.
    libc::SYS_openat, libc::SYS_openat2, libc::SYS_newfstatat, libc::SYS_fstat, libc::SYS_statx, libc::SYS_fstatfs,
    libc::SYS_getdents64, libc::SYS_mkdirat, libc::SYS_unlinkat, libc::SYS_renameat2, libc::SYS_linkat,
    libc::SYS_symlinkat, libc::SYS_readlinkat, libc::SYS_utimensat, libc::SYS_faccessat, libc::SYS_faccessat2,
    // Waiting.
    libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2, libc::SYS_eventfd2, libc::SYS_clock_nanosleep, libc::SYS_nanosleep,
    libc::SYS_restart_syscall, libc::SYS_sched_yield,
    // Time and chance.
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_gettimeofday, libc::SYS_getrandom,
    // Memory; mmap and mprotect are below. Not mremap: code mapped from the artifact would grow over the bytes behind it in
    // the file, the module's data, which its author chose.
    libc::SYS_munmap, libc::SYS_brk,
    // Handlers of its own signals: traps come as signals.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack,
    // Threads, and the process's own ids.
    libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_sched_getaffinity, libc::SYS_getpid, libc::SYS_gettid,
    libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_exit, libc::SYS_exit_group,
];

/// Calls that only x86-64 still has, and that its C library still makes.
#[cfg(target_arch = "x86_64")]
const OLD: &[i64] = &[libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_readlink, libc::SYS_rename, libc::SYS_renameat];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[i64] = &[libc::SYS_renameat];

/// The flags of a clone that shares all that threads share.
const THREAD: u64 =
    (libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD) as u64;

/// The flags that make namespaces, which a thread cannot have, and which need CAP_SYS_ADMIN besides.
const NAMESPACES: u64 = (libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC) as u64
    | (libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNET) as u64;

/// Restricts this thread, and those that it will make, for good: to the list above and, if the spec has a profile, to the calls
/// that the profile allows too.
pub(crate) fn restrict(profile: Option<&Profile>, needs: Needs) -> Result<(), ConfineError> {
    let own = own_program(needs);
    let mut whole = filter::of_this_architecture().to_vec();
    match profile {
        None => whole.extend(own),
        Some(profile) => whole.extend(filter::joined(&profile.program, &own)),
    }
    let log = profile.is_some_and(|p| p.log);
    step("applying the system call filter", install(&whole, log))
}

fn install(program: &[Instruction], log: bool) -> io::Result<()> {
    let mut filter: Vec<_> =
        program.iter().map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
    let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    let flags = if log { libc::SECCOMP_FILTER_FLAG_LOG } else { 0 };
    // SAFETY: the kernel copies `len` instructions from `filter`, which outlives the call, and changes none (seccomp(2)).
    let failed = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if failed != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn own_program(needs: Needs) -> Vec<Instruction> {
    let mut calls = Calls::default();
    for &call in ALLOWED.iter().chain(OLD) {
        allow(&mut calls, call, &[]);
    }
    let not_executable = is(2, libc::PROT_EXEC as u64, 0);
    allow(&mut calls, libc::SYS_mmap, &[not_executable]);
    allow(&mut calls, libc::SYS_mprotect, &[not_executable]);
    commands::add(&mut calls);
    if needs.threads {
        allow(&mut calls, libc::SYS_clone, &[is(0, THREAD | NAMESPACES, THREAD)]);
    }
    // abort().
    allow(&mut calls, libc::SYS_tgkill, &[equals(0, u64::from(std::process::id()))]);
    if needs.sockets {
        sockets::add(&mut calls);
    } else if needs.accepts || needs.connects {
        // `sockets::add` allows all of these.
        sockets::speak(&mut calls);
        if needs.accepts {
            accepts::add(&mut calls);
        }
        if needs.connects {
            connects::add(&mut calls);
        }
    }
    filter::assemble(&calls, Verdict::Errno(libc::ENOSYS as u16))
}

#[cfg(test)]
#[allow(unsafe_code, reason = "the calls that must be refused are made as an attacker would: raw")]
mod tests {
    use super::*;

    /// Makes a raw call, and returns its result or the negative error number.
    fn call(number: i64, arguments: [u64; 6]) -> i64 {
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: every call below is either refused by the filter or changes nothing but memory that it makes itself.
        let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
        if result == -1 { -i64::from(nix::errno::Errno::last_raw()) } else { result }
    }

    const REFUSED: i64 = -(libc::ENOSYS as i64);
    const ANONYMOUS: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;

    fn map(protection: i32) -> i64 {
        call(libc::SYS_mmap, [0, 4096, protection as u64, ANONYMOUS, u64::MAX, 0])
    }

    /// A profile that answers `verdict` to one call and `other` to all others.
    fn profile(call: i64, verdict: u32, other: u32) -> Profile {
        let plain = |code, k| Instruction { code, jt: 0, jf: 0, k };
        let number = plain(0x20, 0);
        let equal = Instruction { code: 0x15, jt: 0, jf: 1, k: call as u32 };
        Profile { program: vec![number, equal, plain(0x06, verdict), plain(0x06, other)], log: false }
    }

    fn restricted_by(profile: Profile, then: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(move || {
            crate::confine::credentials::no_new_privileges().unwrap();
            restrict(Some(&profile), Needs::default()).unwrap();
            then();
        });
        thread.join().unwrap();
    }

    #[test]
    fn the_workers_filter_is_small() {
        // 512 instructions are the room kept for the filter behind a profile, which may need it twice.
        for number in 0..8 {
            let [sockets, accepts, connects] = [0, 1, 2].map(|bit| number >> bit & 1 == 1);
            let program = own_program(Needs { threads: true, sockets, accepts, connects });
            assert!(program.len() <= 512, "{}", program.len());
        }
    }

    #[test]
    fn the_specs_profile_and_the_workers_filter_both_apply() {
        let errno = |number: i32| libc::SECCOMP_RET_ERRNO | number as u32;
        let sched_yield = || call(libc::SYS_sched_yield, [0; 6]);
        // sysinfo is not in our own list: a profile that allows it changes nothing.
        let sysinfo = || call(libc::SYS_sysinfo, [0; 6]);
        restricted_by(profile(libc::SYS_sched_yield, errno(libc::ENOTTY), libc::SECCOMP_RET_ALLOW), move || {
            assert_eq!(sched_yield(), -i64::from(libc::ENOTTY), "the profile denies");
            assert_eq!(sysinfo(), REFUSED, "the own filter denies");
            assert_eq!(map(libc::PROT_EXEC), REFUSED);
            assert!(map(libc::PROT_READ) > 0);
        });
        restricted_by(profile(libc::SYS_sysinfo, errno(libc::EACCES), libc::SECCOMP_RET_LOG), move || {
            assert_eq!(sched_yield(), 0, "logged, and allowed by both");
            assert_eq!(sysinfo(), -i64::from(libc::EACCES), "the profile speaks first");
            assert_eq!(map(libc::PROT_EXEC), REFUSED, "logged by the one, denied by the other");
        });
    }

    #[test]
    fn no_memory_becomes_executable_and_no_process_is_made() {
        // The filter restricts only this thread, and those that it makes.
        let restricted = std::thread::spawn(|| {
            let page = map(libc::PROT_READ | libc::PROT_WRITE);
            assert!(page > 0);
            crate::confine::credentials::no_new_privileges().unwrap();
            restrict(None, Needs { threads: true, ..Needs::default() }).unwrap();
            let page = page as u64;
            assert!(map(libc::PROT_READ | libc::PROT_WRITE) > 0, "plain memory is had");
            for protection in [libc::PROT_EXEC, libc::PROT_READ | libc::PROT_EXEC, 7] {
                assert_eq!(map(protection), REFUSED);
                assert_eq!(call(libc::SYS_mprotect, [page, 4096, protection as u64, 0, 0, 0]), REFUSED);
                // The kernel ignores the upper half of the argument, and so must the filter.
                let padded = protection as u64 | 1 << 32;
                assert_eq!(call(libc::SYS_mprotect, [page, 4096, padded, 0, 0, 0]), REFUSED);
            }
            let file = c"/bin/true".as_ptr() as u64;
            for (name, number, arguments) in [
                ("execve", libc::SYS_execve, [file, 0, 0, 0, 0, 0]),
                ("execveat", libc::SYS_execveat, [0, file, 0, 0, 0, 0]),
                ("fork", libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]),
                ("a user namespace", libc::SYS_clone, [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0]),
                ("clone3", libc::SYS_clone3, [0; 6]),
                ("pkey_mprotect", libc::SYS_pkey_mprotect, [page, 4096, 4, 0, 0, 0]),
                ("socket", libc::SYS_socket, [libc::AF_INET as u64, libc::SOCK_STREAM as u64, 0, 0, 0, 0]),
                ("ptrace", libc::SYS_ptrace, [0; 6]),
                ("process_vm_writev", libc::SYS_process_vm_writev, [1, 0, 0, 0, 0, 0]),
                ("unshare", libc::SYS_unshare, [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0]),
                ("setns", libc::SYS_setns, [0; 6]),
                ("mount", libc::SYS_mount, [0; 6]),
                ("open_tree", libc::SYS_open_tree, [0; 6]),
                ("keyctl", libc::SYS_keyctl, [0; 6]),
                ("bpf", libc::SYS_bpf, [0; 6]),
                ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]),
                ("userfaultfd", libc::SYS_userfaultfd, [0; 6]),
                ("perf_event_open", libc::SYS_perf_event_open, [0; 6]),
                ("memfd_create", libc::SYS_memfd_create, [file, 0, 0, 0, 0, 0]),
                ("personality", libc::SYS_personality, [0; 6]),
                ("shmat", libc::SYS_shmat, [0; 6]),
                ("kill", libc::SYS_kill, [1, 0, 0, 0, 0, 0]),
                ("tgkill of another", libc::SYS_tgkill, [1, 1, 0, 0, 0, 0]),
                ("seccomp", libc::SYS_seccomp, [0; 6]),
                ("mremap", libc::SYS_mremap, [page, 4096, 8192, libc::MREMAP_MAYMOVE as u64, 0, 0]),
            ] {
                assert_eq!(call(number, arguments), REFUSED, "{name}");
            }
            std::thread::spawn(|| assert_eq!(map(libc::PROT_EXEC), REFUSED)).join().unwrap();
        });
        restricted.join().unwrap();
    }
}
