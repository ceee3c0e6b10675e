//! Has `poll_oneoff` wait until the first of its clocks is due.
//!
//! wasmer-wasix takes the last clock's time, compares a moment of any clock with the monotonic one, waits for ever if the
//! time is 0, and reports all clocks as due.
#![allow(unsafe_code, reason = "the standard library has no absolute time of the monotonic clock")]

use std::time::Duration;

use wasmer::RuntimeError;
use wasmer_wasix::wasmer_wasix_types::wasi::{Clockid, Errno, Eventtype, Subclockflags};

use crate::call::Call;
use crate::waits;

/// WASI's `subscription`: user data, type, and for a clock its id, the time, the precision and flags.
const SUBSCRIPTION: u64 = 48;
const TYPE: usize = 8;
const CLOCK: usize = 16;
const TIME: usize = 24;
const FLAGS: usize = 40;

/// WASI's `event`: user data, an error number, and the type.
const EVENT: u64 = 32;
const EVENT_TYPE: usize = 10;

/// A subscription of a clock.
struct Alarm {
    user_data: [u8; 8],
    /// The time left.
    after: Duration,
    /// The address of its time, if that is 0.
    zero: Option<u64>,
}

/// `poll_oneoff`: subscriptions, events, the number of either, where the number of events that occurred goes.
pub(crate) fn poll(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    let alarms = match alarms(call) {
        Ok(alarms) => alarms,
        Err(refused) => return Ok(refused),
    };
    let Some(first) = alarms.iter().map(|alarm| alarm.after).min() else { return waits::its_own_time(call) };
    // wasmer-wasix takes 0 for no time-out, so it is a nanosecond for the call alone.
    let zeros = || alarms.iter().filter_map(|alarm| alarm.zero);
    for at in zeros() {
        call.put(at, &1_u64.to_le_bytes());
    }
    let said = waits::for_that_long(call, first);
    for at in zeros() {
        call.put(at, &0_u64.to_le_bytes());
    }
    match said? {
        0 if alarms.len() > 1 => Ok(if without_late(call, &alarms, first) { 0 } else { Errno::Fault as i32 }),
        said => Ok(said),
    }
}

fn alarms(call: &Call<'_>) -> Result<Vec<Alarm>, i32> {
    let mut alarms = Vec::new();
    for number in 0..call.number(2) {
        let at = number.checked_mul(SUBSCRIPTION).and_then(|offset| offset.checked_add(call.number(0)));
        let at = at.ok_or(Errno::Fault as i32)?;
        let mut subscription = [0; SUBSCRIPTION as usize];
        if !call.get(at, &mut subscription) {
            return Err(Errno::Fault as i32);
        }
        if subscription[TYPE] == Eventtype::Clock as u8 {
            // Another clock, which wasmer-wasix refuses.
            let Some(after) = after(&subscription) else { continue };
            let zero = (word::<8>(&subscription, TIME) == [0; 8]).then_some(at + TIME as u64);
            alarms.push(Alarm { user_data: word(&subscription, 0), after, zero });
        }
    }
    Ok(alarms)
}

/// The time until a clock's subscription is due, 0 if that is past; None for a clock neither real-time nor monotonic.
fn after(subscription: &[u8; SUBSCRIPTION as usize]) -> Option<Duration> {
    let clock = u32::from_le_bytes(word(subscription, CLOCK));
    let clock = match clock {
        clock if clock == Clockid::Realtime as u32 => libc::CLOCK_REALTIME,
        clock if clock == Clockid::Monotonic as u32 => libc::CLOCK_MONOTONIC,
        _ => return None,
    };
    let time = Duration::from_nanos(u64::from_le_bytes(word(subscription, TIME)));
    let flags = u16::from_le_bytes(word(subscription, FLAGS));
    let absolute = flags & Subclockflags::SUBSCRIPTION_CLOCK_ABSTIME.bits() != 0;
    Some(if absolute { time.saturating_sub(now(clock)) } else { time })
}

fn now(clock: libc::clockid_t) -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes a whole timespec there, which outlives the call. It refuses neither of these two clocks.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    // A clock before 1970 is one that nobody has set.
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut word = [0; N];
    word.iter_mut().zip(bytes.iter().skip(at)).for_each(|(to, from)| *to = *from);
    word
}

/// Removes the events of clocks that are due later than the first. Returns false if there is no memory for them.
fn without_late(call: &Call<'_>, alarms: &[Alarm], first: Duration) -> bool {
    let (events, number) = (call.number(1), call.number(3));
    let mut count = [0; 4];
    if !call.get(number, &mut count) {
        return false;
    }
    let mut kept = 0;
    for at in 0..u64::from(u32::from_le_bytes(count)) {
        let mut event = [0; EVENT as usize];
        if !call.get(events + at * EVENT, &mut event) {
            return false;
        }
        let is_late = |alarm: &Alarm| alarm.after > first && alarm.user_data == word(&event, 0);
        if event[EVENT_TYPE] == Eventtype::Clock as u8 && alarms.iter().any(is_late) {
            continue;
        }
        if !call.put(events + kept * EVENT, &event) {
            return false;
        }
        kept += 1;
    }
    call.put_size(3, kept as usize)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CLOCK, FLAGS, SUBSCRIPTION, TIME, after, now};

    fn subscription(clock: u32, time: Duration, absolute: bool) -> [u8; SUBSCRIPTION as usize] {
        let mut bytes = [0; SUBSCRIPTION as usize];
        bytes[CLOCK..CLOCK + 4].copy_from_slice(&clock.to_le_bytes());
        bytes[TIME..TIME + 8].copy_from_slice(&(time.as_nanos() as u64).to_le_bytes());
        bytes[FLAGS] = absolute.into();
        bytes
    }

    #[test]
    fn a_time_belongs_to_its_own_clock() {
        let hour = Duration::from_secs(3600);
        for (number, clock) in [(0, libc::CLOCK_REALTIME), (1, libc::CLOCK_MONOTONIC)] {
            let left = after(&subscription(number, now(clock) + hour, true)).unwrap();
            assert!(left <= hour && left > hour - Duration::from_secs(10), "{left:?}");
            assert_eq!(after(&subscription(number, Duration::from_nanos(1), true)), Some(Duration::ZERO));
            assert_eq!(after(&subscription(number, hour, false)), Some(hour));
            assert_eq!(after(&subscription(number, Duration::ZERO, false)), Some(Duration::ZERO));
        }
        assert_eq!(after(&subscription(2, hour, false)), None);
    }
}
