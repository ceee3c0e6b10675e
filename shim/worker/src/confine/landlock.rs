//! Landlock, if the kernel has it (landlock(7)): denies acts that a worker never needs, even if a mount or the system call filter
//! fails to.
//!
//! Nothing in the tree can be executed, and no device, FIFO or socket made in it. From version 4 on, a worker whose module uses
//! no sockets cannot bind or connect one over TCP, nor can a server beyond what its guest was given. From version 5 on, a device
//! that the worker opens takes no ioctl(2) of its own. From version 6 on, the worker cannot signal a process outside, nor reach
//! an abstract unix socket that others made.
#![allow(unsafe_code, reason = "landlock has no safe form in the C library; each call has its SAFETY comment")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use rustix::fs::{Mode, OFlags};

use super::{ConfineError, step};
use crate::runner::Needs;

// linux/landlock.h
const CREATE_RULESET_VERSION: libc::c_ulong = 1;
const RULE_PATH_BENEATH: libc::c_int = 1;
const FS_EXECUTE: u64 = 1 << 0;
const FS_MAKE_CHAR: u64 = 1 << 6;
const FS_MAKE_SOCK: u64 = 1 << 9;
const FS_MAKE_FIFO: u64 = 1 << 10;
const FS_MAKE_BLOCK: u64 = 1 << 11;
const FS_REFER: u64 = 1 << 13;
const FS_IOCTL_DEV: u64 = 1 << 15;
const NET_BIND_TCP: u64 = 1 << 0;
const NET_CONNECT_TCP: u64 = 1 << 1;
const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1 << 0;
const SCOPE_SIGNAL: u64 = 1 << 1;

/// The first version that lets files be renamed from folder to folder: version 1 forbids it.
const FIRST: i64 = 2;

/// `struct landlock_ruleset_attr`.
#[repr(C)]
#[derive(Default)]
struct Ruleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// The first version that knows of TCP.
const FIRST_WITH_TCP: i64 = 4;

/// Restricts this thread, and those that it will make, with the current `/` as its tree. Needs `no_new_privs`.
pub(super) fn restrict() -> Result<(), ConfineError> {
    match version() {
        Some(version) if version >= FIRST => step("restricting the process by Landlock", apply(version)),
        // Without Landlock the other walls stand alone, as SECURITY.md says.
        _ => Ok(()),
    }
}

/// Takes the TCP that the module has no use for from this thread and those that it will make. It is a layer of its own, because
/// the module's needs are known when it is loaded, and all else is restricted before that.
pub(super) fn restrict_tcp(needs: Needs) -> Result<(), ConfineError> {
    let unneeded = match needs {
        Needs { sockets: true, .. } => return Ok(()),
        Needs { connects: true, .. } => NET_BIND_TCP,
        _ => NET_BIND_TCP | NET_CONNECT_TCP,
    };
    match version() {
        Some(version) if version >= FIRST_WITH_TCP => {
            let ruleset = Ruleset { handled_access_net: unneeded, ..Ruleset::default() };
            step("taking TCP away by Landlock", enforce(&ruleset))
        }
        _ => Ok(()),
    }
}

/// Returns Landlock's version in this kernel; None if it is not built in or is switched off.
fn version() -> Option<i64> {
    // SAFETY: with this flag the call takes no structure, and answers a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Ruleset>(), 0, CREATE_RULESET_VERSION)
    };
    Errno::result(version).ok()
}

fn apply(version: i64) -> io::Result<()> {
    let mut ruleset = Ruleset {
        handled_access_fs: FS_EXECUTE | FS_MAKE_CHAR | FS_MAKE_BLOCK | FS_MAKE_FIFO | FS_MAKE_SOCK,
        ..Ruleset::default()
    };
    if version >= 5 {
        ruleset.handled_access_fs |= FS_IOCTL_DEV;
    }
    if version >= 6 {
        ruleset.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
    }
    enforce(&ruleset)
}

/// Adds a layer. Each layer has to allow moving files between folders, the one right that Landlock takes away unasked.
fn enforce(ruleset: &Ruleset) -> io::Result<()> {
    let ruleset = Ruleset { handled_access_fs: ruleset.handled_access_fs | FS_REFER, ..*ruleset };
    let made = make(&ruleset)?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let rule = PathBeneath { allowed_access: FS_REFER, parent_fd: root.as_raw_fd() };
    // SAFETY: the kernel reads the structure of this kind of rule and keeps nothing of it.
    let added = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            made.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0 as libc::c_ulong,
        )
    };
    Errno::result(added)?;
    // SAFETY: the call takes two numbers.
    let restricted = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, made.as_raw_fd(), 0 as libc::c_ulong) };
    Errno::result(restricted)?;
    Ok(())
}

fn make(ruleset: &Ruleset) -> io::Result<OwnedFd> {
    // An older kernel takes the longer structure as long as the fields that it does not know are zero.
    // SAFETY: the kernel reads the structure, whose size is given, and keeps nothing of it.
    let made = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::from_ref(ruleset),
            size_of::<Ruleset>(),
            0 as libc::c_ulong,
        )
    };
    let made = Errno::result(made)?;
    // SAFETY: the call answered a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(made as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;

    #[test]
    fn landlock_denies_what_a_worker_never_does() {
        let Some(version) = version().filter(|v| *v >= FIRST) else {
            // Without Landlock restrict() must not be an error.
            return restrict().unwrap();
        };
        let folder = std::env::temp_dir().join(format!("catamaran-landlock-{}", std::process::id()));
        fs::create_dir_all(folder.join("other")).unwrap();
        let within = folder.clone();
        let restricted = std::thread::spawn(move || {
            crate::confine::credentials::no_new_privileges().unwrap();
            restrict().unwrap();
            restrict_tcp(Needs::default()).unwrap();
            let denied = |result: io::Result<()>| {
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            };
            denied(Command::new("/bin/true").status().map(drop));
            denied(nix::unistd::mkfifo(&within.join("fifo"), nix::sys::stat::Mode::S_IRUSR).map_err(Into::into));
            denied(std::os::unix::net::UnixListener::bind(within.join("socket")).map(drop));
            if version >= 6 {
                let sent = rustix::process::test_kill_process(rustix::process::Pid::INIT);
                assert_eq!(sent, Err(rustix::io::Errno::PERM));
            }
            fs::write(within.join("file"), "x").unwrap();
            fs::rename(within.join("file"), within.join("other/file")).unwrap();
            assert_eq!(fs::read(within.join("other/file")).unwrap(), b"x");
        });
        let outcome = restricted.join();
        fs::remove_dir_all(&folder).unwrap();
        outcome.unwrap();
    }

    #[test]
    fn tcp_is_denied_to_a_module_that_imports_no_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let known = version().is_some_and(|version| version >= FIRST_WITH_TCP);
        for (needs, binds, connects) in [
            (Needs::default(), false, false),
            (Needs { accepts: true, ..Needs::default() }, false, false),
            (Needs { accepts: true, connects: true, ..Needs::default() }, false, true),
            (Needs { sockets: true, ..Needs::default() }, true, true),
        ] {
            let restricted = std::thread::spawn(move || {
                crate::confine::credentials::no_new_privileges().unwrap();
                restrict_tcp(needs).unwrap();
                // A kernel that does not know of TCP denies none of it.
                assert_eq!(TcpListener::bind("127.0.0.1:0").is_ok(), binds || !known, "{needs:?}");
                assert_eq!(TcpStream::connect(address).is_ok(), connects || !known, "{needs:?}");
            });
            restricted.join().unwrap();
        }
    }
}
