//! The kernel itself: calls that change the machine, and large interfaces that had holes.

use super::{Row, Shape, also};
use crate::call::{at, call, into, signed, text};
use crate::outcome::Outcome;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::new("bpf", also::CAPABILITIES, |_| {
            // An array map of one entry.
            let attributes = [2_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            Outcome::new([
                ("map", call(libc::SYS_bpf, [0, at(&attributes), 64])),
                ("next program", call(libc::SYS_bpf, [11, at(&attributes), 64])),
            ])
        }),
        Row::new("io_uring_setup", also::NONE, |_| {
            let mut parameters = [0_u64; 15];
            call(libc::SYS_io_uring_setup, [1, into(&mut parameters)]).into()
        }),
        Row::new("perf_event_open: its own", also::CAPABILITIES, |_| {
            let mut attributes = [0_u32; 32];
            (attributes[0], attributes[1]) = (1, 128);
            call(libc::SYS_perf_event_open, [at(&attributes), 0, signed(-1), signed(-1), 0]).into()
        }),
        Row::new("futex: priority inheritance, membarrier: every processor", also::NONE, |_| {
            let own = std::cell::Cell::new(0_u32);
            let word = own.as_ptr() as u64;
            Outcome::new([
                ("lock", call(libc::SYS_futex, [word, libc::FUTEX_LOCK_PI as u64, 0, 0])),
                ("requeue", call(libc::SYS_futex, [word, libc::FUTEX_CMP_REQUEUE_PI as u64, 1, 0, word, 0])),
                ("barrier", call(libc::SYS_membarrier, [libc::MEMBARRIER_CMD_GLOBAL as u64, 0, 0])),
            ])
        }),
        Row::new("add_key, keyctl, request_key: keys", also::KEYRING, keys),
        Row::new("keyctl: a key of the host's session", also::KEYRING, |c| {
            let mut secret = [0_u8; 16];
            const READ: u64 = 11;
            const LINK: u64 = 8;
            Outcome::new([
                ("read", call(libc::SYS_keyctl, [READ, c.number("KEY"), into(&mut secret), 16])),
                ("linked", call(libc::SYS_keyctl, [LINK, c.number("KEY"), signed(-2)])),
            ])
        }),
        Row::new("modules: loaded, unloaded", also::CAPABILITIES, |_| {
            Outcome::new([
                ("init_module", call(libc::SYS_init_module, [text(c"x"), 1, text(c"")])),
                ("finit_module", call(libc::SYS_finit_module, [0, text(c""), 0])),
                ("delete_module", call(libc::SYS_delete_module, [text(c"none"), 0])),
            ])
        }),
        Row::new("kexec, reboot", also::CAPABILITIES, |_| {
            // Sets Ctrl-Alt-Delete to its present value, the harmless one.
            const CAD_OFF: u64 = 0;
            Outcome::new([
                ("kexec_load", call(libc::SYS_kexec_load, [0, 0, 0, 0])),
                ("kexec_file_load", call(libc::SYS_kexec_file_load, [signed(-1), signed(-1), 0, 0, 0])),
                ("reboot", call(libc::SYS_reboot, [0xfee1_dead, 672_274_793, CAD_OFF, 0])),
            ])
        })
        .shape(Shape::HostPid),
        Row::new("reboot: of the pid namespace", also::CAPABILITIES, |_| {
            const CAD_OFF: u64 = 0;
            call(libc::SYS_reboot, [0xfee1_dead, 672_274_793, CAD_OFF, 0]).into()
        }),
        Row::new("swapon, swapoff, acct, quotactl", also::CAPABILITIES, |_| {
            Outcome::new([
                ("swapon", call(libc::SYS_swapon, [text(c"/code"), 0])),
                ("swapoff", call(libc::SYS_swapoff, [text(c"/code")])),
                ("acct", call(libc::SYS_acct, [text(c"/tmp/account")])),
                ("quotactl", call(libc::SYS_quotactl, [0x80_0002 << 8, text(c"/dev/null"), 0, 0])),
                ("quotactl_fd", call(443, [0, 0x80_0002 << 8, 0, 0])),
            ])
        }),
        Row::new("the clock: settimeofday, clock_settime, adjtimex", also::CAPABILITIES, |_| clock()),
        Row::new("syslog: the kernel's messages", also::CAPABILITIES, |_| {
            let mut page = [0_u8; 256];
            Outcome::new([
                ("read", call(libc::SYS_syslog, [3, into(&mut page), 256])),
                ("size", call(libc::SYS_syslog, [10, 0, 0])),
            ])
        }),
        Row::new("fanotify_init: watching files", also::CAPABILITIES, |_| {
            Outcome::new([("fanotify_init", call(libc::SYS_fanotify_init, [0, 0]))])
        }),
        Row::new("inotify_init1: watching what others do in a volume", also::NONE, |_| {
            call(libc::SYS_inotify_init1, [0])
                .and_then(|fd| call(libc::SYS_inotify_add_watch, [fd as u64, text(c"/ro"), 0xfff]))
                .into()
        }),
        Row::new("fcntl: watching a folder (F_NOTIFY)", also::NONE, |_| {
            crate::call::open(c"/ro", libc::O_RDONLY | libc::O_DIRECTORY)
                .and_then(|fd| call(libc::SYS_fcntl, [fd as u64, libc::F_NOTIFY as u64, 0x8000_003f]))
                .into()
        }),
        Row::new("landlock, lsm: rules of its own", also::NONE, |_| {
            Outcome::new([
                ("landlock", call(libc::SYS_landlock_create_ruleset, [at(&[1_u64; 3]), 8, 0])),
                ("lsm_set_self_attr", call(460, [100, 0, 0, 0])),
            ])
        }),
        Row::new("mbind, set_mempolicy: memory of a node", also::NONE, |_| {
            Outcome::new([
                ("set_mempolicy", call(libc::SYS_set_mempolicy, [0, 0, 0])),
                ("mbind", call(libc::SYS_mbind, [0, 0, 0, 0, 0, 0])),
            ])
        }),
        Row::new("cachestat: what others have read", also::NONE, |_| {
            let file = crate::call::open(c"/host/etc/passwd", libc::O_RDONLY).unwrap_or(-1) as u64;
            let (range, mut counts) = ([0_u64, 4096], [0_u64; 5]);
            Outcome::new([("cachestat", call(451, [file, at(&range), into(&mut counts), 0]))])
        }),
    ];
    rows.extend([
        Row::new("shmat: System V memory of the host", also::IPC, |c| {
            Outcome::new([("shmat", call(libc::SYS_shmat, [c.number("SHM"), 0, libc::SHM_RDONLY as u64]))])
        })
        .shape(Shape::Plain),
        Row::new("shmat: System V memory of the host, shared with it", also::NONE, |c| {
            call(libc::SYS_shmat, [c.number("SHM"), 0, libc::SHM_RDONLY as u64]).into()
        })
        .shape(Shape::HostIpc),
        Row::new("msgget, semget, mq_open: in the host's namespace", also::NONE, |_| {
            Outcome::new([
                ("semget", call(libc::SYS_semget, [0x0ca7_a3a2, 1, 0])),
                ("msgget", call(libc::SYS_msgget, [0x0ca7_a3a2, 0])),
                ("shmctl", call(libc::SYS_shmctl, [0, 14, 0])),
                ("mq_open", call(libc::SYS_mq_open, [text(c"catamaran-attack"), (libc::O_RDWR) as u64, 0o600, 0])),
            ])
        })
        .shape(Shape::HostIpc),
    ]);
    rows
}

fn keys(_: &super::Context) -> Outcome {
    const GET_KEYRING: u64 = 0;
    const USER: u64 = signed(-4);
    let all = [
        ("add_key", call(libc::SYS_add_key, [text(c"user"), text(c"attack"), text(c"x"), 1, USER])),
        ("request_key", call(libc::SYS_request_key, [text(c"user"), text(c"catamaran-canary"), 0, 0])),
        ("session", call(libc::SYS_keyctl, [GET_KEYRING, signed(-3), 0])),
    ];
    if let ("add_key", Ok(key)) = all[0] {
        const UNLINK: u64 = 9;
        let _ = call(libc::SYS_keyctl, [UNLINK, key as u64, USER]);
    }
    Outcome::new(all)
}

fn clock() -> Outcome {
    // The present time and tick: a call that gets through must change nothing.
    let mut now = [0_i64; 2];
    let _ = call(libc::SYS_clock_gettime, [0, into(&mut now)]);
    let seconds = [now[0], now[1] / 1000];
    const TICK: u64 = 0x4000;
    let mut adjustment = [0_u64; 32];
    (adjustment[0], adjustment[11]) = (TICK, 10_000);
    Outcome::new([
        ("settimeofday", call(libc::SYS_settimeofday, [at(&seconds), 0])),
        ("clock_settime", call(libc::SYS_clock_settime, [0, at(&now)])),
        ("adjtimex", call(libc::SYS_adjtimex, [into(&mut adjustment)])),
        ("clock_adjtime", call(libc::SYS_clock_adjtime, [0, into(&mut adjustment)])),
    ])
}
