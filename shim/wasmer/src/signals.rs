//! Signals for a guest that takes them itself.
//!
//! Until a guest has a handler for signals, each that ends a process ends this one ([`catamaran_worker::signals`]). WASIX has
//! one handler for all of them, which wasix-libc registers when a program starts, and which sorts them. From then on a signal
//! is handed on to the guest, which hears of it in its next call of the host. If the C library's table has the default for a
//! signal, that is done here at once instead, in an endless loop too.
#![allow(unsafe_code, reason = "signal handlers: each call has its SAFETY comment")]

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use rustix::event::EventfdFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wasmer::{AsStoreRef, Memory, SharedMemory};
use wasmer_wasix::WasiProcess;
use wasmer_wasix::wasmer_wasix_types::wasi::{Errno, Signal};

use crate::outcome;

/// The signals that a guest can be sent from outside, by the kernel's number and WASI's.
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

/// The signals that came and were not handed on yet, a bit each.
static CAME: AtomicU64 = AtomicU64::new(0);
/// The eventfd that wakes the event loop, or -1.
static BELL: AtomicI32 = AtomicI32::new(-1);
static TAKEN: AtomicBool = AtomicBool::new(false);
/// The last signal that was handed on, by the kernel's number, or 0.
static LAST: AtomicI32 = AtomicI32::new(0);
/// The address of the C library's table in this process, or 0.
static TABLE: AtomicUsize = AtomicUsize::new(0);
/// Keeps the table's memory for as long as a signal can come.
static MEMORY: OnceLock<SharedMemory> = OnceLock::new();

/// `Errno::Intr` as an exit code.
const EINTR: u8 = Errno::Intr as u8;

/// The table has an entry of 20 bytes for each signal. Its first word is the handler's address, or 0 for the default.
const ENTRY: usize = 20;
const ENTRIES: usize = 65;
const DEFAULT: u32 = 0;
/// The second word: flags of sigaction(2). `RESTART` has an interrupted call go on.
const FLAGS: usize = 4;
const RESTART: u32 = 0x1000_0000;

thread_local! {
    /// Whether this thread's instance has the handler.
    static HANDLES: Cell<bool> = const { Cell::new(false) };
}

/// Looks into the table at `address` of the guest's memory from now on; only the first memory counts.
///
/// Takes only a shared memory, which never moves and is kept: any other goes with its instance.
pub(crate) fn look_at(memory: &Memory, store: &impl AsStoreRef, address: u32) {
    let view = memory.view(store);
    let (start, size) = (view.data_ptr() as usize, view.data_size());
    let fits = u64::from(address) + (ENTRY * ENTRIES) as u64 <= size && address.is_multiple_of(4);
    if let (true, Some(shared)) = (fits, memory.as_shared(store))
        && MEMORY.set(shared).is_ok()
    {
        TABLE.store(start + address as usize, Ordering::Release);
    }
}

/// The word of a signal's entry in the C library's table, `at` bytes in. None without a table.
fn word(signal: Signal, at: usize) -> Option<u32> {
    match TABLE.load(Ordering::Acquire) {
        0 => None,
        table => {
            let word = (table + ENTRY * signal as usize + at) as *const AtomicU32;
            // SAFETY: the entry lies within the guest's memory, which `look_at` has measured, which never shrinks or moves
            // and is kept by `MEMORY`; it is aligned to 4 there. An atomic, because guest threads may write to it.
            let word = unsafe { &*word };
            Some(word.load(Ordering::Relaxed))
        }
    }
}

/// Whether the guest's C library has the default for a signal; None if that is unknown.
pub(crate) fn is_default(signal: Signal) -> Option<bool> {
    word(signal, 0).map(|handler| handler == DEFAULT)
}

/// Whether a pending signal of this thread interrupts a waiting call, once its handler has run.
pub(crate) fn interrupts(waiting: &[Signal]) -> bool {
    let goes_on = |signal: &Signal| word(*signal, FLAGS).is_some_and(|flags| flags & RESTART != 0);
    let handed = |signal: &&Signal| !matches!(signal, Signal::Sigwakeup);
    HANDLES.get() && waiting.iter().filter(handed).any(|signal| !goes_on(signal))
}

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

    /// Hands signals on to `process`, for ever: to each of its threads, of which the one with the handler takes it. A signal
    /// to the process itself would go past a thread that waits for a child, to the child.
    pub(crate) async fn hand_on(self, process: WasiProcess) {
        // An error means that the event loop has ended.
        while let Ok(mut rung) = self.0.readable().await {
            // Empty already if it rang twice: `CAME` says which signals came.
            let _ = rustix::io::read(&self.0, &mut [0; 8]);
            rung.clear_ready();
            let came = CAME.swap(0, Ordering::AcqRel);
            for (number, signal) in HANDED_ON.into_iter().filter(|(number, _)| came & (1 << number) != 0) {
                LAST.store(number, Ordering::Release);
                for thread in process.all_threads() {
                    process.signal_thread(&thread, signal);
                }
            }
        }
    }
}

/// The exit code of a guest that ended with `code`: 128 plus the signal's number, if a signal that was handed on ended it.
///
/// wasmer-wasix answers EINTR if a handler does not return, which is how wasix-libc performs the default; a guest whose table
/// is known is not handed such a signal.
pub(crate) fn ending(code: u8) -> u8 {
    match LAST.load(Ordering::Acquire) {
        signal @ 1..=64 if code == EINTR && TABLE.load(Ordering::Acquire) == 0 => 128 + signal as u8,
        _ => code,
    }
}

/// Whether no signal from outside was handed on to the guest yet.
pub(crate) fn none_handed_on() -> bool {
    LAST.load(Ordering::Acquire) == 0
}

/// Hands signals on from now on: the guest has a handler, on this thread.
pub(crate) fn take() -> io::Result<()> {
    HANDLES.set(true);
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
    // The guest may run on a stack of its own: take the engine's signal stack. Interrupted system calls go on.
    action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: `action` is initialised and outlives the call; no old action is asked for.
    if unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

extern "C" fn note(signal: i32) {
    if HANDED_ON.iter().any(|&(number, wasis)| number == signal && is_default(wasis) == Some(true)) {
        match signal {
            // The default is to do nothing.
            libc::SIGWINCH => return,
            _ => outcome::exit(128 + signal as u8),
        }
    }
    CAME.fetch_or(1 << signal, Ordering::AcqRel);
    // The code that was interrupted may be about to look at its error number.
    // SAFETY: the place is this thread's own, for as long as it runs, and asking for it is async-signal-safe.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above; nobody else has a reference to it.
    let errno = unsafe { place.read() };
    let one = 1_u64.to_ne_bytes();
    // SAFETY: write(2) is async-signal-safe (signal-safety(7)); the bytes outlive the call. The bell is never closed.
    unsafe { libc::write(BELL.load(Ordering::Acquire), one.as_ptr().cast(), one.len()) };
    // SAFETY: as for reading it.
    unsafe { place.write(errno) };
}
