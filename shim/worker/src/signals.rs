//! Signals for a guest that cannot take them.
//!
//! A signal whose default action ends a process ends the worker with 128 + its number, from inside a loop of the guest
//! too: no flag that guest code would have to look at. Without a handler the kernel would drop it, since the worker is
//! its namespace's pid 1.
#![allow(unsafe_code, reason = "installing a handler is unsafe by its nature; this module holds nothing else")]

use std::io;

use nix::libc;

/// Signals that are not ours: faults and traps are the engine's, the rest does not end a process or cannot be caught.
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

/// Installs the handler for every signal that ends a process, real-time ones included.
///
/// SIGABRT is among them: abort() of a pid 1 would otherwise end as a fault, 139 instead of 134.
pub fn end_on_signals() -> io::Result<()> {
    let last = libc::SIGRTMAX();
    // The C library keeps the signals between the standard ones and SIGRTMIN to itself.
    for signal in (1..32).chain(libc::SIGRTMIN()..=last).filter(|s| !LEFT_ALONE.contains(s)) {
        handle(signal)?;
    }
    Ok(())
}

fn handle(signal: i32) -> io::Result<()> {
    // SAFETY: all-zero is a valid sigaction: no flags, an empty mask, SIG_DFL.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = end as extern "C" fn(i32) as libc::sighandler_t;
    // The guest may run on a small stack of its own: take the engine's signal stack where it set one up.
    action.sa_flags = libc::SA_ONSTACK;
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
