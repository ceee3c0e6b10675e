//! The functions of preview 1 with a path: wasmtime-wasi's own, and once more where its answer is not the last word. What they
//! open is noted, for those with a descriptor.

use std::borrow::Cow;
use std::os::fd::AsFd;

use catamaran_wasmtime_artifact::imports::PREVIEW1;
use rustix::io::Errno as Kernel;
use wasmtime::{AsContextMut, Caller, Extern, Linker, Result, bail};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types::{Errno, Error, Fd, Fdflags, Filestat, Fstflags, Lookupflags, Oflags, Rights};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as calls, WasiSnapshotPreview1};
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wiggle::{GuestMemory, GuestPtr};

use super::kernel::{self, Asked, Base, Entry};
use super::opened::{Opened, Preview1, next_place};
use super::refused::{self, Refused};
use super::times;

/// Each function with its parameters, and what is done when wasmtime-wasi refused.
macro_rules! functions {
    ($linker:ident: $($call:ident($($argument:ident: $ty:ty),*) => $again:ident$(.$wait:ident)?;)*) => {$(
        $linker.func_wrap_async(
            PREVIEW1,
            stringify!($call),
            |mut caller: Caller<'_, Preview1>, ($($argument,)*): ($($ty,)*)| Box::new(async move {
                let (mut memory, world) = guest(&mut caller)?;
                let first = calls::$call(&mut world.wasi, &mut memory, $($argument),*).await?;
                let Some(refused) = refused(first) else { return Ok(first) };
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

/// Defines them over wasmtime-wasi's, for which shadowing has to be allowed.
pub(super) fn add_to_linker(linker: &mut Linker<Preview1>) -> Result<()> {
    functions! { linker:
        path_create_directory(folder: i32, path: i32, len: i32) => create_directory;
        path_filestat_get(folder: i32, flags: i32, path: i32, len: i32, to: i32) => stat.wait;
        path_filestat_set_times(folder: i32, flags: i32, path: i32, len: i32, accessed: i64, modified: i64, set: i32)
            => set_times;
        path_link(from: i32, flags: i32, path: i32, len: i32, to: i32, to_path: i32, to_len: i32) => link;
        path_readlink(folder: i32, path: i32, len: i32, buffer: i32, room: i32, to: i32) => read_link;
        path_remove_directory(folder: i32, path: i32, len: i32) => remove_directory;
        path_rename(from: i32, path: i32, len: i32, to: i32, to_path: i32, to_len: i32) => rename;
        path_symlink(text: i32, text_len: i32, folder: i32, path: i32, len: i32) => symlink;
        path_unlink_file(folder: i32, path: i32, len: i32) => unlink;
    }
    linker.func_wrap_async(PREVIEW1, "path_open", |mut caller: Caller<'_, Preview1>, arguments: Open| {
        Box::new(async move {
            let (memory, world) = guest(&mut caller)?;
            first_open(memory, world, arguments).await
        })
    })?;
    Ok(())
}

/// What a function of preview 1 answers; nothing if the first answer stays.
type Answer = Option<i32>;

/// A call that was refused.
struct Call<'a> {
    memory: GuestMemory<'a>,
    context: &'a mut WasiP1Ctx,
    opened: &'a mut Opened,
    refused: Refused,
}

pub(super) fn guest<'a>(caller: &'a mut Caller<'_, Preview1>) -> Result<(GuestMemory<'a>, &'a mut Preview1)> {
    let fuel = caller.as_context_mut().hostcall_fuel();
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else { bail!("missing required memory export") };
    let (memory, world) = memory.data_and_store_mut(caller);
    world.wasi.set_hostcall_fuel(fuel);
    Ok((GuestMemory::Unshared(memory), world))
}

/// Whether a descriptor is the container's root: what is preopened as `/`, and no folder that the guest opened.
pub(super) fn is_root(context: &mut WasiP1Ctx, folder: i32) -> Result<bool> {
    let mut name = [0];
    let mut scratch = GuestMemory::Unshared(&mut name);
    match context.fd_prestat_dir_name(&mut scratch, Fd::from(folder), GuestPtr::new(0), 1) {
        Ok(()) => Ok(name == *b"/"),
        Err(e) => e.downcast().map(|_| false),
    }
}

fn refused(answer: i32) -> Option<Refused> {
    match Errno::try_from(answer).ok()? {
        Errno::Perm => Refused::from_code(ErrorCode::NotPermitted),
        Errno::Io => Refused::from_code(ErrorCode::Io),
        Errno::Noent => Refused::from_code(ErrorCode::NoEntry),
        _ => None,
    }
}

/// The kernel's answer in preview 1's words, of which it has more than 0.2.
pub(super) fn number(answer: rustix::io::Result<()>) -> i32 {
    let errno = match answer {
        Ok(()) => Errno::Success,
        Err(Kernel::MFILE) => Errno::Mfile,
        Err(Kernel::NFILE) => Errno::Nfile,
        Err(e) => refused::code(e).into(),
    };
    errno as i32
}

/// The answer of wasmtime-wasi, when asked once more: `then` writes what it found.
fn answered<T>(answer: std::result::Result<T, Error>, then: impl FnOnce(T) -> Result<()>) -> Result<Answer> {
    match answer {
        Ok(found) => then(found).map(|()| Some(Errno::Success as i32)),
        Err(e) => Ok(Some(e.downcast()? as i32)),
    }
}

impl Call<'_> {
    fn text(&self, at: i32, len: i32) -> Result<Cow<'_, str>> {
        Ok(self.memory.as_cow_str(string(at, len))?)
    }

    /// Where a path below the root leads, unless it leaves the root by itself.
    fn entry(&mut self, path: Path, follow: bool) -> Result<Option<rustix::io::Result<Entry>>> {
        if self.refused == Refused::NotFound || !is_root(self.context, path.0)? {
            return Ok(None);
        }
        let path = self.text(path.1, path.2)?;
        Ok(kernel::root().and_then(|root| Base::root(root.as_fd()).entry(&path, follow)).transpose())
    }

    /// The same, for who looks at it or opens it.
    fn seen(&mut self, path: Path, flags: Lookupflags) -> Result<Option<rustix::io::Result<Entry>>> {
        let follow = flags.contains(Lookupflags::SYMLINK_FOLLOW) || kernel::is_folder(&self.text(path.1, path.2)?);
        self.entry(path, follow)
    }

    /// The descriptor of the guest's own that a path leads to.
    fn descriptor(&mut self, path: Path, flags: Lookupflags) -> Result<Option<u32>> {
        let text = self.text(path.1, path.2)?;
        // What is just not there leads to none, unless it is called so itself.
        if self.refused == Refused::Unclear || (self.refused == Refused::NotFound && !text.contains("fd/")) {
            return Ok(None);
        }
        let text = text.into_owned();
        let follow = flags.contains(Lookupflags::SYMLINK_FOLLOW);
        Ok(if is_root(self.context, path.0)? { kernel::descriptor(&text, follow) } else { None })
    }

    fn ask(mut self, path: Path, ask: impl FnOnce(&Entry) -> rustix::io::Result<()>) -> Result<Answer> {
        Ok(self.entry(path, false)?.map(|entry| number(entry.and_then(|entry| ask(&entry)))))
    }

    /// The same, for a call with two paths.
    fn ask_both(
        mut self,
        from: Path,
        to: Path,
        ask: impl FnOnce(&Entry, &Entry) -> rustix::io::Result<()>,
    ) -> Result<Answer> {
        let (Some(from), Some(to)) = (self.entry(from, false)?, self.entry(to, false)?) else {
            return Ok(None);
        };
        let both = from.and_then(|from| to.map(|to| (from, to)));
        Ok(Some(number(both.and_then(|(from, to)| ask(&from, &to)))))
    }
}

/// A folder's descriptor, and where a path from it lies in the guest's memory.
type Path = (i32, i32, i32);

fn string(at: i32, len: i32) -> GuestPtr<str> {
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
    let text = call.text(text, text_len)?.into_owned();
    let entry = call.entry((folder, path, len), false)?;
    Ok(entry.map(|entry| number(entry.and_then(|entry| entry.symlink(&text)))))
}

/// wasmtime-wasi does not say where a link to an absolute path leads.
fn read_link(
    mut call: Call<'_>,
    (folder, path, len, buffer, room, to): (i32, i32, i32, i32, i32, i32),
) -> Result<Answer> {
    let Some(entry) = call.entry((folder, path, len), false)? else { return Ok(None) };
    let text = match entry.and_then(|entry| entry.read_link()) {
        Ok(text) => text,
        Err(e) => return Ok(Some(number(Err(e)))),
    };
    let length = room.cast_unsigned().min(u32::try_from(text.len())?);
    call.memory.copy_from_slice(
        &text.as_bytes()[..length as usize],
        GuestPtr::<[u8]>::new((buffer.cast_unsigned(), length)),
    )?;
    call.memory.write(GuestPtr::<u32>::new(to.cast_unsigned()), length)?;
    Ok(Some(Errno::Success as i32))
}

fn set_times(
    mut call: Call<'_>,
    (folder, flags, path, len, accessed, modified, set): (i32, i32, i32, i32, i64, i64, i32),
) -> Result<Answer> {
    let (flags, set) = (Lookupflags::try_from(flags)?, Fstflags::try_from(set)?);
    let times = times::of_preview1(accessed.cast_unsigned(), modified.cast_unsigned(), set);
    let entry = call.seen((folder, path, len), flags)?;
    Ok(entry.map(|entry| number(entry.and_then(|entry| entry.set_times(&times)))))
}

/// A path that wasmtime-wasi is asked about once more lies in a memory of its own, from the beginning.
fn once_more(entry: &Entry) -> Option<(Vec<u8>, GuestPtr<str>)> {
    let path = entry.path().ok()?.as_bytes().to_vec();
    let len = path.len().try_into().ok()?;
    Some((path, GuestPtr::new((0, len))))
}

async fn stat(mut call: Call<'_>, (folder, flags, path, len, to): (i32, i32, i32, i32, i32)) -> Result<Answer> {
    let flags = Lookupflags::try_from(flags)?;
    if let Some(descriptor) = call.descriptor((folder, path, len), flags)? {
        let answer = calls::fd_filestat_get(call.context, &mut call.memory, descriptor.cast_signed(), to).await?;
        return Ok(Some(if answer == Errno::Badf as i32 { Errno::Noent as i32 } else { answer }));
    }
    let entry = match call.seen((folder, path, len), flags)? {
        None => return Ok(None),
        Some(Ok(entry)) => entry,
        Some(Err(e)) => return Ok(Some(number(Err(e)))),
    };
    let Some((mut memory, path)) = once_more(&entry) else { return Ok(Some(number(Err(Kernel::ILSEQ)))) };
    let mut memory = GuestMemory::Unshared(&mut memory);
    let found = call.context.path_filestat_get(&mut memory, folder.into(), flags, path).await;
    answered(found, |stat| Ok(call.memory.write(GuestPtr::<Filestat>::new(to.cast_unsigned()), stat)?))
}

/// The parameters of `path_open`.
type Open = (i32, i32, i32, i32, i32, i64, i64, i32, i32);

async fn first_open(mut memory: GuestMemory<'_>, world: &mut Preview1, arguments: Open) -> Result<i32> {
    let (folder, flags, path, len, how, rights, inherited, fd_flags, to) = arguments;
    let place = next_place(&mut world.wasi);
    let context = &mut world.wasi;
    let first =
        calls::path_open(context, &mut memory, folder, flags, path, len, how, rights, inherited, fd_flags, to).await?;
    if first == Errno::Success as i32 {
        let fd = memory.read(GuestPtr::<u32>::new(to.cast_unsigned()))?;
        world.opened.note(&mut world.wasi, fd, place);
    }
    let Some(refused) = refused(first) else { return Ok(first) };
    let call = Call { memory, context: &mut world.wasi, opened: &mut world.opened, refused };
    Ok(open(call, arguments).await?.unwrap_or(first))
}

/// Opens what one of the guest's descriptors is once more.
async fn open_descriptor(
    call: &mut Call<'_>,
    folder: i32,
    descriptor: u32,
    how: Oflags,
    rights: Rights,
) -> Result<OpenedAs> {
    if how.contains(Oflags::CREAT | Oflags::EXCL) {
        return Ok(Err(Errno::Exist as i32));
    }
    let again = match call.opened.once_more(call.context, descriptor, rights) {
        Ok(again) if how.contains(Oflags::DIRECTORY) && !again.is_folder() => return Ok(Err(Errno::Notdir as i32)),
        Ok(again) => again,
        Err(e) => return Ok(Err(number(Err(e)))),
    };
    // wasmtime-wasi has no other way to a descriptor than opening something of the same kind.
    let (path, kind) = if again.is_folder() { (".", Oflags::DIRECTORY) } else { ("dev/null", Oflags::empty()) };
    let mut memory = path.as_bytes().to_vec();
    let mut memory = GuestMemory::Unshared(&mut memory);
    let (text, place) = (GuestPtr::new((0, u32::try_from(path.len())?)), next_place(call.context));
    let (flags, none) = (Lookupflags::empty(), Fdflags::empty());
    let opened = call.context.path_open(&mut memory, folder.into(), flags, text, kind, rights, rights, none);
    let fd = match opened.await {
        Ok(fd) => fd,
        Err(e) => return Ok(Err(e.downcast()? as i32)),
    };
    let replaced = call.opened.replace(call.context, fd.into(), place, again);
    replaced.map(|()| Ok(fd)).ok_or_else(|| wasmtime::format_err!("a file is not where it was opened"))
}

/// The descriptor, or the error number.
type OpenedAs = std::result::Result<Fd, i32>;

async fn open(
    mut call: Call<'_>,
    (folder, flags, path, len, how, rights, inherited, fd_flags, to): Open,
) -> Result<Answer> {
    let (mut flags, how) = (Lookupflags::try_from(flags)?, Oflags::try_from(how)?);
    let (rights, inherited) = (Rights::try_from(rights)?, Rights::try_from(inherited)?);
    // What is made must not be there, not even as a link.
    if how.contains(Oflags::CREAT | Oflags::EXCL) {
        flags &= !Lookupflags::SYMLINK_FOLLOW;
    }
    if let Some(descriptor) = call.descriptor((folder, path, len), flags)? {
        return Ok(Some(match open_descriptor(&mut call, folder, descriptor, how, rights).await? {
            Ok(fd) => call.memory.write(GuestPtr::<Fd>::new(to.cast_unsigned()), fd).map(|()| Errno::Success as i32)?,
            Err(number) => number,
        }));
    }
    let entry = match call.seen((folder, path, len), flags)? {
        None => return Ok(None),
        Some(Ok(entry)) => entry,
        Some(Err(e)) => return Ok(Some(number(Err(e)))),
    };
    let mut answer = None;
    if call.refused == Refused::NotPermitted {
        let Some((mut memory, path)) = once_more(&entry) else { return Ok(Some(number(Err(Kernel::ILSEQ)))) };
        let mut memory = GuestMemory::Unshared(&mut memory);
        let fd_flags = Fdflags::try_from(fd_flags)?;
        let place = next_place(call.context);
        let opened = call.context.path_open(&mut memory, folder.into(), flags, path, how, rights, inherited, fd_flags);
        let opened = opened.await;
        if let Ok(fd) = &opened {
            call.opened.note(call.context, (*fd).into(), place);
        }
        answer = answered(opened, |fd| Ok(call.memory.write(GuestPtr::<Fd>::new(to.cast_unsigned()), fd)?))?;
    }
    if answer.is_none_or(|answer| answer == Errno::Io as i32) {
        let create = how.contains(Oflags::CREAT);
        let write = create || how.contains(Oflags::TRUNC) || rights.contains(Rights::FD_WRITE);
        answer = entry.refusal(Asked { write, create }).map(|e| number(Err(e))).or(answer);
    }
    Ok(answer)
}
