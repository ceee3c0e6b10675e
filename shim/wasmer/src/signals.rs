//! Signals for a guest that takes them itself.
//!
//! Until a guest has a handler for signals, each that ends a process ends this one ([`catamaran_worker::signals`]). WASIX has
//! one handler for all of them, which the guest's C library sorts; from then on they are handed on to the guest, which
//! hears of them in its next call of the host.
#![allow(unsafe_code, reason = "signal handlers: each call has its SAFETY comment")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use rustix::event::EventfdFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wasmer_wasix::WasiProcess;
use wasmer_wasix::wasmer_wasix_types::wasi::Signal;

/// What a guest can be sent from outside, by the kernel's number and WASI's.
const HANDED_ON: [(i32, Signal); 9] = [
    (libc::SIGHUP, Signal::Sighup),
    (libc::SIGINT, Signal::Sigint),
    (libc::SIGQUIT, Signal::Sigquit),
    (libc::SIGUSR1, Signal::Sigusr1),
    (libc::SIGUSR2, Signal::Sigusr2),
    (libc::SIGALRM, Signal::Sigalrm),
    (libc::SIGTERM, Signal::Sigterm),
    (libc::SIGPWR, Signal::Sigpwr),
    (libc::SIGWINCH, Signal::Sigwinch),
];

/// What came and was not handed on yet, a bit each.
static CAME: AtomicU64 = AtomicU64::new(0);
/// What wakes the event loop, or -1.
static BELL: AtomicI32 = AtomicI32::new(-1);
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The event loop's end of the bell.
pub(crate) struct Bell(AsyncFd<OwnedFd>);

impl Bell {
    /// Must be called within the event loop's context.
    pub(crate) fn new() -> io::Result<Self> {
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let number = bell.as_raw_fd();
        // SAFETY: the descriptor must stay open and the same while it is watched: `OwnedFd` owns it, and the `AsyncFd` owns
        // that, lends it by `&` alone and drops it last.
        let bell = unsafe { AsyncFd::register_with_interest(bell, Interest::READABLE) }?;
        BELL.store(number, Ordering::Release);
        Ok(Self(bell))
    }

    /// Hands on to `process`, for ever. To each of its threads, of which the one that has the handler takes it: to the process
    /// it would go past one that waits for a child, to the child.
    pub(crate) async fn hand_on(self, process: WasiProcess) {
        // An error is the event loop's end.
        while let Ok(mut rung) = self.0.readable().await {
            // Empty already if it rang twice: what came is asked for below.
            let _ = rustix::io::read(&self.0, &mut [0; 8]);
            rung.clear_ready();
            let came = CAME.swap(0, Ordering::AcqRel);
            for (_, signal) in HANDED_ON.into_iter().filter(|(number, _)| came & (1 << number) != 0) {
                for thread in process.all_threads() {
                    process.signal_thread(&thread, signal);
                }
            }
        }
    }
}

/// Hands signals on from now on: the guest has a handler.
pub(crate) fn take() -> io::Result<()> {
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    for (number, _) in HANDED_ON {
        handle(number)?;
    }
    Ok(())
}

fn handle(signal: i32) -> io::Result<()> {
    // SAFETY: all-zero is a valid sigaction: no flags, an empty mask, SIG_DFL.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = note as extern "C" fn(i32) as libc::sighandler_t;
    // The guest may run on a stack of its own: take the engine's signal stack. Calls of the kernel go on.
    action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: `action` is initialised and outlives the call; no old action is asked for.
    if unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

extern "C" fn note(signal: i32) {
    CAME.fetch_or(1 << signal, Ordering::AcqRel);
    let one = 1_u64.to_ne_bytes();
    // SAFETY: write(2) and errno's place are async-signal-safe (signal-safety(7)); the bytes outlive the call. errno is put
    // back, since the code that was interrupted may be about to look at it.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(BELL.load(Ordering::Acquire), one.as_ptr().cast(), one.len());
        *libc::__errno_location() = errno;
    }
}
