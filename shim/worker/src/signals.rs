//! Handles signals for a guest that cannot.
//!
//! A signal whose default action ends a process ends the worker with 128 + its number, even inside a loop of the guest,
//! because the handler itself ends the process. Without a handler the kernel would drop the signal, since the worker is its
//! namespace's pid 1.
//!
//! The first signal tells a server to finish its requests instead ([`drain_on_signals`]). The second one ends the server as above.
#![allow(unsafe_code, reason = "installing a handler is unsafe by its nature; this module holds nothing else")]

use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::libc;
use rustix::event::EventfdFlags;

/// Signals that this module does not handle: faults and traps are the engine's, the rest does not end a process or cannot be
/// caught.
const LEFT_ALONE: [i32; 15] = [
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGKILL,
    libc::SIGSEGV,
    libc::SIGPIPE,
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGURG,
    libc::SIGWINCH,
];

/// A copy of the eventfd that the first signal is written to, which is never closed; [`TOLD`] after that signal.
static BELL: AtomicI32 = AtomicI32::new(TOLD);
/// No descriptor.
const TOLD: i32 = -1;

/// Installs the handler for every signal that ends a process, real-time ones included.
///
/// SIGABRT is among them, because abort() of a pid 1 would otherwise end as a fault, with 139 instead of 134.
pub fn end_on_signals() -> io::Result<()> {
    for signal in all() {
        handle(signal, end, 0)?;
    }
    Ok(())
}

/// Has the first signal that would end the process make the returned descriptor readable instead. Any further one ends the
/// process at once with 128 + its number, and SIGABRT always does.
///
/// The descriptor is an eventfd that does not block. Call this once in a process, after [`end_on_signals`].
pub fn drain_on_signals() -> io::Result<OwnedFd> {
    let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    // A copy that the caller cannot close, because after a close the number may be another file's when the signal comes.
    let copy = rustix::io::fcntl_dupfd_cloexec(&bell, 0)?;
    BELL.store(copy.into_raw_fd(), Ordering::SeqCst);
    for signal in all().filter(|signal| *signal != libc::SIGABRT) {
        // SA_RESTART: a thread's blocking call goes on after the signal.
        handle(signal, drain, libc::SA_RESTART)?;
    }
    Ok(bell)
}

/// Returns the signals that this module handles.
fn all() -> impl Iterator<Item = i32> {
    // The C library uses the signals between the standard ones and SIGRTMIN itself.
    (1..32).chain(libc::SIGRTMIN()..=libc::SIGRTMAX()).filter(|signal| !LEFT_ALONE.contains(signal))
}

fn handle(signal: i32, handler: extern "C" fn(i32), flags: i32) -> io::Result<()> {
    // SAFETY: all-zero is a valid sigaction: no flags, an empty mask, SIG_DFL.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // The guest may run on a small stack of its own: use the engine's signal stack if the engine set one up.
    action.sa_flags = libc::SA_ONSTACK | flags;
    // SAFETY: `action` is initialised and outlives the call; no old action is asked for.
    if unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

extern "C" fn end(signal: i32) {
    // SAFETY: _exit is async-signal-safe (signal-safety(7)); it touches no memory of the process.
    unsafe { libc::_exit(128 + signal) }
}

extern "C" fn drain(signal: i32) {
    // Of two signals that come at once on two threads, one is the first.
    let bell = BELL.swap(TOLD, Ordering::SeqCst);
    if bell == TOLD {
        end(signal);
    }
    // Restore the error number, which the interrupted code may be about to read.
    let before = Errno::last_raw();
    let one = 1_u64;
    // SAFETY: write is async-signal-safe; the eight bytes outlive the call, which only reads them. An eventfd whose counter is 0
    // takes a 1.
    unsafe { libc::write(bell, (&raw const one).cast(), size_of::<u64>()) };
    Errno::set_raw(before);
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};
    use std::{env, thread};

    use nix::sys::signal::Signal;
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    /// The variable that says what the signalled process does.
    const WAY: &str = "CATAMARAN_TEST_SIGNALS";

    /// Prints a line when it is ready for signals, and when the first one has come.
    #[test]
    #[ignore = "run by the tests below, in a process of its own"]
    fn process_that_is_signalled() {
        end_on_signals().unwrap();
        let bell = drain_on_signals().unwrap();
        // A thread that reads for ever: no signal must interrupt its call.
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        thread::spawn(move || {
            let read = rustix::io::read(&reader, &mut [0]);
            println!("the thread went on: {read:?}");
        });
        assert_eq!(rustix::io::read(&bell, &mut [0; 8]), Err(rustix::io::Errno::AGAIN), "nothing was told yet");
        println!("ready");
        while poll(&mut [PollFd::new(&bell, PollFlags::IN)], None) == Err(rustix::io::Errno::INTR) {}
        let mut count = [0; 8];
        rustix::io::read(&bell, &mut count).unwrap();
        println!("told {}", u64::from_ne_bytes(count));
        match env::var(WAY).unwrap().as_str() {
            "ends what it has begun" => std::process::exit(0),
            // The number is another file's by then, and stays untouched.
            "drops its bell" => drop(bell),
            _ => {}
        }
        loop {
            thread::park();
        }
    }

    struct Signalled {
        process: Child,
        says: BufReader<std::process::ChildStdout>,
    }

    impl Signalled {
        fn start(way: &str) -> Self {
            let mut process = Command::new(env::current_exe().unwrap())
                .args(["--exact", "signals::tests::process_that_is_signalled", "--ignored", "--nocapture"])
                .env(WAY, way)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let says = BufReader::new(process.stdout.take().unwrap());
            let mut started = Self { process, says };
            started.await_line("ready");
            started
        }

        /// Reads up to a line.
        fn await_line(&mut self, wanted: &str) {
            loop {
                let mut line = String::new();
                assert_ne!(self.says.read_line(&mut line).unwrap(), 0, "it has ended before it said {wanted:?}");
                assert!(!line.contains("went on"), "{line}");
                // The test runner may have written on the same line before.
                if line.trim_end().ends_with(wanted) {
                    return;
                }
            }
        }

        fn signal(&self, number: i32) {
            // SAFETY: the call takes two numbers; the child is not waited for yet, so that its pid is its own.
            assert_eq!(unsafe { libc::kill(self.process.id() as i32, number) }, 0);
        }

        fn ended(mut self) -> Option<i32> {
            let status = self.process.wait().unwrap();
            assert_eq!(status.signal(), None);
            status.code()
        }
    }

    impl Drop for Signalled {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    #[test]
    fn a_server_ends_what_it_has_begun_at_the_first_signal() {
        let others = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1];
        for number in others.map(|signal| signal as i32).into_iter().chain([libc::SIGRTMIN() + 3]) {
            let mut server = Signalled::start("ends what it has begun");
            server.signal(number);
            server.await_line("told 1");
            assert_eq!(server.ended(), Some(0), "signal {number}");
        }
    }

    #[test]
    fn a_second_signal_ends_a_server_at_once() {
        for way in ["waits", "drops its bell"] {
            for (first, second) in [(libc::SIGTERM, libc::SIGTERM), (libc::SIGUSR2, libc::SIGINT)] {
                let mut server = Signalled::start(way);
                server.signal(first);
                server.await_line("told 1");
                server.signal(second);
                assert_eq!(server.ended(), Some(128 + second), "{way}");
            }
        }
    }

    #[test]
    fn an_abort_is_no_signal_to_drain_at() {
        let server = Signalled::start("waits");
        server.signal(libc::SIGABRT);
        assert_eq!(server.ended(), Some(134));
    }

    #[test]
    fn a_signal_that_ends_no_process_tells_a_server_nothing() {
        let mut server = Signalled::start("waits");
        server.signal(libc::SIGWINCH);
        server.signal(libc::SIGCONT);
        server.signal(libc::SIGTERM);
        server.await_line("told 1");
        server.signal(libc::SIGTERM);
        assert_eq!(server.ended(), Some(143));
    }
}
