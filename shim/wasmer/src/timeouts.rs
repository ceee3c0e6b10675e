//! The time-outs that a guest sets for its sockets (SO_RCVTIMEO, SO_SNDTIMEO).
//!
//! wasmer-wasix has no place for a time-out of a datagram socket or a listener, and says so to the guest; and it takes the
//! time 0 for a time-out, which to socket(7) is none at all.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wasmer::RuntimeError;
use wasmer_wasix::wasmer_wasix_types::wasi::{Errno, Sockoption};

use crate::call::Call;
use crate::threads;

/// Which calls a time-out is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    Receive,
    Send,
}

/// The time-outs, by process, descriptor and direction.
static SET: Mutex<BTreeMap<(u32, u64, Direction), Duration>> = Mutex::new(BTreeMap::new());

/// WASI's `option_timestamp`: whether there is a time, and, at 8, how many nanoseconds.
const SIZE: usize = 16;
const NONE: u8 = 0;
const SOME: u8 = 1;

fn set_ones() -> MutexGuard<'static, BTreeMap<(u32, u64, Direction), Duration>> {
    SET.lock().unwrap_or_else(PoisonError::into_inner)
}

fn direction(option: u64) -> Option<Direction> {
    match option {
        option if option == Sockoption::RecvTimeout as u64 => Some(Direction::Receive),
        option if option == Sockoption::SendTimeout as u64 => Some(Direction::Send),
        _ => None,
    }
}

/// Whether wasmer-wasix said that this kind of socket has no such time-out.
fn has_no_place(said: i32) -> bool {
    said == Errno::Notsup as i32 || said == Errno::Inval as i32
}

/// The time-out that the guest set for a descriptor of this thread's process.
pub(crate) fn timeout(descriptor: u64, direction: Direction) -> Option<Duration> {
    set_ones().get(&(threads::process(), descriptor, direction)).copied()
}

/// Forgets the time-outs of a descriptor that was closed.
pub(crate) fn closed(descriptor: u64) {
    let (process, mut set) = (threads::process(), set_ones());
    for direction in [Direction::Receive, Direction::Send] {
        set.remove(&(process, descriptor, direction));
    }
}

/// `sock_set_opt_time`: socket, option, address of the time.
pub(crate) fn set(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let (Some(direction), at) = (direction(call.number(1)), call.number(2)) else { return call.made() };
    let mut bytes = [0; SIZE];
    if !call.get(at, &mut bytes) {
        return Ok(Errno::Fault as i32);
    }
    let time = match bytes[0] {
        NONE => None,
        SOME => Some(nanoseconds(&bytes)).filter(|time| !time.is_zero()),
        _ => return Ok(Errno::Inval as i32),
    };
    // The time 0 is none: wasmer-wasix is told so, for the call alone.
    let is_told = time.is_none() && bytes[0] == SOME && call.put(at, &[NONE]);
    let said = call.made();
    if is_told {
        call.put(at, &[SOME]);
    }
    let said = said?;
    if said != 0 && !has_no_place(said) {
        return Ok(said);
    }
    let key = (threads::process(), call.number(0), direction);
    match time {
        Some(time) => _ = set_ones().insert(key, time),
        None => _ = set_ones().remove(&key),
    }
    Ok(0)
}

/// `sock_get_opt_time`: socket, option, address of where the time goes.
pub(crate) fn get(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let said = call.made()?;
    let Some(direction) = direction(call.number(1)).filter(|_| has_no_place(said)) else { return Ok(said) };
    let mut bytes = [0; SIZE];
    if let Some(time) = timeout(call.number(0), direction) {
        bytes[0] = SOME;
        // The time was read from 64 bits.
        bytes[8..].copy_from_slice(&(time.as_nanos() as u64).to_le_bytes());
    }
    Ok(if call.put(call.number(2), &bytes) { 0 } else { Errno::Fault as i32 })
}

fn nanoseconds(time: &[u8; SIZE]) -> Duration {
    let [_, _, _, _, _, _, _, _, number @ ..] = *time;
    Duration::from_nanos(u64::from_le_bytes(number))
}
