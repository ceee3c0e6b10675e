//! `path_open` of preview 1: by wasmtime-wasi, or by the kernel if wasmtime-wasi's answer is not final or it has no way to ask. Notes each
//! opened file, for the functions with a descriptor.

use std::fs::File;

use catamaran_wasmtime_artifact::imports::PREVIEW1;
use rustix::fs::{FileType, OFlags, fstat};
use wasmtime::{Caller, Linker, Result};
use wasmtime_wasi::filesystem::{self, Descriptor, Dir};
use wasmtime_wasi::p1::types::{Errno, Fd, Fdflags, Lookupflags, Oflags, Rights};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as calls, WasiSnapshotPreview1 as _};
use wasmtime_wasi::{FsPerms, OpenMode};
use wiggle::{GuestMemory, GuestPtr};

use super::kernel;
use super::opened::{Again, Preview1, next_place};
use super::preview1::{Answer, Call, OUTSIDE, foreign, guest, number, refused};
use super::refused::Refused;

/// The parameters of `path_open`.
type Open = (i32, i32, i32, i32, i32, i64, i64, i32, i32);

/// Replaces wasmtime-wasi's `path_open`; the linker must allow shadowing.
pub(super) fn add_to_linker(linker: &mut Linker<Preview1>) -> Result<()> {
    linker.func_wrap_async(PREVIEW1, "path_open", |mut caller: Caller<'_, Preview1>, arguments: Open| {
        Box::new(async move {
            let (memory, world) = guest(&mut caller)?;
            first(memory, world, arguments).await
        })
    })?;
    Ok(())
}

async fn first(mut memory: GuestMemory<'_>, world: &mut Preview1, arguments: Open) -> Result<i32> {
    let (folder, flags, path, len, how, rights, inherited, fd_flags, to) = arguments;
    let (first, refused) = if is_the_kernels(fd_flags) || foreign(&memory, path, len) {
        (OUTSIDE, Some(Refused::Unasked))
    } else {
        let place = next_place(&mut world.wasi);
        let context = &mut world.wasi;
        let answer =
            calls::path_open(context, &mut memory, folder, flags, path, len, how, rights, inherited, fd_flags, to);
        let answer = answer.await?;
        if answer == Errno::Success as i32 {
            let fd = memory.read(GuestPtr::<u32>::new(to.cast_unsigned()))?;
            world.opened.note(&mut world.wasi, fd, place);
        }
        (answer, refused(answer))
    };
    let Some(refused) = refused else { return Ok(first) };
    let call = Call { memory, context: &mut world.wasi, opened: &mut world.opened, refused };
    Ok(again(call, arguments).await?.unwrap_or(first))
}

/// Whether a file is opened with flags that wasmtime-wasi does not hand on: it waits for the other end of every FIFO, and opens no file for
/// synchronous writes.
fn is_the_kernels(fd_flags: i32) -> bool {
    let kernels = Fdflags::NONBLOCK | Fdflags::SYNC | Fdflags::DSYNC | Fdflags::RSYNC;
    Fdflags::try_from(fd_flags).is_ok_and(|flags| flags.intersects(kernels))
}

/// The descriptor, or the error number.
type OpenedAs = std::result::Result<Fd, i32>;

async fn again(mut call: Call<'_>, (folder, flags, path, len, how, rights, _, fd_flags, to): Open) -> Result<Answer> {
    let (mut flags, how) = (Lookupflags::try_from(flags)?, Oflags::try_from(how)?);
    let (rights, fd_flags) = (Rights::try_from(rights)?, Fdflags::try_from(fd_flags)?);
    // The file to make must not exist, not even as a link.
    if how.contains(Oflags::CREAT | Oflags::EXCL) {
        flags &= !Lookupflags::SYMLINK_FOLLOW;
    }
    let opened = match call.descriptor((folder, path, len), flags)? {
        Some(descriptor) => open_descriptor(&mut call, folder, descriptor, how, rights, fd_flags).await?,
        None => match call.seen((folder, path, len), flags, kernels(how, rights, fd_flags))? {
            None => return Ok(None),
            Some(Ok(file)) => {
                let again = Again::new(file.into(), rights)?;
                adopt(&mut call, folder, again, fd_flags).await?
            }
            Some(Err(e)) => Err(number(Err(e))),
        },
    };
    Ok(Some(match opened {
        Ok(fd) => call.memory.write(GuestPtr::<Fd>::new(to.cast_unsigned()), fd).map(|()| Errno::Success as i32)?,
        Err(number) => number,
    }))
}

/// Returns the flags for the kernel's open. Not O_APPEND, because wasmtime-wasi finds a file's end itself.
fn kernels(how: Oflags, rights: Rights, fd_flags: Fdflags) -> OFlags {
    let access = match (rights.contains(Rights::FD_READ), rights.contains(Rights::FD_WRITE)) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    let mut flags = access | OFlags::NOCTTY;
    flags.set(OFlags::CREATE, how.contains(Oflags::CREAT));
    flags.set(OFlags::EXCL, how.contains(Oflags::EXCL));
    flags.set(OFlags::TRUNC, how.contains(Oflags::TRUNC));
    flags.set(OFlags::DIRECTORY, how.contains(Oflags::DIRECTORY));
    flags.set(OFlags::NONBLOCK, fd_flags.contains(Fdflags::NONBLOCK));
    flags.set(OFlags::DSYNC, fd_flags.contains(Fdflags::DSYNC));
    if fd_flags.intersects(Fdflags::SYNC | Fdflags::RSYNC) {
        flags |= OFlags::SYNC;
    }
    flags
}

/// Opens the file behind one of the guest's descriptors once more.
async fn open_descriptor(
    call: &mut Call<'_>,
    folder: i32,
    descriptor: u32,
    how: Oflags,
    rights: Rights,
    fd_flags: Fdflags,
) -> Result<OpenedAs> {
    if how.contains(Oflags::CREAT | Oflags::EXCL) {
        return Ok(Err(Errno::Exist as i32));
    }
    match call.opened.once_more(call.context, descriptor, rights) {
        Ok(again) if how.contains(Oflags::DIRECTORY) && !again.is_folder() => Ok(Err(Errno::Notdir as i32)),
        Ok(again) => adopt(call, folder, again, fd_flags).await,
        Err(e) => Ok(Err(number(Err(e)))),
    }
}

/// Gives the guest a descriptor of `again`. wasmtime-wasi makes a descriptor only by opening a file, so it opens one of the same kind, the
/// root or `/dev/null`, which is then replaced.
async fn adopt(call: &mut Call<'_>, folder: i32, again: Again, fd_flags: Fdflags) -> Result<OpenedAs> {
    let (path, kind) = if again.is_folder() { (".", Oflags::DIRECTORY) } else { ("dev/null", Oflags::empty()) };
    let mut memory = path.as_bytes().to_vec();
    let mut memory = GuestMemory::Unshared(&mut memory);
    let text = GuestPtr::new((0, u32::try_from(path.len())?));
    let (flags, rights) = (Lookupflags::empty(), Rights::FD_READ);
    let fd_flags = fd_flags & (Fdflags::APPEND | Fdflags::NONBLOCK);
    // While that file is opened, the container's root takes the place of the guest's folder.
    let root = match kernel::root() {
        Ok(root) => Descriptor::Dir(Dir::new(root.into(), FsPerms::ReadWrite, OpenMode::READ, true)),
        Err(e) => return Ok(Err(number(Err(e)))),
    };
    let before = call.opened.exchange(call.context, folder.cast_unsigned(), root);
    let place = next_place(call.context);
    let opened = call.context.path_open(&mut memory, folder.into(), flags, text, kind, rights, rights, fd_flags).await;
    if let Some(before) = before {
        call.opened.exchange(call.context, folder.cast_unsigned(), before);
    }
    let fd = match opened {
        Ok(fd) => fd,
        Err(e) => return Ok(Err(e.downcast()? as i32)),
    };
    let replaced = call.opened.replace(call.context, fd.into(), place, again, fd_flags.contains(Fdflags::NONBLOCK));
    replaced.map(|()| Ok(fd)).ok_or_else(|| wasmtime::format_err!("a file is not where it was opened"))
}

impl Again {
    /// Wraps a file that the kernel has opened.
    fn new(file: File, rights: Rights) -> Result<Self> {
        let mut mode = OpenMode::empty();
        mode.set(OpenMode::WRITE, rights.contains(Rights::FD_WRITE));
        mode.set(OpenMode::READ, rights.contains(Rights::FD_READ) || mode.is_empty());
        let descriptor = match FileType::from_raw_mode(fstat(&file)?.st_mode) {
            FileType::Directory => Descriptor::Dir(Dir::new(file, FsPerms::ReadWrite, mode, true)),
            _ => Descriptor::File(filesystem::File::new(file, FsPerms::ReadWrite, mode, true)),
        };
        Ok(Self::of(descriptor, None))
    }
}
