//! Mounts and namespaces: ways out of the tree, or to a larger tree.

use super::{Row, Shape, also};
use crate::call::{Answer, HERE, at, call, close, open, signed, text};
use crate::outcome::Outcome;

const OPEN_TREE_CLONE: u64 = 1;
const RECURSIVE: u64 = 0x8000;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::new("mount: a procfs", also::CAPABILITIES, |_| {
            Outcome::new([
                ("proc", call(libc::SYS_mount, [text(c"proc"), text(c"/tmp"), text(c"proc"), 0, 0])),
                ("at /proc", call(libc::SYS_mount, [text(c"proc"), text(c"/proc"), text(c"proc"), 0, 0])),
                ("fsopen", call(libc::SYS_fsopen, [text(c"proc"), 0])),
            ])
        }),
        Row::new("mount: devtmpfs, sysfs, cgroup, tmpfs", also::CAPABILITIES, |_| {
            Outcome::new(
                [c"devtmpfs", c"sysfs", c"cgroup2", c"tmpfs"]
                    .map(|kind| ("a mount", call(libc::SYS_mount, [text(kind), text(c"/tmp"), text(kind), 0, 0]))),
            )
        }),
        Row::new("mount: a read-only volume made writable", also::CAPABILITIES, |_| {
            let writable = [0_u64, 1, 0, 0];
            let flags = libc::MS_REMOUNT | libc::MS_BIND;
            let empty = libc::AT_EMPTY_PATH as u64;
            Outcome::new([
                ("remount", call(libc::SYS_mount, [0, text(c"/ro"), 0, flags, 0])),
                ("mount_setattr", call(libc::SYS_mount_setattr, [HERE, text(c"/ro"), 0, at(&writable), 32])),
                (
                    "mount_setattr of the root",
                    call(libc::SYS_mount_setattr, [HERE, text(c""), empty, at(&writable), 32]),
                ),
            ])
        }),
        Row::new("umount: what covers /proc and the masked paths", also::CAPABILITIES, |_| {
            Outcome::new(
                [c"/proc", c"/sys", c"/sys/firmware", c"/dev", c"/host"]
                    .map(|place| ("a place", call(libc::SYS_umount2, [text(place), libc::MNT_DETACH as u64]))),
            )
        }),
        Row::new("pivot_root, chroot", also::CAPABILITIES, |_| {
            Outcome::new([
                ("pivot_root", call(libc::SYS_pivot_root, [text(c"/host"), text(c"/host/tmp")])),
                ("chroot", call(libc::SYS_chroot, [text(c"/tmp")])),
            ])
        }),
        Row::new("open_tree, open_tree_attr, move_mount: a copy of the tree", also::CAPABILITIES, |_| {
            let flags = OPEN_TREE_CLONE | RECURSIVE;
            let writable = [0_u64, 1, 0, 0];
            Outcome::new([
                ("open_tree", call(libc::SYS_open_tree, [HERE, text(c"/"), flags])),
                ("open_tree_attr", call(467, [HERE, text(c"/ro"), OPEN_TREE_CLONE, at(&writable), 32])),
                ("move_mount", call(libc::SYS_move_mount, [HERE, text(c"/ro"), HERE, text(c"/tmp"), 0])),
            ])
        }),
        Row::new("fsopen, fspick: a file system of its own", also::CAPABILITIES, |_| {
            Outcome::new([
                ("fsopen", call(libc::SYS_fsopen, [text(c"tmpfs"), 0])),
                ("fspick", call(libc::SYS_fspick, [HERE, text(c"/"), 0])),
                ("fsmount", call(libc::SYS_fsmount, [0, 0, 0])),
            ])
        }),
        Row::new("statmount, listmount: a table of mounts", also::NONE, |_| host_mounts()),
        Row::new("unshare: a user namespace, with all capabilities in it", also::NONE, |_| {
            call(libc::SYS_unshare, [libc::CLONE_NEWUSER as u64]).into()
        }),
        Row::new("clone: a user namespace", also::NONE, |_| {
            crate::call::twice(libc::SYS_clone, [(libc::CLONE_NEWUSER | libc::SIGCHLD) as u64, 0]).into()
        }),
        Row::new("unshare: every other namespace", also::CAPABILITIES, |_| {
            const CLONE_NEWTIME: i32 = 0x80;
            let kinds = [
                ("mount", libc::CLONE_NEWNS),
                ("network", libc::CLONE_NEWNET),
                ("pid", libc::CLONE_NEWPID),
                ("ipc", libc::CLONE_NEWIPC),
                ("uts", libc::CLONE_NEWUTS),
                ("cgroup", libc::CLONE_NEWCGROUP),
                ("time", CLONE_NEWTIME),
            ];
            Outcome::new(kinds.map(|(name, kind)| (name, call(libc::SYS_unshare, [kind as u64]))))
        }),
        Row::new("clone: a thread with a namespace of its own", also::CAPABILITIES, |_| {
            let thread = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
            let kinds = [libc::CLONE_NEWNET, libc::CLONE_NEWUTS, libc::CLONE_NEWIPC, libc::CLONE_NEWCGROUP];
            // Without a stack the child would end at once, and take the process along.
            Outcome::new(kinds.map(|kind| ("a namespace", call(libc::SYS_clone, [(thread | kind) as u64, 0]))))
        }),
        Row::new("setns: with every open descriptor", also::CAPABILITIES, |_| {
            Outcome::new((0..256).map(|fd| ("a descriptor", call(libc::SYS_setns, [fd, 0]))))
        }),
        Row::new("setns: the host's mount namespace, by its file", also::NO_PROCFS, |_| {
            open(c"/host/proc/1/ns/mnt", libc::O_RDONLY).and_then(|fd| call(libc::SYS_setns, [fd as u64, 0])).into()
        }),
        Row::new("sethostname, setdomainname", also::CAPABILITIES, |_| names()),
    ];
    rows.extend([
        Row::new("unshare: a user namespace, as an ordinary user", also::NONE, |_| {
            call(libc::SYS_unshare, [libc::CLONE_NEWUSER as u64]).into()
        })
        .shape(Shape::User),
        Row::new("sethostname: in the host's network", also::CAPABILITIES, |_| names()).shape(Shape::HostNet),
    ]);
    rows
}

fn names() -> Outcome {
    Outcome::new([
        ("host name", call(libc::SYS_sethostname, [text(c"attacked"), 8])),
        ("domain name", call(libc::SYS_setdomainname, [text(c"attacked"), 8])),
    ])
}

/// A process may list the mounts of its own namespace without any right, and the host's only by that namespace's name.
fn host_mounts() -> Outcome {
    // struct mnt_id_req: size, spare, mount, parameter, namespace.
    let request = [32_u64, u64::MAX, 0, 0];
    let mut ids = [0_u64; 16];
    let listed: Answer = call(458, [at(&request), crate::call::into(&mut ids), 16, 0]);
    let picked = open(c"/host/proc/1/ns/mnt", libc::O_RDONLY).inspect(|fd| close(*fd));
    Outcome::new([("listmount", listed), ("its namespace", picked), ("statmount", call(457, [signed(-1), 0, 0, 0]))])
}
