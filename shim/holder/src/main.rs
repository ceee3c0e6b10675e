//! `catamaran-holder`: the process of a pod's sandbox container. It keeps the namespaces that the pod's other containers
//! join, and does nothing.
//!
//! ```text
//! shim --exec--> catamaran-helper, «hold» --clone--> in the new namespaces: confined, empty root --exec--> this program
//!   |<------------------------------- Ready --------------------------------------------------------------------'
//!   |-------------------------------- Start ------------------------------------------------------------->  waits
//! ```
//!
//! There is one a pod, so that its memory counts: no allocator, no C library and no standard library, 3 pages of its
//! own. What confines it (namespaces, mounts, user, capabilities) has happened before it begins
//! (`shim/worker/src/hold.rs`); an exec takes two things back, which are set here, and the filter of system calls comes
//! last.
//!
//! As the first process of a pid namespace that the pod's containers share it is the parent of those whose own has ended:
//! it ignores SIGCHLD, upon which the kernel reaps them. It ends with 0 by SIGTERM and SIGINT, as the pause container that
//! other runtimes run does.

#![no_std]
#![no_main]

mod call;
mod filter;
mod number;
mod start;

use call::{Ended, Woken};

/// Where the control socket is: the one descriptor that the program is given.
const CONTROL: i32 = 0;
/// What lets it go (`shim/worker/src/control.rs`).
const START: &[u8] = b"start";

/// Exit codes. (`EX_OSERR` of sysexits.h: the kernel refused a call that cannot fail.)
const ENDED: i32 = 0;
const UNWANTED: i32 = 1;
const REFUSED: i32 = 71;

/// The whole program. `report` is what the shim is told when all of it is done, in the words of its control socket.
fn hold(report: &[u8]) -> i32 {
    match held(report) {
        Ok(code) => code,
        Err(Ended) => REFUSED,
    }
}

fn held(report: &[u8]) -> Result<i32, Ended> {
    // Before anybody is told of this process: a signal that comes from now on waits to be looked at.
    call::block_ends()?;
    call::ignore_children()?;
    call::set_name()?;
    // Both went with the exec, or may have. A shim that has died meanwhile is seen on the control socket.
    call::close_to_others()?;
    call::die_with_parent()?;
    call::restrict(&filter::PROGRAM)?;
    call::write(CONTROL, report)?;
    let signals = call::signals()?;
    match call::wait(CONTROL, signals)? {
        Woken::BySignal => return Ok(ENDED),
        Woken::ByWord => {}
    }
    let mut word = [0; START.len()];
    if call::read(CONTROL, &mut word)? != START.len() || !is_start(&word) {
        return Ok(UNWANTED);
    }
    // Nothing is held from now on.
    call::close(signals)?;
    call::close(CONTROL)?;
    call::await_end()?;
    Ok(ENDED)
}

/// Byte by byte: a comparison of slices would be the C library's.
fn is_start(word: &[u8; START.len()]) -> bool {
    word.iter().zip(START).all(|(have, want)| have == want)
}
