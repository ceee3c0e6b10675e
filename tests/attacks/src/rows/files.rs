//! Files of the container's own tree that must not be read or written.

use super::{Row, Shape, also};
use crate::call::{Answer, HERE, at, call, close, open, text};
use crate::outcome::Outcome;
use std::ffi::CStr;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::new("/proc/self/mem, exe, root, maps, environ, fd", also::NO_PROCFS, |_| {
            let names = [c"mem", c"exe", c"root", c"cwd", c"maps", c"environ", c"fd/0", c"ns/mnt", c"oom_score_adj"];
            Outcome::new(names.map(|name| ("/proc/self", in_folder(c"/proc/self", name))))
        }),
        Row::new("/proc/1, /proc/thread-self, /proc/sys, /proc/kcore", also::NO_PROCFS, |_| {
            let names = [c"1/mem", c"1/root", c"thread-self/mem", c"sys/kernel/core_pattern", c"kcore", c"kallsyms"];
            Outcome::new(names.map(|name| ("/proc", in_folder(c"/proc", name))))
        }),
        Row::new("a file made in /proc", also::READ_ONLY, |_| open(c"/proc/mem", libc::O_RDWR | libc::O_CREAT).into()),
        Row::new("openat below every open descriptor: proc/self/mem", also::NO_PROCFS, |_| {
            let below = |fd| call(libc::SYS_openat, [fd, text(c"proc/self/mem"), libc::O_RDWR as u64]);
            Outcome::new((0..256).map(|fd| ("a descriptor", below(fd))))
        }),
        Row::new("/dev/fd, /dev/stdin: links into /proc", also::NO_PROCFS, |_| {
            let names = [c"fd/1", c"fd/3", c"stdin", c"stdout", c"core"];
            Outcome::new(names.map(|name| ("/dev", in_folder(c"/dev", name))))
        }),
        Row::new("a procfs that a volume brings", also::NO_PROCFS, |_| {
            let names = [c"self/mem", c"self/status", c"1/root", c"1/environ", c"kcore", c"sysrq-trigger"];
            Outcome::new(names.map(|name| ("/host/proc", in_folder(c"/host/proc", name))))
        }),
        Row::new("a read-only volume written to", also::READ_ONLY, |_| written(c"/ro", c"file")),
        Row::new("a single read-only file, as /etc/hosts", also::READ_ONLY, |_| {
            Outcome::new([
                ("write", open(c"/etc/bound", libc::O_WRONLY)),
                ("truncate", call(libc::SYS_truncate, [text(c"/etc/bound"), 0])),
                ("times", touched(c"/etc/bound")),
                ("mode", call(libc::SYS_fchmodat, [HERE, text(c"/etc/bound"), 0o777])),
                ("replaced", renamed(c"/tmp", c"/etc/bound")),
                ("removed", call(libc::SYS_unlinkat, [HERE, text(c"/etc/bound"), 0])),
            ])
        }),
        Row::new("the host's tree, read-only, written to", also::READ_ONLY, |_| {
            Outcome::new([
                ("new", open(c"/host/tmp/catamaran-attack", libc::O_CREAT | libc::O_WRONLY)),
                ("passwd", open(c"/host/etc/passwd", libc::O_WRONLY)),
                ("sysctl", open(c"/host/proc/sys/kernel/core_pattern", libc::O_WRONLY)),
                ("cgroup", open(c"/host/sys/fs/cgroup/cgroup.procs", libc::O_WRONLY)),
                ("cgroup v1", open(c"/host/sys/fs/cgroup/pids/release_agent", libc::O_WRONLY)),
                ("shared memory", open(c"/host/dev/shm/catamaran-attack", libc::O_CREAT | libc::O_WRONLY)),
            ])
        }),
        Row::new("/sys and /sys/fs/cgroup written to", also::READ_ONLY, |_| {
            Outcome::new([
                ("uevent", open(c"/sys/kernel/uevent_helper", libc::O_WRONLY)),
                ("power", open(c"/sys/power/state", libc::O_WRONLY)),
                ("profiling", open(c"/sys/kernel/profiling", libc::O_WRONLY)),
                ("cgroup", open(c"/sys/fs/cgroup/cgroup.procs", libc::O_WRONLY)),
                ("new cgroup", call(libc::SYS_mkdirat, [HERE, text(c"/sys/fs/cgroup/x"), 0o755])),
            ])
        }),
        Row::new("a message queue: a file made in an mqueue", also::READ_ONLY, |_| {
            let made = |path| open(path, libc::O_CREAT | libc::O_RDWR);
            Outcome::new([
                ("the spec's", made(c"/dev/mqueue/catamaran-attack")),
                ("the host's", made(c"/host/dev/mqueue/catamaran-attack")),
            ])
        }),
        Row::new("extended attributes that the kernel or the overlay obeys", also::CAPABILITIES, |_| {
            let attribute = |name: &CStr| call(libc::SYS_setxattr, [text(c"/tmp/own"), text(name), text(c"x"), 1, 0]);
            open(c"/tmp/own", libc::O_CREAT | libc::O_WRONLY).map_or_else(
                |e| Outcome::Denied(format!("{e:?}")),
                |fd| {
                    close(fd);
                    Outcome::new([
                        ("trusted", attribute(c"trusted.overlay.redirect")),
                        ("capability", attribute(c"security.capability")),
                    ])
                },
            )
        }),
        Row::new("a rename or a hard link from mount to mount", also::TREE, |_| {
            Outcome::new([
                ("rename", renamed(c"/data/own", c"/tmp/own")),
                ("link", call(libc::SYS_linkat, [HERE, text(c"/host/etc/passwd"), HERE, text(c"/tmp/passwd"), 0])),
                ("link of /dev/null", call(libc::SYS_linkat, [HERE, text(c"/dev/null"), HERE, text(c"/tmp/null"), 0])),
            ])
        }),
        Row::new("a mount point moved away or removed", also::TREE, |_| {
            Outcome::new([
                ("moved", renamed(c"/proc", c"/elsewhere")),
                ("removed", call(libc::SYS_unlinkat, [HERE, text(c"/proc"), libc::AT_REMOVEDIR as u64])),
                ("replaced", renamed(c"/tmp", c"/dev")),
            ])
        }),
    ];
    rows.push(
        Row::new("a read-only root file system written to", also::READ_ONLY, |_| {
            Outcome::new([
                ("new", open(c"/new", libc::O_CREAT | libc::O_WRONLY)),
                ("module", open(c"/attack.wasm", libc::O_WRONLY)),
                ("folder", call(libc::SYS_mkdirat, [HERE, text(c"/folder"), 0o755])),
                ("times", touched(c"/attack.wasm")),
                ("removed", call(libc::SYS_unlinkat, [HERE, text(c"/attack.wasm"), 0])),
                (
                    "nameless",
                    call(libc::SYS_openat, [HERE, text(c"/"), (libc::O_TMPFILE | libc::O_RDWR) as u64, 0o600]),
                ),
            ])
        })
        .shape(Shape::ReadOnly),
    );
    rows.push(
        Row::new("files of root's, as an ordinary user", also::USER, |_| {
            Outcome::new([
                ("shadow", open(c"/host/etc/shadow", libc::O_RDONLY)),
                ("module", open(c"/attack.wasm", libc::O_WRONLY)),
                ("given away", call(libc::SYS_fchownat, [HERE, text(c"/data"), 0, 0, 0])),
                ("mode", call(libc::SYS_fchmodat, [HERE, text(c"/attack.wasm"), 0o777])),
            ])
        })
        .shape(Shape::User),
    );
    rows
}

pub(super) fn in_folder(folder: &CStr, name: &CStr) -> Answer {
    let path = [folder.to_bytes(), b"/", name.to_bytes_with_nul()].concat();
    let path = CStr::from_bytes_with_nul(&path).map_err(|_| nix::errno::Errno::EINVAL)?;
    // Opening for reading shows enough: root needs no more rights to write than to read.
    open(path, libc::O_RDONLY | libc::O_NONBLOCK)
}

fn renamed(from: &CStr, to: &CStr) -> Answer {
    call(libc::SYS_renameat2, [HERE, text(from), HERE, text(to), 0])
}

pub(super) fn touched(path: &CStr) -> Answer {
    let times = [1_i64, 0, 1, 0];
    call(libc::SYS_utimensat, [HERE, text(path), at(&times), 0])
}

/// Tries every call that changes a folder or a file in it.
fn written(folder: &CStr, file: &CStr) -> Outcome {
    let path = |name: &CStr| [folder.to_bytes(), b"/", name.to_bytes_with_nul()].concat();
    let (file, new) = (path(file), path(c"new"));
    let (file, new) = (at(&file[0]), at(&new[0]));
    let flags = (libc::O_WRONLY | libc::O_CREAT) as u64;
    let times = [1_i64, 0, 1, 0];
    Outcome::new([
        ("open", call(libc::SYS_openat, [HERE, file, libc::O_WRONLY as u64])),
        ("create", call(libc::SYS_openat, [HERE, new, flags, 0o600])),
        ("truncate", call(libc::SYS_truncate, [file, 0])),
        ("folder", call(libc::SYS_mkdirat, [HERE, new, 0o755])),
        ("link", call(libc::SYS_symlinkat, [text(c"/"), HERE, new])),
        ("hard link", call(libc::SYS_linkat, [HERE, file, HERE, new, 0])),
        ("rename", call(libc::SYS_renameat2, [HERE, file, HERE, new, 0])),
        ("remove", call(libc::SYS_unlinkat, [HERE, file, 0])),
        ("mode", call(libc::SYS_fchmodat, [HERE, file, 0o777])),
        ("owner", call(libc::SYS_fchownat, [HERE, file, 1, 1, 0])),
        ("times", call(libc::SYS_utimensat, [HERE, file, at(&times), 0])),
        ("attribute", call(libc::SYS_setxattr, [file, text(c"user.x"), text(c"x"), 1, 0])),
    ])
}
