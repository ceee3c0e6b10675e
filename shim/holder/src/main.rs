//! `catamaran-holder`: the process of a pod's sandbox container. It keeps the namespaces that the pod's other containers join, and does
//! nothing else.
//!
//! ```text
//! shim --exec--> catamaran-helper, "hold" --clone--> in the new namespaces: confined, empty root --exec--> this program
//!   |<------------------------------- Ready --------------------------------------------------------------------'
//!   |-------------------------------- Start ------------------------------------------------------------->  waits
//! ```
//!
//! Every pod has a holder, so it must be small: it has no allocator, no C library and no standard library, and takes 3 pages of its own. It
//! is confined (namespaces, mounts, user, capabilities) before it begins (`shim/worker/src/hold.rs`). It restores the two settings that an
//! exec resets, and installs its own filter of system calls last.
//!
//! In a pid namespace that the pod's containers share, the holder is the first process and so the parent of all orphans. It ignores
//! SIGCHLD, so that the kernel reaps them. On SIGTERM and SIGINT it ends with 0, like Kubernetes' pause container.

#![no_std]
#![no_main]

mod call;
mod filter;
mod number;
mod start;

use call::{Ended, Woken};

/// The control socket, the program's only descriptor.
const CONTROL: i32 = 0;
/// The message that starts the holder (`shim/worker/src/control.rs`).
const START: &[u8] = b"start";

/// The exit code after SIGTERM or SIGINT.
const ENDED: i32 = 0;
/// The exit code if the shim closed the control socket, or sent another message than [`START`].
const UNWANTED: i32 = 1;
/// The exit code if the kernel refused a call. (`EX_OSERR` of sysexits.h.)
const REFUSED: i32 = 71;

/// Runs the program and returns its exit code. `report` is the message that tells the shim that the holder is ready, in the control
/// socket's form.
fn hold(report: &[u8]) -> i32 {
    match held(report) {
        Ok(code) => code,
        Err(Ended) => REFUSED,
    }
}

fn held(report: &[u8]) -> Result<i32, Ended> {
    // Blocked before the shim knows of this process, so that signals from now on stay pending.
    call::block_ends()?;
    call::ignore_children()?;
    call::set_name()?;
    // The exec reset both settings. If the shim died before the second one, the control socket is closed, and the holder ends below.
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
