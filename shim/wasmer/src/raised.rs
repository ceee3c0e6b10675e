//! Signals that a guest sends itself, and the exit code of a guest that they end.
//!
//! wasix-libc performs the default by a trap, of which wasmer-wasix makes the exit code 27, "interrupted", whatever the
//! signal was.

use std::cell::Cell;

use wasmer::RuntimeError;
use wasmer_wasix::WasiError;
use wasmer_wasix::wasmer_wasix_types::wasi::{Errno, Signal};

use crate::call::Call;
use crate::{outcome, signals, threads};

thread_local! {
    /// Whether the guest itself set its exit code.
    static EXITS: Cell<bool> = const { Cell::new(false) };
}

/// Notes that the guest sets its exit code itself.
pub(crate) fn exits() {
    EXITS.set(true);
}

/// A call that sends a signal; its number is the argument at `place`, the process's at `process` if it names one.
pub(crate) fn raise(call: &mut Call<'_>, place: usize, process: Option<usize>) -> Result<i32, RuntimeError> {
    let first =
        threads::of_the_first_process() && process.is_none_or(|at| call.number(at) == u64::from(threads::process()));
    let number = u8::try_from(call.number(place)).unwrap_or(0);
    let Ok(signal) = Signal::try_from(number) else { return Ok(Errno::Inval as i32) };
    if first && signals::is_default(signal) == Some(true) {
        match default(signal) {
            Default::End => end(signal, number),
            Default::Nothing => return Ok(0),
            Default::Stop => {}
        }
    }
    match call.made() {
        // A forked process ends with 27, which wasmer-wasix tells its parent: no code above 78 reaches a parent.
        Err(e) if first && interrupted(&e) && !EXITS.get() => end(signal, number),
        answer => answer,
    }
}

/// The answer of a write. If nobody reads any more, wasmer-wasix sends the guest SIGPIPE within it.
pub(crate) fn of_a_write(answer: Result<i32, RuntimeError>) -> Result<i32, RuntimeError> {
    match answer {
        Err(e)
            if threads::of_the_first_process()
                && interrupted(&e)
                && !EXITS.get()
                && signals::is_default(Signal::Sigpipe).unwrap_or_else(signals::none_handed_on) =>
        {
            end(Signal::Sigpipe, libc::SIGPIPE as u8)
        }
        answer => answer,
    }
}

/// The kernel's default for a signal (signal(7)).
enum Default {
    End,
    Nothing,
    Stop,
}

fn default(signal: Signal) -> Default {
    match signal {
        Signal::Signone | Signal::Sigchld | Signal::Sigurg | Signal::Sigwinch | Signal::Sigcont => Default::Nothing,
        Signal::Sigstop | Signal::Sigtstp | Signal::Sigttin | Signal::Sigttou => Default::Stop,
        _ => Default::End,
    }
}

/// Ends the container as a signal of its program's own does.
fn end(signal: Signal, number: u8) -> ! {
    // A fault, in the C library's words: reported like a trap, since nothing else tells why.
    if let Signal::Sigabrt | Signal::Sigsegv | Signal::Sigbus | Signal::Sigill | Signal::Sigfpe | Signal::Sigtrap =
        signal
    {
        outcome::aborted(number);
    }
    outcome::exit(128 + number)
}

fn interrupted(e: &RuntimeError) -> bool {
    matches!(e.downcast_ref::<WasiError>(), Some(WasiError::Exit(code)) if code.raw() == Errno::Intr as i32)
}
