//! System calls that do one thing or another, as an argument says: the few commands of each that a worker has a use for.
//!
//! The engines, the C library and a guest's calls need these. Any other fails with ENOSYS, as if the kernel had no such call.

use nix::libc;

use super::rules::{allow, equals, int, of_int};
use crate::filter::Calls;

/// The commands of fcntl(2) for a descriptor's own flags and copies. Each line has the bits that the filter ignores, and the
/// value of the others. F_SETOWN and F_SETSIG are missing, because a stream that becomes ready would then send any signal to any
/// process in sight. Leases, locks and F_NOTIFY are missing, because they make other processes wait or watch them.
const DESCRIPTOR: [(libc::c_int, libc::c_int); 3] = [
    // And F_GETFD, F_SETFD and F_GETFL.
    (3, libc::F_DUPFD),
    (0, libc::F_SETFL),
    (0, libc::F_DUPFD_CLOEXEC),
];

/// Waiting and waking, from which locks and threads are made. The priority-inheriting locks (FUTEX_LOCK_PI and its kin) and the
/// commands that move waiters from one word to another are missing: no lock here uses either, and attackers got into the kernel
/// by both more than once.
const FUTEX: [(libc::c_int, libc::c_int); 3] = [
    // And FUTEX_WAKE.
    (FUTEX_MANNERS | 1, libc::FUTEX_WAIT),
    (FUTEX_MANNERS, libc::FUTEX_WAIT_BITSET),
    (FUTEX_MANNERS, libc::FUTEX_WAKE_BITSET),
];
/// The flags that go with any futex command.
const FUTEX_MANNERS: libc::c_int = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;

/// Giving memory back, its page size, and a thread's guard pages. Not MADV_REMOVE, which makes holes in files, and not
/// MADV_MERGEABLE, which reveals equal pages of other processes.
const ADVICE: [(libc::c_int, libc::c_int); 4] = [
    (0, libc::MADV_DONTNEED),
    (0, libc::MADV_FREE),
    // And MADV_NOHUGEPAGE.
    (1, libc::MADV_HUGEPAGE),
    // And MADV_GUARD_REMOVE.
    (1, MADV_GUARD_INSTALL),
];
/// linux/mman.h, since Linux 6.13.
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// The bits of barriers among this process's own threads, which the engines need; with none of them the call asks which barriers
/// there are. The other barriers interrupt every processor of the node. The kernel refuses two bits at once.
const BARRIERS: libc::c_int = libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED
    | libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED
    | libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE
    | libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE;

/// Allows these calls.
pub(super) fn add(calls: &mut Calls) {
    for (either, command) in DESCRIPTOR {
        allow(calls, libc::SYS_fcntl, &[of_int(1, either, command)]);
    }
    for (either, command) in FUTEX {
        allow(calls, libc::SYS_futex, &[of_int(1, either, command)]);
    }
    for (either, advice) in ADVICE {
        allow(calls, libc::SYS_madvise, &[of_int(2, either, advice)]);
    }
    allow(calls, libc::SYS_membarrier, &[of_int(0, BARRIERS, 0), int(1, 0)]);
    // Allocating room for a file. Neither punching holes in it, nor cutting out or shifting its parts.
    allow(calls, libc::SYS_fallocate, &[int(1, 0)]);
    allow(calls, libc::SYS_prctl, &[equals(0, libc::PR_SET_NAME as u64)]);
    // Reading its own limits, as the C library does for a thread's stack.
    allow(calls, libc::SYS_prlimit64, &[equals(0, 0), equals(2, 0)]);
    for request in [libc::FIONBIO, libc::FIONREAD, libc::TCGETS, libc::TIOCGWINSZ] {
        allow(calls, libc::SYS_ioctl, &[equals(1, request)]);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Condvar, Mutex};
    use std::time::Duration;

    use super::super::sockets::tests::{REFUSED, call, restricted};
    use super::*;
    use crate::runner::Needs;

    const THREADS: Needs = Needs { threads: true, sockets: false, accepts: false, connects: false };
    const PAGE: usize = 4096;

    #[test]
    fn locks_threads_and_the_allocator_work_under_the_filter() {
        restricted(THREADS, || {
            let pair = Arc::new((Mutex::new(0), Condvar::new()));
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let pair = pair.clone();
                    std::thread::spawn(move || {
                        // Large enough to be given back to the kernel when it is freed.
                        let large = vec![1_u8; 64 << 20];
                        *pair.0.lock().unwrap() += usize::from(large[large.len() - 1]);
                        pair.1.notify_all();
                    })
                })
                .collect();
            let (count, wait) = (pair.0.lock().unwrap(), Duration::from_secs(30));
            let (count, late) = pair.1.wait_timeout_while(count, wait, |count| *count < 4).unwrap();
            assert!(!late.timed_out(), "{count}");
            drop(count);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }

    #[test]
    fn commands_of_system_calls_that_no_engine_uses_are_refused() {
        restricted(THREADS, || {
            let page = vec![0_u8; 2 * PAGE];
            let page = page.as_ptr() as u64;
            let futex = |command: libc::c_int| [page, command as u64, 0, 0, page, 0];
            let advice = |advice: libc::c_int| [page, 0, advice as u64, 0, 0, 0];
            for (name, number, arguments) in [
                ("FUTEX_LOCK_PI", libc::SYS_futex, futex(libc::FUTEX_LOCK_PI)),
                ("FUTEX_UNLOCK_PI", libc::SYS_futex, futex(libc::FUTEX_UNLOCK_PI)),
                ("FUTEX_TRYLOCK_PI", libc::SYS_futex, futex(libc::FUTEX_TRYLOCK_PI | libc::FUTEX_PRIVATE_FLAG)),
                ("FUTEX_WAIT_REQUEUE_PI", libc::SYS_futex, futex(libc::FUTEX_WAIT_REQUEUE_PI)),
                ("FUTEX_CMP_REQUEUE_PI", libc::SYS_futex, futex(libc::FUTEX_CMP_REQUEUE_PI)),
                ("FUTEX_REQUEUE", libc::SYS_futex, futex(libc::FUTEX_REQUEUE)),
                ("FUTEX_WAKE_OP", libc::SYS_futex, futex(libc::FUTEX_WAKE_OP)),
                ("futex_waitv", libc::SYS_futex_waitv, [page, 1, 0, 0, 0, 0]),
                ("MADV_REMOVE", libc::SYS_madvise, advice(libc::MADV_REMOVE)),
                ("MADV_MERGEABLE", libc::SYS_madvise, advice(libc::MADV_MERGEABLE)),
                ("MADV_WIPEONFORK", libc::SYS_madvise, advice(libc::MADV_WIPEONFORK)),
                ("MADV_PAGEOUT", libc::SYS_madvise, advice(libc::MADV_PAGEOUT)),
                ("MADV_HWPOISON", libc::SYS_madvise, advice(libc::MADV_HWPOISON)),
                ("a barrier of all processors", libc::SYS_membarrier, [1, 0, 0, 0, 0, 0]),
                ("a barrier on one processor", libc::SYS_membarrier, [8, 1, 0, 0, 0, 0]),
                ("a hole in a file", libc::SYS_fallocate, [1, 3, 0, 4096, 0, 0]),
                ("a file's part cut out", libc::SYS_fallocate, [1, 8, 0, 4096, 0, 0]),
                ("a stream's signal", libc::SYS_fcntl, [1, libc::F_SETOWN as u64, 1, 0, 0, 0]),
                ("a lease", libc::SYS_fcntl, [1, libc::F_SETLEASE as u64, libc::F_RDLCK as u64, 0, 0, 0]),
                ("prlimit64 of another", libc::SYS_prlimit64, [1, 0, 0, 0, 0, 0]),
                ("a terminal's input", libc::SYS_ioctl, [0, libc::TIOCSTI, 0, 0, 0, 0]),
            ] {
                assert_eq!(call(number, arguments), REFUSED, "{name}");
            }
            // The kernel ignores the upper half of the command, and so must the filter.
            let padded = [page, libc::FUTEX_LOCK_PI as u64 | 1 << 32, 0, 0, page, 0];
            assert_eq!(call(libc::SYS_futex, padded), REFUSED);
        });
    }
}
