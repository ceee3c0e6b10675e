//! `poll_oneoff` of preview 1, by poll(2). wasmtime-wasi calls every file ready, FIFOs and terminals too, and every output: a
//! guest whose read or write found one not ready would poll and try again without end.
//!
//! Waits on the guest's own thread, which has nothing else to do: a module has neither sockets nor look-ups of names.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno as Kernel, ioctl_fionread};
use wasmtime::Result;
use wasmtime_wasi::p1::types::{
    Clockid, Errno, Error, Event, EventFdReadwrite, Eventrwflags, Eventtype, Subclockflags, Subscription,
    SubscriptionClock, SubscriptionU,
};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wiggle::{GuestError, GuestMemory, GuestPtr};

use super::opened::{Polled, Preview1};
use super::preview1::number;

const MOST_SUBSCRIPTIONS: u32 = 4096;

/// What a subscription waits for.
enum Until {
    /// For this time; for ever if it is None.
    Time(Option<Instant>),
    /// To read the file, or to write to it; None for a file that is always ready.
    File(Eventtype, Option<Polled>),
}

pub(super) async fn poll(
    mut memory: GuestMemory<'_>,
    world: &mut Preview1,
    (wanted, events, count, happened): (i32, i32, i32, i32),
) -> Result<i32> {
    let count = count.cast_unsigned();
    if count == 0 || count > MOST_SUBSCRIPTIONS {
        return Ok(Errno::Inval as i32);
    }
    let answer = subscriptions(&memory, wanted, count)
        .map_err(Error::from)
        .and_then(|all| all.iter().map(|one| Ok((one.userdata, until(world, one)?))).collect::<Answer<Vec<_>>>())
        .and_then(|all| wait(&all).map_err(|e| Errno::try_from(number(Err(e))).unwrap_or(Errno::Io).into()))
        .and_then(|all| tell(&mut memory, all, GuestPtr::new((events.cast_unsigned(), count)), happened));
    match answer {
        Ok(()) => Ok(Errno::Success as i32),
        Err(e) => Ok(e.downcast()? as i32),
    }
}

type Answer<T> = std::result::Result<T, Error>;

fn subscriptions(memory: &GuestMemory<'_>, at: i32, count: u32) -> std::result::Result<Vec<Subscription>, GuestError> {
    let all = GuestPtr::<[Subscription]>::new((at.cast_unsigned(), count));
    all.iter().map(|one| memory.read(one?)).collect()
}

fn until(world: &mut Preview1, subscription: &Subscription) -> Answer<Until> {
    let (kind, file) = match &subscription.u {
        SubscriptionU::Clock(clock) => return Ok(Until::Time(end(world, clock)?)),
        SubscriptionU::FdRead(file) => (Eventtype::FdRead, file.file_descriptor),
        SubscriptionU::FdWrite(file) => (Eventtype::FdWrite, file.file_descriptor),
    };
    match world.opened.polled(&mut world.wasi, file.into()) {
        Ok(polled) => Ok(Until::File(kind, polled)),
        Err(_) => Err(Errno::Badf.into()),
    }
}

/// Returns when a clock's time has come; None for never.
fn end(world: &mut Preview1, clock: &SubscriptionClock) -> Answer<Option<Instant>> {
    if !matches!(clock.id, Clockid::Realtime | Clockid::Monotonic) {
        return Err(Errno::Inval.into());
    }
    let begin = Instant::now();
    let left = match clock.flags.contains(Subclockflags::SUBSCRIPTION_CLOCK_ABSTIME) {
        true => {
            let now = world.wasi.clock_time_get(&mut GuestMemory::Unshared(&mut []), clock.id, 0)?;
            clock.timeout.saturating_sub(now)
        }
        false => clock.timeout,
    };
    Ok(begin.checked_add(Duration::from_nanos(left)))
}

/// Waits for any of the subscriptions, and returns the events of all that have come.
fn wait(all: &[(u64, Until)]) -> rustix::io::Result<Vec<Event>> {
    let first = all.iter().filter_map(|(_, until)| if let Until::Time(time) = until { *time } else { None }).min();
    let at_once = all.iter().any(|(_, until)| matches!(until, Until::File(_, None)));
    loop {
        let mut polled: Vec<_> = all.iter().filter_map(|(_, until)| asked(until)).collect();
        let left = first.map(|time| time.saturating_duration_since(Instant::now()));
        let left = if at_once { Some(Duration::ZERO) } else { left };
        match rustix::event::poll(&mut polled, left.and_then(|left| Timespec::try_from(left).ok()).as_ref()) {
            Ok(_) | Err(Kernel::INTR) => {}
            Err(e) => return Err(e),
        }
        let (mut found, now) = (polled.iter().map(PollFd::revents), Instant::now());
        let events: Vec<_> =
            all.iter().filter_map(|(userdata, until)| event(*userdata, until, &mut found, now)).collect();
        if !events.is_empty() {
            return Ok(events);
        }
    }
}

fn asked(until: &Until) -> Option<PollFd<'_>> {
    let Until::File(kind, Some(file)) = until else { return None };
    Some(PollFd::new(file, if matches!(kind, Eventtype::FdRead) { PollFlags::IN } else { PollFlags::OUT }))
}

/// Returns the event of a subscription, if it has come. `found` has poll(2)'s answer for each file in turn.
fn event(userdata: u64, until: &Until, found: &mut impl Iterator<Item = PollFlags>, now: Instant) -> Option<Event> {
    let event = |type_, nbytes, flags| {
        let fd_readwrite = EventFdReadwrite { nbytes, flags };
        Some(Event { userdata, error: Errno::Success, type_, fd_readwrite })
    };
    match until {
        Until::Time(time) => {
            time.filter(|time| *time <= now).and_then(|_| event(Eventtype::Clock, 0, Eventrwflags::empty()))
        }
        Until::File(kind, None) => event(*kind, 1, Eventrwflags::empty()),
        Until::File(kind, Some(file)) => {
            let found = found.next().filter(|found| !found.is_empty())?;
            let mut flags = Eventrwflags::empty();
            flags.set(Eventrwflags::FD_READWRITE_HANGUP, found.contains(PollFlags::HUP));
            let nbytes = if matches!(kind, Eventtype::FdRead) { ioctl_fionread(file).unwrap_or(1) } else { 1 };
            event(*kind, nbytes, flags)
        }
    }
}

fn tell(memory: &mut GuestMemory<'_>, all: Vec<Event>, events: GuestPtr<[Event]>, happened: i32) -> Answer<()> {
    let count = u32::try_from(all.len())?;
    for (event, at) in all.into_iter().zip(events.iter()) {
        memory.write(at?, event)?;
    }
    memory.write(GuestPtr::<u32>::new(happened.cast_unsigned()), count)?;
    Ok(())
}
