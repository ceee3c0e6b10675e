//! Wasmtime's part of the tests.

use catamaran_wasmtime::Wasmtime;
use catamaran_worker::{Runner, RunnerError};

use crate::guest::{file, terms};

/// The program that compiles. It also knows `misfit`, for settings that are not the worker's.
pub(crate) const TRANSLATOR: &str = "translate-for-wasmtime";

/// Loads an artifact as the worker does, on a thread whose working directory is its own: the one that [`Runner::load`] asks
/// for.
pub(crate) fn load(artifact: &[u8]) -> Result<Wasmtime, RunnerError> {
    let (file, path) = file(artifact);
    std::fs::remove_file(path).unwrap();
    let thread = std::thread::spawn(move || {
        // SAFETY: the thread stops sharing its working directory with the others; nothing else changes.
        #[allow(unsafe_code, reason = "std has no safe form of it")]
        let apart = unsafe { libc::unshare(libc::CLONE_FS) };
        assert_eq!(apart, 0);
        std::env::set_current_dir("/proc/self/fd").unwrap();
        Wasmtime::load(file, terms())
    });
    thread.join().unwrap()
}
