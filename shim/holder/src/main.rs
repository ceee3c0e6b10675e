//! `catamaran-holder`: the process of a pod's sandbox container. It keeps the namespaces that the pod's other containers
//! join, and does nothing.
//!
//! ```text
//! shim --exec--> catamaran-helper, «hold» --clone--> in the new namespaces: confined, empty root --exec--> this program
//!   |<------------------------------- Ready --------------------------------------------------------------------'
//!   |-------------------------------- Start ------------------------------------------------------------->  waits
//! ```
//!
//! Its memory counts, because every pod has a holder: no allocator, no C library and no standard library, 3 pages of its own. It is
//! confined (namespaces, mounts, user, capabilities) before it begins (`shim/worker/src/hold.rs`). It sets the two settings again
//! that the exec took back, and its own filter of system calls last.
//!
//! As the first process of a pid namespace that the pod's containers share, it is the parent of all orphans: it ignores SIGCHLD,
//! so that the kernel reaps them. It ends with 0 by SIGTERM and SIGINT, as the pause container of other runtimes does.

#![no_std]
#![no_main]

mod call;
mod filter;
mod number;
mod start;

use call::{Ended, Woken};

/// The control socket, the one descriptor that the program is given.
const CONTROL: i32 = 0;
/// The message that lets the holder go on (`shim/worker/src/control.rs`).
const START: &[u8] = b"start";

/// Exit codes. (`EX_OSERR` of sysexits.h: the kernel refused a call that cannot fail.)
const ENDED: i32 = 0;
const UNWANTED: i32 = 1;
const REFUSED: i32 = 71;

/// Runs the whole program. `report` is the message to the shim, in the control socket's form, when the holder is set up.
fn hold(report: &[u8]) -> i32 {
    match held(report) {
        Ok(code) => code,
        Err(Ended) => REFUSED,
    }
}

fn held(report: &[u8]) -> Result<i32, Ended> {
    // Before the shim knows of this process: a signal that comes from now on stays pending.
    call::block_ends()?;
    call::ignore_children()?;
    call::set_name()?;
    // An exec can take both settings back. If the shim has died meanwhile, the control socket is closed.
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
    // From now on the holder has no descriptor.
    call::close(signals)?;
    call::close(CONTROL)?;
    call::await_end()?;
    Ok(ENDED)
}

/// Compares byte by byte, because a comparison of slices would call the C library.
fn is_start(word: &[u8; START.len()]) -> bool {
    word.iter().zip(START).all(|(have, want)| have == want)
}
