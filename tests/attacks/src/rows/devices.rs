//! Device nodes: made, found, changed.

use super::{Row, also};
use crate::call::{Answer, HERE, at, call, open, text};
use crate::outcome::Outcome;

/// /dev/mem, and the first disk.
const MEMORY: u64 = 1 << 8 | 1;
const DISK: u64 = 8 << 8;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("mknod: a character device", also::CAPABILITIES, |_| {
            made(c"/tmp/mem", libc::S_IFCHR, MEMORY).and_then(|_| open(c"/tmp/mem", libc::O_RDONLY)).into()
        }),
        Row::new("mknod: a block device", also::CAPABILITIES, |_| {
            made(c"/tmp/disk", libc::S_IFBLK, DISK).and_then(|_| open(c"/tmp/disk", libc::O_RDONLY)).into()
        }),
        Row::new("mknod: a device in a volume", also::CAPABILITIES, |_| {
            made(c"/data/mem", libc::S_IFCHR, MEMORY).into()
        }),
        Row::new("mknod: a FIFO, a socket", also::LANDLOCK, |_| {
            Outcome::new([
                ("FIFO", made(c"/tmp/fifo", libc::S_IFIFO, 0)),
                ("socket", made(c"/tmp/sock", libc::S_IFSOCK, 0)),
            ])
        }),
        Row::new("device nodes of an image and of a volume", also::NODEV, |_| {
            Outcome::new(
                [c"/node-null", c"/node-mem", c"/data/node-null", c"/data/node-mem", c"/data/node-disk"]
                    .map(|path| ("a node", open(path, libc::O_RDONLY | libc::O_NONBLOCK))),
            )
        }),
        Row::new("the host's devices, by the host's tree", also::NODEV, |_| {
            Outcome::new(
                [c"null", c"mem", c"kmsg", c"fuse", c"kvm", c"tty", c"ptmx", c"loop-control", c"net/tun"]
                    .map(|name| ("a node", super::files::in_folder(c"/host/dev", name))),
            )
        }),
        Row::new("devices that other runtimes give a container", also::TREE, |_| {
            Outcome::new(
                [c"tty", c"console", c"ptmx", c"pts/0", c"mem", c"kmsg", c"fuse", c"kvm", c"sda", c"net/tun"]
                    .map(|name| ("a node", super::files::in_folder(c"/dev", name))),
            )
        }),
        Row::new("/dev/null: mode, owner, times of the host's node", also::READ_ONLY, |_| {
            let node = c"/dev/null";
            let fd = open(node, libc::O_RDWR);
            let of = |number: i64, more: [u64; 2]| fd.and_then(|fd| call(number, [fd as u64, more[0], more[1]]));
            let times = [1_i64, 0, 1, 0];
            Outcome::new([
                ("fchmod", of(libc::SYS_fchmod, [0o600, 0])),
                ("fchown", of(libc::SYS_fchown, [1, 1])),
                ("futimens", fd.and_then(|fd| call(libc::SYS_utimensat, [fd as u64, 0, at(&times), 0]))),
                ("fchmodat", call(libc::SYS_fchmodat, [HERE, text(node), 0o600])),
                ("utimensat", super::files::touched(node)),
                ("replaced", call(libc::SYS_unlinkat, [HERE, text(c"/dev/null"), 0])),
            ])
        }),
        Row::new("the stream from /dev/null: mode, owner, times", also::READ_ONLY, |_| {
            let times = [1_i64, 0, 1, 0];
            Outcome::new([
                ("fchmod", call(libc::SYS_fchmod, [0, 0o600])),
                ("fchown", call(libc::SYS_fchown, [0, 1, 1])),
                ("futimens", call(libc::SYS_utimensat, [0, 0, at(&times), 0])),
            ])
        }),
        Row::new("ioctl: of a terminal (TIOCSTI, TIOCLINUX, TIOCSCTTY)", also::TREE, |_| {
            const TIOCLINUX: u64 = 0x541c;
            let byte = *b"x";
            let subcode = [2_u8, 0];
            Outcome::new((0..3).flat_map(|fd| {
                [
                    ("TIOCSTI", call(libc::SYS_ioctl, [fd, libc::TIOCSTI, at(&byte)])),
                    ("TIOCLINUX", call(libc::SYS_ioctl, [fd, TIOCLINUX, at(&subcode)])),
                    ("TIOCSCTTY", call(libc::SYS_ioctl, [fd, libc::TIOCSCTTY, 1])),
                    ("TIOCSTI, padded", call(libc::SYS_ioctl, [fd, 1 << 32 | libc::TIOCSTI, at(&byte)])),
                ]
            }))
        }),
        Row::new("ioctl: RNDADDENTROPY and others of /dev/random", also::CAPABILITIES, |_| {
            const CLEAR_POOL: u64 = 0x5206;
            const ADD_TO_COUNT: u64 = 0x4004_5201;
            open(c"/dev/random", libc::O_RDWR).map_or_else(
                |e| Outcome::Denied(format!("{e:?}")),
                |fd| {
                    Outcome::new([
                        ("clear", call(libc::SYS_ioctl, [fd as u64, CLEAR_POOL])),
                        ("count", call(libc::SYS_ioctl, [fd as u64, ADD_TO_COUNT, at(&64_i32)])),
                    ])
                },
            )
        }),
    ]
}

fn made(path: &std::ffi::CStr, kind: libc::mode_t, device: u64) -> Answer {
    call(libc::SYS_mknodat, [HERE, text(path), u64::from(kind | 0o666), device])
}
