//! Kills a process at its n-th system call in the step: the same place each time, on any machine.
//!
//! Follows a shim, or containerd, and every process that it starts, by ptrace(2), so that a victim is known from its first moment on. A
//! followed process does not notice it, but is slower. It is released when the thread that follows it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use nix::unistd::Pid;

/// The pause between two looks for work.
const PAUSE: Duration = Duration::from_micros(50);

/// The role of a followed process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// The given process: a shim, or a worker.
    Root,
    /// containerd's threads, if containerd was given: their system calls do not count.
    Containerd,
    Starter,
    Server,
    Intermediate,
    Worker,
    Search,
    Driver,
    Compile,
    /// A command of runc, from its start by the shim on.
    Runc,
    /// A child of any of them, and a process that has not executed its program yet.
    Other,
}

/// The observations of one step.
#[derive(Default)]
pub(crate) struct Seen {
    /// The number of system calls that each role has begun.
    pub(crate) calls: BTreeMap<Role, usize>,
    /// The number of the system call at which the victim was killed.
    pub(crate) killed_at: Option<String>,
}

/// A step that is followed.
pub(crate) struct Tracer {
    thread: JoinHandle<Seen>,
    stop: Arc<AtomicBool>,
}

impl Tracer {
    /// Follows `root` from now on, and kills the process of the victim's role at its system call of the victim's number, counted from 0.
    pub(crate) fn follow(root: u32, victim: Option<(Role, usize)>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, wait) = mpsc::channel();
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let root = Pid::from_raw(root.cast_signed());
            let (all, early) = (BTreeMap::new(), BTreeSet::new());
            let mut follower = Follower { victim, seen: Seen::default(), all, early };
            follower.seize(root);
            ready.send(()).unwrap();
            follower.run(&told);
            follower.seen
        });
        wait.recv().expect("the process cannot be followed");
        Self { thread, stop }
    }

    /// Releases the followed processes.
    pub(crate) fn end(self) -> Seen {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

struct Process {
    role: Role,
    /// The parent's role.
    parent: Role,
    /// Whether its next stop at a system call is the call's end.
    inside: bool,
}

struct Follower {
    victim: Option<(Role, usize)>,
    seen: Seen,
    all: BTreeMap<Pid, Process>,
    /// Processes that stopped at their first moment, before their parents' events arrived.
    early: BTreeSet<Pid>,
}

impl Follower {
    fn seize(&mut self, root: Pid) {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC;
        let name = fs::read_to_string(format!("/proc/{root}/comm")).unwrap_or_default();
        let role = if name == "containerd\n" { Role::Containerd } else { Role::Root };
        loop {
            let before = self.all.len();
            for thread in fs::read_dir(format!("/proc/{root}/task")).unwrap().flatten() {
                let thread = Pid::from_raw(thread.file_name().to_str().unwrap().parse().unwrap());
                // A thread made by a followed thread is followed already.
                if !self.all.contains_key(&thread) && ptrace::seize(thread, options).is_ok() {
                    ptrace::interrupt(thread).unwrap();
                    self.all.insert(thread, Process { role, parent: role, inside: false });
                }
            }
            if self.all.len() == before {
                break;
            }
        }
        assert!(!self.all.is_empty(), "{root} cannot be followed");
    }

    fn run(&mut self, stop: &AtomicBool) {
        // Waits only for processes that this thread follows: other threads have children of their own.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG;
        while !stop.load(Ordering::SeqCst) {
            let (pid, status) = match raw::wait(flags) {
                Ok(stopped) => stopped,
                Err(nix::errno::Errno::ECHILD) => return,
                Err(e) => panic!("following: {e}"),
            };
            if pid.as_raw() == 0 {
                std::thread::sleep(PAUSE);
                continue;
            }
            match WaitStatus::from_raw(pid, status) {
                Ok(WaitStatus::PtraceSyscall(pid)) => {
                    if self.at_call(pid) {
                        return;
                    }
                    self.go_on(pid, None);
                }
                Ok(WaitStatus::PtraceEvent(pid, _, event)) => {
                    if !self.all.contains_key(&pid) {
                        self.early.insert(pid);
                        continue;
                    }
                    self.at_event(pid, event);
                    self.go_on(pid, None);
                }
                Ok(WaitStatus::Stopped(pid, signal)) => self.go_on(pid, Some(signal)),
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => drop(self.all.remove(&pid)),
                Ok(_) => {}
                // A real-time signal, which nix has no name for: threads of a C library signal one another by them.
                Err(_) => raw::go_on(pid, status),
            }
        }
    }

    /// Counts a call; returns true if it was the victim's last.
    fn at_call(&mut self, pid: Pid) -> bool {
        let Some(process) = self.all.get_mut(&pid) else { return false };
        process.inside = !process.inside;
        if !process.inside {
            return false;
        }
        let role = process.role;
        let count = self.seen.calls.entry(role).or_default();
        let number = *count;
        *count += 1;
        if self.victim != Some((role, number)) {
            return false;
        }
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        self.seen.killed_at = Some(format!("{number}, number {}", call.split(' ').next().unwrap_or_default()));
        kill(pid, Signal::SIGKILL).unwrap();
        true
    }

    fn at_event(&mut self, pid: Pid, event: i32) {
        use nix::libc::{PTRACE_EVENT_CLONE, PTRACE_EVENT_EXEC, PTRACE_EVENT_FORK, PTRACE_EVENT_VFORK};
        let parent = self.all.get(&pid).map_or(Role::Other, |process| process.role);
        match event {
            PTRACE_EVENT_CLONE | PTRACE_EVENT_FORK | PTRACE_EVENT_VFORK => {
                let Ok(child) = ptrace::getevent(pid) else { return };
                let child = Pid::from_raw(i32::try_from(child).unwrap());
                // The child's role until it executes a program, as a thread never does.
                let role = match parent {
                    Role::Intermediate => Role::Worker,
                    Role::Starter => Role::Server,
                    Role::Containerd => Role::Containerd,
                    _ => Role::Other,
                };
                self.all.insert(child, Process { role, parent, inside: false });
                if self.early.remove(&child) {
                    self.go_on(child, None);
                }
            }
            PTRACE_EVENT_EXEC => {
                if let Some(process) = self.all.get_mut(&pid) {
                    process.role = executed(pid, process.parent);
                    // The beginning of this execve may have gone unseen; the next stop is its end.
                    process.inside = true;
                }
            }
            _ => {}
        }
    }

    fn go_on(&self, pid: Pid, signal: Option<Signal>) {
        let unseen = |process: &Process| match process.role {
            Role::Containerd => true,
            Role::Other => matches!(process.parent, Role::Containerd | Role::Other),
            _ => false,
        };
        // Another process may have killed it meanwhile: its end is reported next.
        let _ = match self.all.get(&pid) {
            Some(process) if unseen(process) => ptrace::cont(pid, signal),
            _ => ptrace::syscall(pid, signal),
        };
    }
}

/// Calls that nix does not offer.
#[allow(unsafe_code, reason = "nix knows no real-time signals")]
mod raw {
    use nix::errno::Errno;
    use nix::libc;
    use nix::sys::wait::WaitPidFlag;
    use nix::unistd::Pid;

    /// Returns a process with an event, and the event; pid 0 if there is none.
    pub(super) fn wait(flags: WaitPidFlag) -> nix::Result<(Pid, i32)> {
        let mut status = 0;
        // SAFETY: the status is written to a number that outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, flags.bits()) };
        Errno::result(pid).map(|pid| (Pid::from_raw(pid), status))
    }

    /// Continues a process that stopped for a signal, with the signal.
    pub(super) fn go_on(pid: Pid, status: i32) {
        let signal = libc::c_long::from(libc::WSTOPSIG(status));
        // SAFETY: this request reads its numbers alone; of a process that is not stopped, or gone, it is refused.
        let _ = unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid.as_raw(), 0, signal) };
    }
}

/// A process's role by the program that it has just executed.
fn executed(pid: Pid, parent: Role) -> Role {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let name = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match (parent, name.as_str()) {
        (Role::Driver, name) if name.ends_with("-compile") => Role::Compile,
        (Role::Root | Role::Server, "runc") => Role::Runc,
        (Role::Root | Role::Server, "catamaran-helper") if has_word(pid, "die-with-parent") => Role::Runc,
        (Role::Root | Role::Server, "catamaran-helper") if has_word(pid, "hold") => Role::Intermediate,
        (Role::Root | Role::Server, "catamaran-helper") if has_word(pid, "search") => Role::Search,
        (Role::Root | Role::Server, "catamaran-helper") if has_word(pid, "compile") => Role::Driver,
        (Role::Root | Role::Server, "catamaran-wasmtime" | "catamaran-wasmtime-http" | "catamaran-wasmer") => {
            Role::Intermediate
        }
        (Role::Containerd, "containerd-shim-catamaran-v1") if has_last_word(pid, "start") => Role::Starter,
        _ => Role::Other,
    }
}

fn has_word(pid: Pid, word: &str) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words.split(|byte| *byte == 0).any(|own| own == word.as_bytes())
}

fn has_last_word(pid: Pid, word: &str) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words.ends_with(format!("\0{word}\0").as_bytes())
}
