//! The functions of preview 1 with a descriptor, where wasmtime-wasi's answer is not that of a container: it lists a folder
//! anew for each piece that is read of it, and reads and writes every file that was opened at a position, which a pipe and
//! a terminal do not have.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use catamaran_wasmtime_artifact::imports::PREVIEW1;
use catamaran_worker::listing::Found;
use rustix::io::{Errno as Kernel, retry_on_intr};
use wasmtime::{Caller, Linker, Result};
use wasmtime_wasi::p1::types::{Ciovec, Errno, Error, Iovec, Rights};
use wasmtime_wasi::p1::wasi_snapshot_preview1 as calls;
use wiggle::{GuestMemory, GuestPtr};

use super::opened::Preview1;
use super::preview1::{guest, is_root, number};

/// One write's bytes at most: what a pipe holds.
const WRITE_MAX: usize = 64 << 10;

/// Each function with its parameters, and what is done for it.
macro_rules! functions {
    ($linker:ident: $($call:ident($($argument:ident: $ty:ty),*) => $body:ident;)*) => {$(
        $linker.func_wrap_async(
            PREVIEW1,
            stringify!($call),
            |mut caller: Caller<'_, Preview1>, ($($argument,)*): ($($ty,)*)| Box::new(async move {
                let (memory, world) = guest(&mut caller)?;
                $body(memory, world, ($($argument,)*)).await
            }),
        )?;
    )*};
}

/// Defines them over wasmtime-wasi's, for which shadowing has to be allowed.
pub(super) fn add_to_linker(linker: &mut Linker<Preview1>) -> Result<()> {
    functions! { linker:
        fd_close(fd: i32) => close;
        fd_renumber(from: i32, to: i32) => renumber;
        fd_readdir(fd: i32, buffer: i32, room: i32, from: i64, used: i32) => read_folder;
        fd_read(fd: i32, to: i32, count: i32, got: i32) => read;
        fd_write(fd: i32, from: i32, count: i32, written: i32) => write;
        fd_seek(fd: i32, offset: i64, whence: i32, to: i32) => seek;
        fd_tell(fd: i32, to: i32) => tell;
        fd_fdstat_get(fd: i32, to: i32) => status;
        poll_oneoff(wanted: i32, events: i32, count: i32, happened: i32) => poll;
    }
    Ok(())
}

type Memory<'a> = GuestMemory<'a>;
const DONE: i32 = Errno::Success as i32;

/// An answer in the guest's memory, as wasmtime-wasi has errors with that.
fn told(answer: std::result::Result<(), wiggle::GuestError>) -> Result<i32> {
    match answer {
        Ok(()) => Ok(DONE),
        Err(e) => Ok(Error::from(e).downcast()? as i32),
    }
}

fn bytes(at: i32, length: i32) -> GuestPtr<[u8]> {
    GuestPtr::new((at.cast_unsigned(), length.cast_unsigned()))
}

async fn close(mut memory: Memory<'_>, world: &mut Preview1, (fd,): (i32,)) -> Result<i32> {
    let answer = calls::fd_close(&mut world.wasi, &mut memory, fd).await?;
    if answer == DONE {
        world.opened.closed(fd.cast_unsigned());
    }
    Ok(answer)
}

async fn renumber(mut memory: Memory<'_>, world: &mut Preview1, (from, to): (i32, i32)) -> Result<i32> {
    let answer = calls::fd_renumber(&mut world.wasi, &mut memory, from, to).await?;
    if answer == DONE && from != to {
        world.opened.renumbered(from.cast_unsigned(), to.cast_unsigned());
    }
    Ok(answer)
}

async fn read_folder(
    mut memory: Memory<'_>,
    world: &mut Preview1,
    (fd, buffer, room, from, used): (i32, i32, i32, i64, i32),
) -> Result<i32> {
    let is_root = is_root(&mut world.wasi, fd)?;
    let listing = match world.opened.listing(&mut world.wasi, fd.cast_unsigned(), is_root) {
        Ok(Some(listing)) => listing,
        // No folder, or nothing: with wasmtime-wasi's own words.
        Ok(None) => return calls::fd_readdir(&mut world.wasi, &mut memory, fd, buffer, room, from, used).await,
        Err(e) => return Ok(number(Err(Kernel::from_io_error(&e).unwrap_or(Kernel::IO)))),
    };
    let filled = match memory.as_slice_mut(bytes(buffer, room)) {
        Ok(Some(buffer)) => listing.fill(from.cast_unsigned(), buffer, inode),
        Ok(None) => return Ok(Errno::Notsup as i32),
        Err(e) => return told(Err(e)),
    };
    match filled {
        Ok(filled) => told(memory.write(GuestPtr::<u32>::new(used.cast_unsigned()), u32::try_from(filled)?)),
        Err(e) => Ok(number(Err(Kernel::from_io_error(&e).unwrap_or(Kernel::IO)))),
    }
}

/// The number of a file as wasmtime-wasi tells it when asked for that file: of device and number together.
fn inode(found: Found<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (found.device, found.inode).hash(&mut hasher);
    hasher.finish()
}

async fn read(
    mut memory: Memory<'_>,
    world: &mut Preview1,
    (fd, to, count, read): (i32, i32, i32, i32),
) -> Result<i32> {
    let original = world.opened.original(fd.cast_unsigned());
    let stream = world.opened.stream(&mut world.wasi, fd.cast_unsigned());
    let (Some(stream), None) = (stream, original) else {
        let fd = original.map_or(fd, u32::cast_signed);
        return calls::fd_read(&mut world.wasi, &mut memory, fd, to, count, read).await;
    };
    let buffers = GuestPtr::<[Iovec]>::new((to.cast_unsigned(), count.cast_unsigned()));
    let mut got = 0;
    for buffer in buffers.iter() {
        let buffer = match buffer.and_then(|buffer| memory.read(buffer)) {
            Ok(buffer) if buffer.buf_len == 0 => continue,
            Ok(buffer) => buffer.buf.as_array(buffer.buf_len),
            Err(e) => return told(Err(e)),
        };
        let answer = match memory.as_slice_mut(buffer) {
            Ok(Some(buffer)) => retry_on_intr(|| rustix::io::read(&*stream, &mut *buffer)),
            Ok(None) => return Ok(Errno::Notsup as i32),
            Err(e) => return told(Err(e)),
        };
        match answer {
            Ok(count) => got = count,
            Err(e) => return Ok(number(Err(e))),
        }
        // A further one might wait.
        break;
    }
    told(memory.write(GuestPtr::<u32>::new(read.cast_unsigned()), u32::try_from(got)?))
}

async fn write(
    mut memory: Memory<'_>,
    world: &mut Preview1,
    (fd, from, count, written): (i32, i32, i32, i32),
) -> Result<i32> {
    let Some(stream) = world.opened.stream(&mut world.wasi, fd.cast_unsigned()) else {
        return calls::fd_write(&mut world.wasi, &mut memory, fd, from, count, written).await;
    };
    let buffers = GuestPtr::<[Ciovec]>::new((from.cast_unsigned(), count.cast_unsigned()));
    let mut all = Vec::new();
    for buffer in buffers.iter() {
        let buffer = match buffer.and_then(|buffer| memory.read(buffer)) {
            Ok(buffer) => buffer.buf.as_array(buffer.buf_len),
            Err(e) => return told(Err(e)),
        };
        let room = u32::try_from(WRITE_MAX - all.len())?.min(buffer.len());
        match memory.as_cow(buffer.get_range(0..room).unwrap_or(buffer)) {
            Ok(bytes) => all.extend_from_slice(&bytes),
            Err(e) => return told(Err(e)),
        }
    }
    match retry_on_intr(|| rustix::io::write(&*stream, &all)) {
        Ok(count) => told(memory.write(GuestPtr::<u32>::new(written.cast_unsigned()), u32::try_from(count)?)),
        Err(e) => Ok(number(Err(e))),
    }
}

async fn seek(
    mut memory: Memory<'_>,
    world: &mut Preview1,
    (fd, offset, whence, to): (i32, i64, i32, i32),
) -> Result<i32> {
    match world.opened.stream(&mut world.wasi, fd.cast_unsigned()) {
        Some(_) => Ok(Errno::Spipe as i32),
        None => calls::fd_seek(&mut world.wasi, &mut memory, fd, offset, whence, to).await,
    }
}

async fn tell(mut memory: Memory<'_>, world: &mut Preview1, (fd, to): (i32, i32)) -> Result<i32> {
    match world.opened.stream(&mut world.wasi, fd.cast_unsigned()) {
        Some(_) => Ok(Errno::Spipe as i32),
        None => calls::fd_tell(&mut world.wasi, &mut memory, fd, to),
    }
}

/// By the rights to seek, or none, a C library tells a terminal from another device.
async fn status(mut memory: Memory<'_>, world: &mut Preview1, (fd, to): (i32, i32)) -> Result<i32> {
    /// Where the rights are in WASI's `fdstat`.
    const RIGHTS: u32 = 8;
    let answer = calls::fd_fdstat_get(&mut world.wasi, &mut memory, fd, to).await?;
    if answer != DONE || world.opened.stream(&mut world.wasi, fd.cast_unsigned()).is_none() {
        return Ok(answer);
    }
    let at = GuestPtr::<u64>::new(to.cast_unsigned().saturating_add(RIGHTS));
    let rights = match memory.read(at) {
        Ok(rights) => rights & !(Rights::FD_SEEK | Rights::FD_TELL).bits(),
        Err(e) => return told(Err(e)),
    };
    told(memory.write(at, rights))
}

/// Where a subscription (WASI's `subscription`, 48 bytes) says what it is of, if of a descriptor, and of which one.
const SUBSCRIPTION: usize = 48;
const KIND: usize = 8;
const DESCRIPTOR: usize = 16;
const EVENT: usize = 32;
const MOST_SUBSCRIPTIONS: usize = 4096;

/// A duplicate of one of the worker's own streams is ready when that is: wasmtime-wasi calls all files ready.
async fn poll(
    mut memory: Memory<'_>,
    world: &mut Preview1,
    (wanted, events, count, happened): (i32, i32, i32, i32),
) -> Result<i32> {
    let many = count.cast_unsigned() as usize;
    if !world.opened.has_streams() || many > MOST_SUBSCRIPTIONS {
        return calls::poll_oneoff(&mut world.wasi, &mut memory, wanted, events, count, happened).await;
    }
    // In a memory of its own: subscriptions, events, how many.
    let (behind_wanted, behind_events) = (many * SUBSCRIPTION, many * (SUBSCRIPTION + EVENT));
    let mut own = match memory.as_cow(bytes(wanted, i32::try_from(behind_wanted)?)) {
        Ok(wanted) => wanted.into_owned(),
        Err(e) => return told(Err(e)),
    };
    for subscription in own.chunks_exact_mut(SUBSCRIPTION) {
        let descriptor = &mut subscription[DESCRIPTOR..DESCRIPTOR + 4];
        let fd = descriptor.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
        if let (Some(original), true) = (world.opened.original(fd), subscription[KIND] != 0) {
            subscription[DESCRIPTOR..DESCRIPTOR + 4].copy_from_slice(&original.to_le_bytes());
        }
    }
    own.resize(behind_events + 4, 0);
    let answer = {
        let mut own = GuestMemory::Unshared(&mut own);
        let (events, happened) = (i32::try_from(behind_wanted)?, i32::try_from(behind_events)?);
        calls::poll_oneoff(&mut world.wasi, &mut own, 0, events, count, happened).await?
    };
    if answer != DONE {
        return Ok(answer);
    }
    let told_of = own[behind_events..].iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
    let length = (told_of as usize).min(many) * EVENT;
    let copied = memory
        .copy_from_slice(&own[behind_wanted..behind_wanted + length], bytes(events, i32::try_from(length)?))
        .and_then(|()| memory.write(GuestPtr::<u32>::new(happened.cast_unsigned()), told_of));
    told(copied)
}
