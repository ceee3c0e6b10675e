//! Limits, user, capabilities, and the settings that depend on them.
#![allow(unsafe_code, reason = "close_range and keyctl have no safe form; each call has its SAFETY comment")]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use rustix::process::{DumpableBehavior, Resource, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{ConfineError, step};
use crate::job::{Job, Rlimit};

/// The users and groups of processes without rights, compile processes among them. Each has its own: this number and the pid (of
/// 22 bits at most) together. The numbers are far from those that systems give to people, services and containers (systemd's
/// UIDS-GIDS.md), and no program that reads them as signed sees a negative one.
const POWERLESS_USERS: u32 = 0x7f00_0000;
/// The users of processes that are not confined yet, made in the same way.
const UNCONFINED_USERS: u32 = 0x7e00_0000;
/// The number of the first descriptor after the standard streams.
const FIRST_INHERITED: RawFd = 3;
/// linux/keyctl.h.
const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;

/// Sets `process.oomScoreAdj`. A node that forbids lowering it (no CAP_SYS_RESOURCE) still runs the container, with a warning.
pub(super) fn oom_score(job: &Job) -> Result<Option<String>, ConfineError> {
    let Some(score) = job.oom_score_adj else { return Ok(None) };
    match write_oom_score(score) {
        Ok(()) => Ok(None),
        Err(e) if e.raw_os_error() == Some(libc::EACCES) => {
            Ok(Some(format!("oom_score_adj stays as it is: the kernel refused {score}: {e}")))
        }
        Err(e) => step(format_args!("setting oom_score_adj {score}"), Err(e)),
    }
}

fn write_oom_score(score: i32) -> io::Result<()> {
    File::options().write(true).open("/proc/self/oom_score_adj")?.write_all(score.to_string().as_bytes())
}

/// Sets `process.rlimits`.
pub(super) fn limits(job: &Job) -> Result<(), ConfineError> {
    for limit in &job.rlimits {
        let Rlimit { kind, soft, hard } = limit;
        step(format_args!("setting {kind} to {soft}:{hard}"), set_limit(limit))?;
    }
    // A worker's memory is the guest's and the engine's: it must never be in a core file.
    step("forbidding core files", set_limit(&Rlimit { kind: "RLIMIT_CORE".to_owned(), soft: 0, hard: 0 }))
}

fn set_limit(limit: &Rlimit) -> io::Result<()> {
    let resource = match limit.kind.as_str() {
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_STACK" => Resource::Stack,
        other => return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no such limit: {other}"))),
    };
    let bound = |n: u64| if n == u64::MAX { None } else { Some(n) };
    let new = rustix::process::Rlimit { current: bound(limit.soft), maximum: bound(limit.hard) };
    rustix::process::setrlimit(resource, new)?;
    Ok(())
}

/// Gives this process, which is about to clone the worker, a real and a saved user that nobody else has. Otherwise root of another
/// container of the pod could change the worker's limits (prlimit(2) asks for the real and the saved user) and signal it before it
/// is confined. It keeps root's rights, since those are the effective user's.
pub(super) fn belong_to_nobody() -> Result<(), ConfineError> {
    use nix::unistd::Uid;
    let (own, effective) = (Uid::from_raw(UNCONFINED_USERS | std::process::id()), Uid::effective());
    step("taking a user of its own", nix::unistd::setresuid(own, effective, own))
}

/// Takes `process.user`: groups first, since a plain user may no longer set them.
pub(super) fn user(job: &Job) -> Result<(), ConfineError> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(job.user.umask));
    become_user(job.user.uid, job.user.gid, &job.user.groups)
}

fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), ConfineError> {
    use nix::unistd::{Gid, Uid};
    let groups: Vec<Gid> = groups.iter().map(|&g| Gid::from_raw(g)).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    // The bounding set needs CAP_SETPCAP, which may go with the user.
    step("dropping the capability bounding set", drop_bounding_set())?;
    step("setting the supplementary groups", nix::unistd::setgroups(&groups))?;
    step(format_args!("setting the group {gid}"), nix::unistd::setresgid(gid, gid, gid))?;
    step(format_args!("setting the user {uid}"), nix::unistd::setresuid(uid, uid, uid))
}

/// Drops every capability that the kernel knows, up to the first number that the kernel refuses with EINVAL.
fn drop_bounding_set() -> io::Result<()> {
    for bit in 0..64 {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) if bit > 0 => break,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Drops all capabilities, whatever the spec grants: nothing that a Wasm guest can ask for needs one (docs/spec.md).
pub(super) fn drop_capabilities() -> Result<(), ConfineError> {
    // EINVAL means that the kernel has no ambient set to clear.
    match rustix::thread::clear_ambient_capability_set() {
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(e) => return step("clearing the ambient capabilities", Err(e)),
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    step("dropping the capabilities", rustix::thread::set_capabilities(None, none))
}

/// Has this process die with its parent, a worker with its shim and a compile process with its driver, and closes its memory to
/// ptrace and /proc.
pub(super) fn die_with_parent() -> Result<(), ConfineError> {
    step("asking to die with the parent", rustix::process::set_parent_process_death_signal(Some(Signal::KILL)))?;
    not_dumpable()
}

fn not_dumpable() -> Result<(), ConfineError> {
    step("closing the process to inspection", rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable))
}

/// Runs before anything else in a worker or a compile process: closes the process to inspection, and closes every descriptor that
/// containerd happened to leave open, but for the three streams and those with these numbers, which it returns.
pub(crate) fn close_to_others(but: &[RawFd]) -> Result<Vec<OwnedFd>, ConfineError> {
    not_dumpable()?;
    step("taking the program's name", take_name())?;
    step("closing what was inherited", take_inherited(but))
}

/// Takes the name for `ps` from `argv[0]`, because a process that is executed by a descriptor is named by the descriptor's number.
pub fn take_name() -> io::Result<()> {
    let own = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&own).file_name().unwrap_or_default().as_encoded_bytes();
    Ok(rustix::thread::set_name(&CString::new(name)?)?)
}

/// Closes every descriptor but the standard streams. For the first lines of `main`, before the program opens any.
pub fn close_inherited() -> io::Result<()> {
    take_inherited(&[]).map(drop)
}

/// Returns the inherited descriptors with these numbers, in their order, and closes every other one but the standard streams. For the
/// first lines of `main`, before the program opens any. Fails if one of them is a standard stream, is there twice, or is not open.
fn take_inherited(numbers: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
    let sorted: BTreeSet<_> = numbers.iter().copied().collect();
    if sorted.len() < numbers.len() || sorted.first().is_some_and(|first| *first < FIRST_INHERITED) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut next = FIRST_INHERITED.cast_unsigned();
    for number in sorted.iter().map(|number| number.cast_unsigned()) {
        if number > next {
            close_range(next, number - 1)?;
        }
        next = number + 1;
    }
    close_range(next, u32::MAX)?;
    let take = |number: &RawFd| {
        // SAFETY: the call only reads a flag of the descriptor with this number, or fails because none is open.
        Errno::result(unsafe { libc::fcntl(*number, libc::F_GETFD) })?;
        // SAFETY: it is open, and by this function's contract nothing in this process owns it yet.
        let taken = unsafe { OwnedFd::from_raw_fd(*number) };
        rustix::io::fcntl_setfd(&taken, rustix::io::FdFlags::CLOEXEC)?;
        Ok(taken)
    };
    numbers.iter().map(take).collect()
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: only `take_inherited` calls this, when nothing in this process owns a descriptor but the standard streams, 0 to 2.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    Ok(Errno::result(closed).map(drop)?)
}

/// Has an exec close every descriptor but standard input.
pub(crate) fn keep_one() -> Result<(), ConfineError> {
    // SAFETY: the call takes three numbers, and with this flag closes nothing now: an exec that succeeds closes the descriptors,
    // and ends every owner of them.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, 1, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    step("giving up what is open", Errno::result(marked).map(drop))
}

/// Joins a new and empty session keyring: the inherited one is containerd's, with the keys of the user who started containerd.
pub(super) fn own_keyring() -> Result<(), ConfineError> {
    // SAFETY: the call takes two numbers here; no name means a new keyring without one (keyctl_join_session_keyring(3)).
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) };
    match Errno::result(joined) {
        // A kernel without keyrings has none to leak.
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(e) => step("joining a session keyring of its own", Err(e)),
    }
}

/// Forbids every later exec to add rights; seccomp needs this too.
pub(super) fn no_new_privileges() -> Result<(), ConfineError> {
    step("setting no_new_privs", rustix::thread::set_no_new_privs(true))
}

/// The limits of a process without rights.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// The size of a file that the process writes, in bytes.
    pub file: u64,
    /// Processor time, in seconds.
    pub processor: u64,
    /// Address space, in bytes.
    pub memory: u64,
    /// Threads, including the first.
    pub threads: u64,
}

/// Confines a process that reads hostile bytes, and needs nothing but its three descriptors, memory and time.
///
/// The process dies with its `parent`, such as a compile driver, which limits its time, and not with a shim: a compile goes on
/// when the pod that asked for it is gone.
pub(crate) fn without_rights(parent: Option<i32>, most: Allowance) -> Result<(), ConfineError> {
    step("setting oom_score_adj 1000", write_oom_score(1000))?;
    for (kind, most) in [
        ("RLIMIT_FSIZE", most.file),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NOFILE", 64),
        // It counts the threads of the user that this process becomes below.
        ("RLIMIT_NPROC", most.threads),
        ("RLIMIT_CPU", most.processor),
        ("RLIMIT_AS", most.memory),
    ] {
        let limit = Rlimit { kind: kind.to_owned(), soft: most, hard: most };
        step(format_args!("setting {kind} to {most}"), set_limit(&limit))?;
    }
    super::mounts::enter_empty_root()?;
    let flags = nix::sched::CloneFlags::CLONE_NEWNET
        | nix::sched::CloneFlags::CLONE_NEWIPC
        | nix::sched::CloneFlags::CLONE_NEWUTS;
    step("leaving the host's network", nix::sched::unshare(flags))?;
    own_keyring()?;
    // A user that nobody else has: this process can signal, trace or limit no process of a container and no other compile.
    let own = POWERLESS_USERS | std::process::id();
    become_user(own, own, &[])?;
    drop_capabilities()?;
    die_with_parent()?;
    let own = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if parent.is_some_and(|parent| parent != own) {
        return step("looking for the compile driver", Err(io::Error::other("it has ended")));
    }
    no_new_privileges()?;
    // The same list as a worker's: a compiler has threads and memory, and writes machine code but runs none.
    super::restrict(None, crate::Needs { threads: most.threads > 1, ..crate::Needs::default() })
}
