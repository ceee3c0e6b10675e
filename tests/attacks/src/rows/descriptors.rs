//! The worker's open descriptors.

use super::{Row, also};
use crate::attacker::socket;
use crate::call::{at, call, signed, status, text};
use crate::code::ARTIFACT;
use crate::outcome::Outcome;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("descriptors: one that leads outside", also::CLOSED, |_| enumerated()).alone(),
        Row::new("descriptors: a folder to change to", also::CLOSED, |_| {
            Outcome::new((0..4096).map(|fd| ("a folder", call(libc::SYS_fchdir, [fd]))))
        }),
        Row::new("the artifact: written, shortened, linked, changed", also::READ_ONLY, |_| artifact()),
        Row::new("the artifact: a lease that makes others wait", also::NONE, |_| {
            let Some(artifact) = ARTIFACT.get() else { return Outcome::Absent("no artifact".to_owned()) };
            let fd = artifact.fd as u64;
            let lease = |kind: i32| call(libc::SYS_fcntl, [fd, libc::F_SETLEASE as u64, kind as u64]);
            Outcome::new([("write lease", lease(libc::F_WRLCK)), ("read lease", lease(libc::F_RDLCK))])
        }),
        Row::new("the artifact: a lock that others wait for", also::NONE, |_| {
            let Some(artifact) = ARTIFACT.get() else { return Outcome::Absent("no artifact".to_owned()) };
            let fd = artifact.fd as u64;
            // struct flock: kind, whence, start, length, pid.
            let mut lock = [0_u64; 4];
            lock[0] = libc::F_RDLCK as u64;
            Outcome::new([
                ("flock", call(libc::SYS_flock, [fd, libc::LOCK_EX as u64])),
                ("record", call(libc::SYS_fcntl, [fd, libc::F_SETLK as u64, at(&lock)])),
            ])
        }),
        Row::new("the streams: mode and owner of containerd's FIFOs", also::NONE, |_| {
            Outcome::new([1, 2].into_iter().flat_map(|fd| {
                [
                    ("mode", call(libc::SYS_fchmod, [fd, 0o666])),
                    ("owner", call(libc::SYS_fchown, [fd, 1, 1])),
                    ("attribute", call(libc::SYS_fsetxattr, [fd, text(c"trusted.x"), text(c"x"), 1, 0])),
                ]
            }))
        }),
        Row::new("the streams: spliced, copied, passed on", also::NONE, |_| {
            let file = crate::call::open(c"/tmp/copy", libc::O_RDWR | libc::O_CREAT).unwrap_or(-1) as u64;
            Outcome::new([
                ("splice", call(libc::SYS_splice, [file, 0, 1, 0, 0, 0])),
                ("tee", call(libc::SYS_tee, [1, 2, 1, 0])),
                ("vmsplice", call(libc::SYS_vmsplice, [1, 0, 0, 0])),
            ])
        }),
    ]
}

/// Looks at every open descriptor's kind: only the streams and the artifact may be there.
fn enumerated() -> Outcome {
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    for fd in 0..4096 {
        if call(libc::SYS_fcntl, [fd, libc::F_GETFD as u64]).is_err() {
            continue;
        }
        let kind = status(fd as i32).map_or(0, |s| s.st_mode & libc::S_IFMT);
        let expected = match kind {
            libc::S_IFIFO => fd < 3,
            libc::S_IFCHR => fd == 0,
            libc::S_IFREG => ARTIFACT.get().is_some_and(|a| a.fd == fd as i32),
            _ => false,
        };
        let name = match kind {
            libc::S_IFIFO => "FIFO",
            libc::S_IFCHR => "device",
            libc::S_IFREG => "file",
            libc::S_IFDIR => "folder",
            libc::S_IFSOCK => "socket",
            _ => "other",
        };
        let list = if expected { &mut found } else { &mut wrong };
        list.push(format!("{fd} {name}"));
    }
    if wrong.is_empty() { Outcome::denied(found.join(", ")) } else { Outcome::Open(wrong.join(", ")) }
}

fn artifact() -> Outcome {
    let Some(artifact) = ARTIFACT.get() else { return Outcome::Absent("no artifact".to_owned()) };
    let fd = artifact.fd as u64;
    let empty = libc::AT_EMPTY_PATH as u64;
    let times = [1_i64, 0, 1, 0];
    Outcome::new([
        ("write", call(libc::SYS_pwrite64, [fd, text(c"x"), 1, 0])),
        ("shortened", call(libc::SYS_ftruncate, [fd, 0])),
        ("hole", call(libc::SYS_fallocate, [fd, 3, 0, 4096])),
        ("mode", call(libc::SYS_fchmod, [fd, 0o666])),
        ("owner", call(libc::SYS_fchown, [fd, 1, 1])),
        ("times", call(libc::SYS_utimensat, [fd, 0, at(&times), 0])),
        ("opened anew", call(libc::SYS_openat, [fd, text(c""), libc::O_RDWR as u64])),
        ("linked", call(libc::SYS_linkat, [fd, text(c""), crate::call::HERE, text(c"/tmp/artifact"), empty])),
        ("shared mapping", call(libc::SYS_mmap, [0, 4096, 2, libc::MAP_SHARED as u64, fd, 0])),
        ("its folder", call(libc::SYS_openat, [fd, text(c".."), libc::O_PATH as u64])),
        ("flags", call(libc::SYS_ioctl, [fd, 0x4008_6602, at(&0_u64)])),
        ("socket", socket().map_or(Err(nix::errno::Errno::EBADF), |_| Ok(0))),
        ("seals", call(libc::SYS_fcntl, [fd, 1033, signed(-1)])),
    ])
}
