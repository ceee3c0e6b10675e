//! Reads and writes with several buffers: wasmtime-wasi fills or takes only the first one, and reads no more than 64 KiB at a position.

use rustix::io::{pread, retry_on_intr};
use wasmtime::Result;
use wasmtime_wasi::p1::types::{Errno, Iovec};
use wasmtime_wasi::p1::wasi_snapshot_preview1 as calls;
use wiggle::{GuestError, GuestMemory, GuestPtr};

use super::opened::Preview1;
use super::preview1::{number, told};

/// A function of preview 1 with buffers, and the position in the file if it takes one.
#[derive(Clone, Copy)]
pub(super) enum Transfer {
    Read,
    Write,
    WriteAt(i64),
}

/// Makes the call anew until all buffers are used, or one is not used to its end. For files that never wait.
pub(super) async fn transfer(
    mut call: Transfer,
    memory: &mut GuestMemory<'_>,
    world: &mut Preview1,
    (fd, buffers, count, moved): (i32, i32, i32, i32),
) -> Result<i32> {
    let mut left = Buffers { at: buffers.cast_unsigned(), count: count.cast_unsigned() };
    let moved = GuestPtr::<u32>::new(moved.cast_unsigned());
    let mut total = 0_u32;
    loop {
        let answer = call.make(memory, world, fd, &left, moved).await?;
        // What an earlier buffer moved is told first, as the kernel does.
        if answer != Errno::Success as i32 && total == 0 {
            return Ok(answer);
        }
        let more = match answer == Errno::Success as i32 {
            true => memory.read(moved).and_then(|bytes| {
                total = bytes.saturating_add(total);
                call = call.further(bytes);
                left.pass(memory, bytes)
            }),
            false => Ok(false),
        };
        match more {
            Ok(true) => {}
            Ok(false) => return told(memory.write(moved, total)),
            Err(e) => return told(Err(e)),
        }
    }
}

/// Reads at a position, which the kernel does alone: the guest's own position is wasmtime-wasi's.
pub(super) async fn read_at(
    mut memory: GuestMemory<'_>,
    world: &mut Preview1,
    (fd, buffers, count, from, read): (i32, i32, i32, i64, i32),
) -> Result<i32> {
    let Some(file) = world.opened.file(&mut world.wasi, fd.cast_unsigned()) else {
        return calls::fd_pread(&mut world.wasi, &mut memory, fd, buffers, count, from, read).await;
    };
    let buffers = GuestPtr::<[Iovec]>::new((buffers.cast_unsigned(), count.cast_unsigned()));
    let mut total = 0_u32;
    for buffer in buffers.iter() {
        let buffer = match buffer.and_then(|buffer| memory.read(buffer)) {
            Ok(buffer) => memory.as_slice_mut(buffer.buf.as_array(buffer.buf_len)),
            Err(e) => return told(Err(e)),
        };
        let buffer = match buffer {
            Ok(Some(buffer)) => buffer,
            Ok(None) => return Ok(Errno::Notsup as i32),
            Err(e) => return told(Err(e)),
        };
        let at = from.cast_unsigned().wrapping_add(total.into());
        match retry_on_intr(|| pread(&*file, &mut *buffer, at)) {
            Ok(bytes) => {
                total = u32::try_from(bytes)?.saturating_add(total);
                if bytes < buffer.len() {
                    break;
                }
            }
            Err(e) if total == 0 => return Ok(number(Err(e))),
            Err(_) => break,
        }
    }
    told(memory.write(GuestPtr::<u32>::new(read.cast_unsigned()), total))
}

impl Transfer {
    async fn make(
        self,
        memory: &mut GuestMemory<'_>,
        world: &mut Preview1,
        fd: i32,
        buffers: &Buffers,
        moved: GuestPtr<u32>,
    ) -> Result<i32> {
        let (at, count) = (buffers.at.cast_signed(), buffers.count.cast_signed());
        let (wasi, moved) = (&mut world.wasi, moved.offset().cast_signed());
        match self {
            Self::Read => calls::fd_read(wasi, memory, fd, at, count, moved).await,
            Self::Write => calls::fd_write(wasi, memory, fd, at, count, moved).await,
            Self::WriteAt(to) => calls::fd_pwrite(wasi, memory, fd, at, count, to, moved).await,
        }
    }

    fn further(self, bytes: u32) -> Self {
        match self {
            Self::WriteAt(to) => Self::WriteAt(to.wrapping_add(bytes.into())),
            Self::Read | Self::Write => self,
        }
    }
}

/// The buffers that are not used yet.
struct Buffers {
    at: u32,
    count: u32,
}

impl Buffers {
    /// Passes the first buffer that is not empty, of which `bytes` were used. Returns whether there are more for the call.
    fn pass(&mut self, memory: &GuestMemory<'_>, bytes: u32) -> std::result::Result<bool, GuestError> {
        /// A buffer's address and length.
        const SIZE: u32 = 8;
        while self.count > 0 {
            let length = memory.read(GuestPtr::<Iovec>::new(self.at))?.buf_len;
            (self.at, self.count) = (self.at.wrapping_add(SIZE), self.count - 1);
            if length > 0 {
                return Ok(bytes == length && self.count > 0);
            }
        }
        Ok(false)
    }
}
