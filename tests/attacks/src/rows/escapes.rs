//! Ways out of the tree by names: `..`, links, handles.

use super::{Row, also};
use crate::call::{Answer, HERE, at, call, close, into, open, signed, text};
use crate::outcome::Outcome;
use std::ffi::CStr;

/// The path of a file that only the host has; the environment has it as `SECRET`.
fn secret(context: &super::Context) -> Vec<u8> {
    [context.text("SECRET").as_bytes(), &[0]].concat()
}

fn reads(path: &[u8]) -> Answer {
    call(libc::SYS_openat, [HERE, at(&path[0]), (libc::O_RDONLY | libc::O_CLOEXEC) as u64])
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("..: from the root, the volumes and the working folder", also::TREE, |c| {
            let secret = secret(c);
            let up = b"../".repeat(60);
            let path = |from: &[u8]| [from, &up, &secret[1..]].concat();
            Outcome::new([
                ("root", reads(&path(b"/"))),
                ("working folder", reads(&path(b""))),
                ("volume", reads(&path(b"/data/"))),
                ("read-only volume", reads(&path(b"/ro/"))),
                ("/proc", reads(&path(b"/proc/"))),
                ("/dev/shm", reads(&path(b"/dev/shm/"))),
            ])
        }),
        Row::new("links of the image and of volumes to the host's files", also::TREE, |_| {
            let links = [c"/link-absolute", c"/link-relative", c"/data/link-absolute", c"/data/link-relative"];
            Outcome::new(links.map(|link| ("a link", open(link, libc::O_RDONLY))))
        }),
        Row::new("links that the attacker makes itself", also::TREE, |c| {
            let secret = secret(c);
            let make = |place: &CStr, target: &[u8]| {
                call(libc::SYS_symlinkat, [at(&target[0]), HERE, text(place)])?;
                open(place, libc::O_RDONLY)
            };
            let relative = [&b"../".repeat(40)[..], &secret[1..]].concat();
            Outcome::new([
                ("absolute", make(c"/tmp/own-absolute", &secret)),
                ("relative", make(c"/data/own-relative", &relative)),
                ("to /proc", make(c"/tmp/own-proc", b"/proc/self/root\0")),
            ])
        }),
        Row::new("the host's file by its own name", also::TREE, |c| reads(&secret(c)).into()),
        Row::new("openat2 and O_PATH: above the root", also::TREE, |c| {
            let secret = secret(c);
            let up = open(c"/..", libc::O_PATH).and_then(|fd| {
                let up = call(libc::SYS_openat, [fd as u64, text(c".."), libc::O_PATH as u64])?;
                call(libc::SYS_openat, [up as u64, at(&secret[1]), 0])
            });
            // struct open_how: without restrictions of the resolution.
            let how = [0_u64; 3];
            let path = [&b"../../../.."[..], &secret].concat();
            Outcome::new([("O_PATH", up), ("openat2", call(libc::SYS_openat2, [HERE, at(&path[0]), at(&how), 24]))])
        }),
        Row::new("chroot and out of it", also::CAPABILITIES, |c| {
            let _ = call(libc::SYS_mkdirat, [HERE, text(c"/tmp/inner"), 0o755]);
            let outer = open(c"/", libc::O_RDONLY | libc::O_DIRECTORY);
            let out = call(libc::SYS_chroot, [text(c"/tmp/inner")]).and_then(|_| {
                call(libc::SYS_fchdir, [outer? as u64])?;
                for _ in 0..60 {
                    call(libc::SYS_chdir, [text(c"..")])?;
                }
                reads(&secret(c)[1..])
            });
            out.into()
        })
        .alone(),
        Row::new("open_by_handle_at: the host's root by a guessed handle", also::CAPABILITIES, |_| by_handle()),
        Row::new("name_to_handle_at: the inode numbers of the tree", also::NONE, |_| {
            let mut handle = [0_u32; 34];
            handle[0] = 128;
            let mut mount = 0_i32;
            call(libc::SYS_name_to_handle_at, [HERE, text(c"/"), into(&mut handle), into(&mut mount), 0]).into()
        }),
        Row::new("a working folder or a descriptor above the tree", also::TREE, |c| {
            let secret = secret(c);
            Outcome::new((0..256).map(|fd| {
                let up = call(libc::SYS_openat, [fd, text(c".."), (libc::O_PATH | libc::O_DIRECTORY) as u64]);
                // A stream or a file has no `..`; the `..` of a folder must not be a folder of the host.
                ("a descriptor", up.and_then(|up| call(libc::SYS_openat, [up as u64, at(&secret[1]), 0])))
            }))
        }),
        Row::new("the host's sockets, by the host's tree", also::NONE, |c| {
            let path = c.text("CONTAINERD").as_bytes();
            super::network::connect(&[&b"/host"[..], path].concat(), false).into()
        }),
    ]
}

/// The way by which a container could read the host's files in 2014: the root's inode is 2 on most file systems.
fn by_handle() -> Outcome {
    let here = open(c"/", libc::O_RDONLY | libc::O_DIRECTORY);
    let host = open(c"/host", libc::O_RDONLY | libc::O_DIRECTORY);
    // struct file_handle: 8 bytes, of FILEID_INO32_GEN: inode and generation.
    let handle = [8_u32, 1, 2, 0];
    let by = |mount: Answer| {
        call(
            libc::SYS_open_by_handle_at,
            [mount.map_or(signed(-1), |fd| fd as u64), at(&handle), libc::O_RDONLY as u64],
        )
    };
    let outcome = Outcome::new([("by the root", by(here)), ("by a volume", by(host))]);
    [here, host].into_iter().flatten().for_each(close);
    outcome
}
