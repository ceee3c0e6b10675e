//! The functions of preview 1 with a descriptor for which wasmtime-wasi's answer differs from a native container's: it lists a folder anew
//! for each piece that a guest reads, reads and writes every opened file at a position, which a pipe and a terminal do not have, waits
//! in each read and write, uses only the first of several buffers, and sets no room aside for a file.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use catamaran_wasmtime_artifact::imports::PREVIEW1;
use catamaran_worker::listing::Found;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FallocateFlags, Mode, OFlags, fallocate, fcntl_getfl, fcntl_setfl, fdatasync, fsync, openat};
use rustix::io::{Errno as Kernel, retry_on_intr};
use wasmtime::{Caller, Linker, Result};
use wasmtime_wasi::p1::types::{Ciovec, Errno, Fdflags, Iovec, Rights};
use wasmtime_wasi::p1::wasi_snapshot_preview1 as calls;
use wiggle::{GuestMemory, GuestPtr};

use super::opened::{FOLDER, Polled, Preview1, What};
use super::poll::poll as poll_oneoff;
use super::preview1::{bytes, guest, is_root, number, told};
use super::vectors::{Transfer, read_at, transfer};

/// The most bytes of one write: a pipe's capacity.
const WRITE_MAX: usize = 64 << 10;
/// The least room that a pipe has when it is ready (PIPE_BUF).
const ROOM: usize = 4096;

/// Defines each function, with its parameters and the function here that does it.
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

/// Replaces wasmtime-wasi's functions; the linker must allow shadowing.
pub(super) fn add_to_linker(linker: &mut Linker<Preview1>) -> Result<()> {
    functions! { linker:
        fd_close(fd: i32) => close;
        fd_renumber(from: i32, to: i32) => renumber;
        fd_readdir(fd: i32, buffer: i32, room: i32, from: i64, used: i32) => read_folder;
        fd_read(fd: i32, to: i32, count: i32, got: i32) => read;
        fd_write(fd: i32, from: i32, count: i32, written: i32) => write;
        fd_pread(fd: i32, to: i32, count: i32, from: i64, got: i32) => read_at;
        fd_pwrite(fd: i32, from: i32, count: i32, to: i64, written: i32) => write_at;
        fd_seek(fd: i32, offset: i64, whence: i32, to: i32) => seek;
        fd_tell(fd: i32, to: i32) => tell;
        fd_fdstat_get(fd: i32, to: i32) => status;
        fd_fdstat_set_flags(fd: i32, flags: i32) => set_flags;
        fd_allocate(fd: i32, from: i64, length: i64) => allocate;
        fd_sync(fd: i32) => sync;
        fd_datasync(fd: i32) => sync_data;
        poll_oneoff(wanted: i32, events: i32, count: i32, happened: i32) => poll_oneoff;
    }
    Ok(())
}

type Memory<'a> = GuestMemory<'a>;
const DONE: i32 = Errno::Success as i32;

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
        // Not a folder, or not open: wasmtime-wasi answers.
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

/// Returns a file's inode number as wasmtime-wasi reports it when asked for that file: a hash of device and inode.
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
    if world.opened.is_at_once(fd.cast_unsigned()) {
        let polled = world.opened.polled(&mut world.wasi, fd.cast_unsigned());
        if matches!(polled, Ok(Some(polled)) if !is_ready(&polled, PollFlags::IN)) {
            return Ok(number(Err(Kernel::AGAIN)));
        }
    }
    let (Some(stream), None) = (stream, original) else {
        if let Some(What::File(_)) = world.opened.what(fd.cast_unsigned()) {
            return transfer(Transfer::Read, &mut memory, world, (fd, to, count, read)).await;
        }
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
        // A further read might block.
        break;
    }
    told(memory.write(GuestPtr::<u32>::new(read.cast_unsigned()), u32::try_from(got)?))
}

async fn write(
    mut memory: Memory<'_>,
    world: &mut Preview1,
    (fd, from, count, written): (i32, i32, i32, i32),
) -> Result<i32> {
    let at_once = world.opened.is_at_once(fd.cast_unsigned());
    let stream = match world.opened.what(fd.cast_unsigned()) {
        Some(What::Stream { .. }) => world.opened.polled(&mut world.wasi, fd.cast_unsigned()),
        Some(What::Own(_)) if at_once => world.opened.polled(&mut world.wasi, fd.cast_unsigned()),
        _ => Ok(None),
    };
    let Ok(Some(stream)) = stream else {
        return transfer(Transfer::Write, &mut memory, world, (fd, from, count, written)).await;
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
    let answer = match at_once {
        true => write_at_once(&stream, &all),
        false => retry_on_intr(|| rustix::io::write(&stream, &all)),
    };
    match answer {
        Ok(count) => told(memory.write(GuestPtr::<u32>::new(written.cast_unsigned()), u32::try_from(count)?)),
        Err(e) => Ok(number(Err(e))),
    }
}

async fn write_at(
    mut memory: Memory<'_>,
    world: &mut Preview1,
    (fd, from, count, to, written): (i32, i32, i32, i64, i32),
) -> Result<i32> {
    transfer(Transfer::WriteAt(to), &mut memory, world, (fd, from, count, written)).await
}

/// Whether a read or a write would not wait.
fn is_ready(stream: &Polled, what: PollFlags) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // If poll itself fails, the call tells why.
    poll(&mut [PollFd::new(stream, what)], Some(&at_once)).map_or(true, |ready| ready > 0)
}

/// Writes as many bytes as there is room for.
fn write_at_once(stream: &Polled, all: &[u8]) -> rustix::io::Result<usize> {
    let mut written = 0;
    for part in all.chunks(ROOM) {
        if !is_ready(stream, PollFlags::OUT) {
            break;
        }
        match retry_on_intr(|| rustix::io::write(stream, part)) {
            Ok(count) => written += count,
            Err(_) if written > 0 => break,
            Err(e) => return Err(e),
        }
    }
    if written == 0 && !all.is_empty() { Err(Kernel::AGAIN) } else { Ok(written) }
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

/// Takes the rights to seek from a stream, because a C library tells a terminal from another device by them.
async fn status(mut memory: Memory<'_>, world: &mut Preview1, (fd, to): (i32, i32)) -> Result<i32> {
    /// Where the flags and the rights are in WASI's `fdstat`.
    const FLAGS: u32 = 2;
    const RIGHTS: u32 = 8;
    const INHERITED: u32 = 16;
    let answer = calls::fd_fdstat_get(&mut world.wasi, &mut memory, fd, to).await?;
    if answer != DONE {
        return Ok(answer);
    }
    if world.opened.is_at_once(fd.cast_unsigned()) {
        let at = GuestPtr::<u16>::new(to.cast_unsigned().saturating_add(FLAGS));
        if let Err(e) = memory.read(at).and_then(|flags| memory.write(at, flags | Fdflags::NONBLOCK.bits())) {
            return told(Err(e));
        }
    }
    // A C library opens a file with no more rights than its folder hands on, so a folder hands on all of them.
    if world.opened.folder(&mut world.wasi, fd.cast_unsigned()).is_ok() {
        let at = GuestPtr::<u64>::new(to.cast_unsigned().saturating_add(INHERITED));
        return told(memory.write(at, Rights::all().bits()));
    }
    if world.opened.stream(&mut world.wasi, fd.cast_unsigned()).is_none() {
        return Ok(answer);
    }
    let at = GuestPtr::<u64>::new(to.cast_unsigned().saturating_add(RIGHTS));
    let rights = match memory.read(at) {
        Ok(rights) => rights & !(Rights::FD_SEEK | Rights::FD_TELL).bits(),
        Err(e) => return told(Err(e)),
    };
    told(memory.write(at, rights))
}

/// fcntl(2)'s `F_SETFL`. wasmtime-wasi takes no flags for a standard stream, and does not tell the kernel of O_NONBLOCK for an opened file.
/// Go sets O_NONBLOCK for all three streams when it begins, and checks it: else a read of an empty standard input would hold up all
/// goroutines.
async fn set_flags(mut memory: Memory<'_>, world: &mut Preview1, (fd, flags): (i32, i32)) -> Result<i32> {
    let Ok(asked) = Fdflags::try_from(flags) else { return Ok(Errno::Inval as i32) };
    let (what, at_once) = (world.opened.what(fd.cast_unsigned()), asked.contains(Fdflags::NONBLOCK));
    let answer = match what {
        Some(What::Own(_)) if asked.intersects(Fdflags::SYNC | Fdflags::DSYNC | Fdflags::RSYNC) => Errno::Inval as i32,
        Some(What::Own(_)) => DONE,
        _ => calls::fd_fdstat_set_flags(&mut world.wasi, &mut memory, fd, flags)?,
    };
    if answer != DONE {
        return Ok(answer);
    }
    match what {
        Some(What::Own(_) | What::Stream { of: Some(_), .. }) => world.opened.set_at_once(fd.cast_unsigned(), at_once),
        Some(What::Stream { of: None, .. }) => {
            let Some(file) = world.opened.stream(&mut world.wasi, fd.cast_unsigned()) else { return Ok(DONE) };
            let set = fcntl_getfl(&file).and_then(|mut flags| {
                flags.set(OFlags::NONBLOCK, at_once);
                fcntl_setfl(&file, flags)
            });
            return Ok(number(set));
        }
        _ => {}
    }
    Ok(DONE)
}

/// Sets room aside for a file, which wasmtime-wasi never does.
async fn allocate(mut memory: Memory<'_>, world: &mut Preview1, (fd, from, length): (i32, i64, i64)) -> Result<i32> {
    if let Some(What::Own(_) | What::Stream { .. }) = world.opened.what(fd.cast_unsigned()) {
        return Ok(Errno::Spipe as i32);
    }
    let Some(file) = world.opened.file(&mut world.wasi, fd.cast_unsigned()) else {
        return calls::fd_allocate(&mut world.wasi, &mut memory, fd, from, length);
    };
    Ok(number(fallocate(file, FallocateFlags::empty(), from.cast_unsigned(), length.cast_unsigned())))
}

async fn sync(mut memory: Memory<'_>, world: &mut Preview1, (fd,): (i32,)) -> Result<i32> {
    let answer = calls::fd_sync(&mut world.wasi, &mut memory, fd).await?;
    synced(answer, world, fd, |file| fsync(file))
}

async fn sync_data(mut memory: Memory<'_>, world: &mut Preview1, (fd,): (i32,)) -> Result<i32> {
    let answer = calls::fd_datasync(&mut world.wasi, &mut memory, fd).await?;
    synced(answer, world, fd, |file| fdatasync(file))
}

/// Syncs folders and standard streams too, for which wasmtime-wasi answers EBADF: a program that replaces a file syncs its folder in the
/// end.
fn synced(
    answer: i32,
    world: &mut Preview1,
    fd: i32,
    sync: impl FnOnce(&Polled) -> rustix::io::Result<()>,
) -> Result<i32> {
    if answer != Errno::Badf as i32 {
        return Ok(answer);
    }
    let is_root = is_root(&mut world.wasi, fd)?;
    let file = match world.opened.what(fd.cast_unsigned()) {
        Some(What::Own(own)) => Ok(Polled::Own(own)),
        Some(_) => world.opened.folder(&mut world.wasi, fd.cast_unsigned()).map(Polled::Opened),
        None if is_root => openat(CWD, "/", FOLDER, Mode::empty()).map(|root| Polled::Opened(Arc::new(root.into()))),
        None => Err(Kernel::BADF),
    };
    Ok(number(file.and_then(|file| sync(&file))))
}
