//! The functions of preview 1 with a path: by wasmtime-wasi, or by the kernel if wasmtime-wasi's answer is not final or it has no way to
//! ask, because it takes no name that is not UTF-8, and no slash behind a name.

use std::borrow::Cow;
use std::os::fd::{AsFd, OwnedFd};

use catamaran_wasmtime_artifact::imports::PREVIEW1;
use rustix::fs::{AtFlags, OFlags, utimensat};
use rustix::io::Errno as Kernel;
use wasmtime::component::Resource;
use wasmtime::{AsContextMut, Caller, Extern, Linker, Result, bail};
use wasmtime_wasi::filesystem::{self, Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types::{Errno, Error, Fd, Filestat, Fstflags, Lookupflags, Timestamp};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as calls, WasiSnapshotPreview1};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types::{ErrorCode, HostDescriptor as _};
use wasmtime_wasi::{FsPerms, OpenMode, WasiView as _};
use wiggle::{GuestError, GuestMemory, GuestPtr};

use super::kernel::{self, Base, Entry};
use super::opened::{Opened, Preview1};
use super::refused::{self, Refused};
use super::times;

/// Defines each function: its parameters, a test for paths that wasmtime-wasi is not asked about, and the function called then or if it
/// refused.
macro_rules! functions {
    ($linker:ident: $(
        $call:ident($($argument:ident: $ty:ty),*) but $other:ident($($at:ident $len:ident),*) => $again:ident$(.$wait:ident)?;
    )*) => {$(
        $linker.func_wrap_async(
            PREVIEW1,
            stringify!($call),
            |mut caller: Caller<'_, Preview1>, ($($argument,)*): ($($ty,)*)| Box::new(async move {
                let (mut memory, world) = guest(&mut caller)?;
                let (first, refused) = match [$(($at, $len)),*].into_iter().any(|(at, len)| $other(&memory, at, len)) {
                    true => (OUTSIDE, Some(Refused::Unasked)),
                    false => {
                        let first = calls::$call(&mut world.wasi, &mut memory, $($argument),*).await?;
                        (first, refused(first))
                    }
                };
                let Some(refused) = refused else { return Ok(first) };
                let call = Call { memory, context: &mut world.wasi, opened: &mut world.opened, refused };
                Ok(wait!($again(call, ($($argument,)*))$(, $wait)?)?.unwrap_or(first))
            }),
        )?;
    )*};
}

macro_rules! wait {
    ($answer:expr) => {
        $answer
    };
    ($answer:expr, wait) => {
        $answer.await
    };
}

/// Replaces wasmtime-wasi's functions; the linker must allow shadowing.
pub(super) fn add_to_linker(linker: &mut Linker<Preview1>) -> Result<()> {
    functions! { linker:
        path_create_directory(folder: i32, path: i32, len: i32) but named(path len) => create_directory;
        path_filestat_get(folder: i32, flags: i32, path: i32, len: i32, to: i32) but foreign(path len) => stat.wait;
        path_filestat_set_times(folder: i32, flags: i32, path: i32, len: i32, accessed: i64, modified: i64, set: i32)
            but foreign(path len) => set_times;
        path_link(from: i32, flags: i32, path: i32, len: i32, to: i32, to_path: i32, to_len: i32)
            but named(path len, to_path to_len) => link;
        path_readlink(folder: i32, path: i32, len: i32, buffer: i32, room: i32, to: i32)
            but foreign(path len) => read_link;
        path_remove_directory(folder: i32, path: i32, len: i32) but named(path len) => remove_directory;
        path_rename(from: i32, path: i32, len: i32, to: i32, to_path: i32, to_len: i32)
            but named(path len, to_path to_len) => rename;
        path_symlink(text: i32, text_len: i32, folder: i32, path: i32, len: i32)
            but named(text text_len, path len) => symlink;
        path_unlink_file(folder: i32, path: i32, len: i32) but named(path len) => unlink;
    }
    Ok(())
}

/// Whether a path is not UTF-8, which wasmtime-wasi refuses whatever it names. A path outside of the guest's memory is left to
/// wasmtime-wasi to refuse.
pub(super) fn foreign(memory: &GuestMemory<'_>, at: i32, len: i32) -> bool {
    memory.as_cow(bytes(at, len)).is_ok_and(|path| std::str::from_utf8(&path).is_err())
}

/// Whether a path is `foreign`, or one that wasmtime-wasi makes, moves or removes under another name.
fn named(memory: &GuestMemory<'_>, at: i32, len: i32) -> bool {
    memory.as_cow(bytes(at, len)).is_ok_and(|path| kernel::is_folder(&path)) || foreign(memory, at, len)
}

/// A function's answer; None if wasmtime-wasi's first answer stays.
pub(super) type Answer = Option<i32>;

/// The answer for a path that by itself leads out of its folder.
pub(super) const OUTSIDE: i32 = Errno::Perm as i32;

/// A call that wasmtime-wasi has refused, or was not asked to make.
pub(super) struct Call<'a> {
    pub(super) memory: GuestMemory<'a>,
    pub(super) context: &'a mut WasiP1Ctx,
    pub(super) opened: &'a mut Opened,
    pub(super) refused: Refused,
}

pub(super) fn guest<'a>(caller: &'a mut Caller<'_, Preview1>) -> Result<(GuestMemory<'a>, &'a mut Preview1)> {
    let fuel = caller.as_context_mut().hostcall_fuel();
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else { bail!("missing required memory export") };
    let (memory, world) = memory.data_and_store_mut(caller);
    world.wasi.set_hostcall_fuel(fuel);
    Ok((GuestMemory::Unshared(memory), world))
}

/// Whether a descriptor is the container's root: the folder preopened as `/`, not one that the guest opened.
pub(super) fn is_root(context: &mut WasiP1Ctx, folder: i32) -> Result<bool> {
    let mut name = [0];
    let mut scratch = GuestMemory::Unshared(&mut name);
    match context.fd_prestat_dir_name(&mut scratch, Fd::from(folder), GuestPtr::new(0), 1) {
        Ok(()) => Ok(name == *b"/"),
        Err(e) => e.downcast().map(|_| false),
    }
}

pub(super) fn refused(answer: i32) -> Option<Refused> {
    match Errno::try_from(answer).ok()? {
        Errno::Perm => Refused::from_code(ErrorCode::NotPermitted),
        Errno::Io => Refused::from_code(ErrorCode::Io),
        Errno::Noent => Refused::from_code(ErrorCode::NoEntry),
        // A link's text that is not UTF-8.
        Errno::Ilseq => Some(Refused::Unclear),
        _ => None,
    }
}

/// Translates the kernel's answer to preview 1, which has more error numbers than 0.2.
pub(super) fn number(answer: rustix::io::Result<()>) -> i32 {
    let errno = match answer {
        Ok(()) => Errno::Success,
        Err(Kernel::MFILE) => Errno::Mfile,
        Err(Kernel::NFILE) => Errno::Nfile,
        Err(e) => refused::code(e).into(),
    };
    errno as i32
}

/// Turns the result of an access to the guest's memory into a call's answer, with errors as wasmtime-wasi has them.
pub(super) fn told(answer: std::result::Result<(), GuestError>) -> Result<i32> {
    match answer {
        Ok(()) => Ok(Errno::Success as i32),
        Err(e) => Ok(Error::from(e).downcast()? as i32),
    }
}

impl Call<'_> {
    pub(super) fn path(&self, path: Path) -> Result<Cow<'_, [u8]>> {
        Ok(self.memory.as_cow(bytes(path.1, path.2))?)
    }

    /// Asks the kernel where a path leads. Returns None if there is no reason to ask, or if the path by itself leaves its folder.
    fn found<T>(
        &mut self,
        path: Path,
        find: impl FnOnce(&Base<'_>, &[u8]) -> rustix::io::Result<Option<T>>,
    ) -> Result<Option<rustix::io::Result<T>>> {
        let is_root = is_root(self.context, path.0)?;
        let asks = match self.refused {
            // Below another folder "not permitted" is final: the kernel is asked only for the reason of other refusals.
            Refused::NotPermitted => is_root,
            Refused::NotFound => false,
            Refused::Unclear | Refused::Unasked => true,
        };
        if !asks {
            return Ok(None);
        }
        let text = self.path(path)?.into_owned();
        let found = match is_root {
            true => kernel::root().and_then(|root| find(&Base::root(root.as_fd()), &text)),
            false => self
                .opened
                .folder(self.context, path.0.cast_unsigned())
                .and_then(|folder| find(&Base { folder: folder.as_fd(), is_root }, &text)),
        };
        Ok(found.transpose())
    }

    fn entry(&mut self, path: Path) -> Result<Option<rustix::io::Result<Entry>>> {
        self.found(path, |base, path| base.entry(path, false))
    }

    /// Opens the file that a path leads to, for a call that looks at the file or opens it.
    pub(super) fn seen(
        &mut self,
        path: Path,
        flags: Lookupflags,
        how: OFlags,
    ) -> Result<Option<rustix::io::Result<OwnedFd>>> {
        let follow = flags.contains(Lookupflags::SYMLINK_FOLLOW);
        self.found(path, |base, path| base.open(path, follow || kernel::is_folder(path), how))
    }

    /// Returns the guest's own descriptor that a path leads to.
    pub(super) fn descriptor(&mut self, path: Path, flags: Lookupflags) -> Result<Option<u32>> {
        let text = self.path(path)?;
        // A path that was not found leads to a descriptor only if it names one itself.
        let named = || text.windows(3).any(|part| part == b"fd/");
        if self.refused == Refused::Unclear || (self.refused == Refused::NotFound && !named()) {
            return Ok(None);
        }
        let text = text.into_owned();
        let follow = flags.contains(Lookupflags::SYMLINK_FOLLOW);
        Ok(if is_root(self.context, path.0)? { kernel::descriptor(&text, follow) } else { None })
    }

    fn ask(mut self, path: Path, ask: impl FnOnce(&Entry) -> rustix::io::Result<()>) -> Result<Answer> {
        Ok(self.entry(path)?.map(|entry| number(entry.and_then(|entry| ask(&entry)))))
    }

    /// Like `ask`, for a call with two paths.
    fn ask_both(
        mut self,
        from: Path,
        to: Path,
        ask: impl FnOnce(&Entry, &Entry) -> rustix::io::Result<()>,
    ) -> Result<Answer> {
        let (Some(from), Some(to)) = (self.entry(from)?, self.entry(to)?) else { return Ok(None) };
        let both = from.and_then(|from| to.map(|to| (from, to)));
        Ok(Some(number(both.and_then(|(from, to)| ask(&from, &to)))))
    }
}

/// A folder's descriptor, and where a path from it lies in the guest's memory.
pub(super) type Path = (i32, i32, i32);

pub(super) fn bytes(at: i32, len: i32) -> GuestPtr<[u8]> {
    GuestPtr::new((at.cast_unsigned(), len.cast_unsigned()))
}

fn create_directory(call: Call<'_>, path: Path) -> Result<Answer> {
    call.ask(path, Entry::create_directory)
}

fn remove_directory(call: Call<'_>, path: Path) -> Result<Answer> {
    call.ask(path, Entry::remove_directory)
}

fn unlink(call: Call<'_>, path: Path) -> Result<Answer> {
    call.ask(path, Entry::unlink)
}

fn rename(call: Call<'_>, (from, path, len, to, to_path, to_len): (i32, i32, i32, i32, i32, i32)) -> Result<Answer> {
    call.ask_both((from, path, len), (to, to_path, to_len), Entry::rename)
}

fn link(
    call: Call<'_>,
    (from, _, path, len, to, to_path, to_len): (i32, i32, i32, i32, i32, i32, i32),
) -> Result<Answer> {
    call.ask_both((from, path, len), (to, to_path, to_len), Entry::link)
}

/// wasmtime-wasi makes no link to an absolute path.
fn symlink(mut call: Call<'_>, (text, text_len, folder, path, len): (i32, i32, i32, i32, i32)) -> Result<Answer> {
    let text = call.path((folder, text, text_len))?.into_owned();
    let entry = call.entry((folder, path, len))?;
    Ok(entry.map(|entry| number(entry.and_then(|entry| entry.symlink(&text)))))
}

/// wasmtime-wasi does not say where a link to an absolute path leads.
fn read_link(
    mut call: Call<'_>,
    (folder, path, len, buffer, room, to): (i32, i32, i32, i32, i32, i32),
) -> Result<Answer> {
    let Some(entry) = call.entry((folder, path, len))? else { return Ok(None) };
    let text = match entry.and_then(|entry| entry.read_link()) {
        Ok(text) => text,
        Err(e) => return Ok(Some(number(Err(e)))),
    };
    let length = room.cast_unsigned().min(u32::try_from(text.len())?);
    call.memory.copy_from_slice(&text[..length as usize], bytes(buffer, length.cast_signed()))?;
    call.memory.write(GuestPtr::<u32>::new(to.cast_unsigned()), length)?;
    Ok(Some(Errno::Success as i32))
}

fn set_times(
    mut call: Call<'_>,
    (folder, flags, path, len, accessed, modified, set): (i32, i32, i32, i32, i64, i64, i32),
) -> Result<Answer> {
    let (flags, set) = (Lookupflags::try_from(flags)?, Fstflags::try_from(set)?);
    let times = times::of_preview1(accessed.cast_unsigned(), modified.cast_unsigned(), set);
    let file = call.seen((folder, path, len), flags, OFlags::PATH)?;
    Ok(file.map(|file| number(file.and_then(|file| utimensat(file, "", &times, AtFlags::EMPTY_PATH)))))
}

async fn stat(mut call: Call<'_>, (folder, flags, path, len, to): (i32, i32, i32, i32, i32)) -> Result<Answer> {
    let flags = Lookupflags::try_from(flags)?;
    if let Some(descriptor) = call.descriptor((folder, path, len), flags)? {
        let answer = calls::fd_filestat_get(call.context, &mut call.memory, descriptor.cast_signed(), to).await?;
        return Ok(Some(if answer == Errno::Badf as i32 { Errno::Noent as i32 } else { answer }));
    }
    let file = match call.seen((folder, path, len), flags, OFlags::PATH)? {
        None => return Ok(None),
        Some(Ok(file)) => file,
        Some(Err(e)) => return Ok(Some(number(Err(e)))),
    };
    let file = filesystem::File::new(file.into(), FsPerms::ReadWrite, OpenMode::READ, true);
    let file = call.context.ctx().table.push(Descriptor::File(file))?;
    let found = status(call.context, &file).await;
    call.context.ctx().table.delete(file)?;
    match found {
        Ok(status) => call.memory.write(GuestPtr::<Filestat>::new(to.cast_unsigned()), status)?,
        Err(e) => return Ok(Some(e.downcast()? as i32)),
    }
    Ok(Some(Errno::Success as i32))
}

/// Returns wasmtime-wasi's status of an open file.
async fn status(context: &mut WasiP1Ctx, file: &Resource<Descriptor>) -> std::result::Result<Filestat, Error> {
    let mut files = context.filesystem();
    let found = files.stat(Resource::new_borrow(file.rep())).await?;
    let hash = files.metadata_hash(Resource::new_borrow(file.rep())).await?;
    let time = |time: Option<Datetime>| time.map_or(Ok(0), Timestamp::try_from);
    Ok(Filestat {
        dev: 1,
        ino: hash.lower,
        filetype: found.type_.try_into().map_err(Error::trap)?,
        nlink: found.link_count,
        size: found.size,
        atim: time(found.data_access_timestamp)?,
        mtim: time(found.data_modification_timestamp)?,
        ctim: time(found.status_change_timestamp)?,
    })
}
