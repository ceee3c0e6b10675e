//! `wasi:filesystem` for components: by wasmtime-wasi, and once more if its answer is not final.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::cli::StdoutStream as _;
use wasmtime_wasi::filesystem::{self, Descriptor, WasiFilesystemCtxView, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Host, HostDescriptor,
    HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, ReaddirIterator};
use wasmtime_wasi::{FsPerms, OpenMode};

use super::kernel::{self, Asked, Base, Entry};
use super::names::Names;
use super::opened::own_stream;
use super::refused::{self, Refused};
use super::times;
use crate::stdio::{Input, Output};
use crate::world::{Root, World};

/// Adds `wasi:filesystem/types`.
pub(crate) fn add_types_to_linker<E: Send + 'static>(linker: &mut Linker<World<E>>) -> Result<()> {
    types::add_to_linker::<World<E>, Types>(linker, |world| {
        let root = world.root;
        Files { inner: world.filesystem(), root }
    })
}

/// A component's files.
struct Files<'a> {
    inner: WasiFilesystemCtxView<'a>,
    root: Option<Root>,
}

struct Types;

impl HasData for Types {
    type Data<'a> = Files<'a>;
}

type Folder = Resource<Descriptor>;
type Asking<T> = rustix::io::Result<T>;

/// The same descriptor for one more call.
fn again(folder: &Folder) -> Folder {
    Resource::new_borrow(folder.rep())
}

/// A call that wasmtime-wasi has refused, or was not asked to make, with its first answer.
struct Call {
    first: FsError,
    refused: Option<Refused>,
}

impl From<FsError> for Call {
    fn from(first: FsError) -> Self {
        let refused = first.downcast_ref().copied().and_then(Refused::from_code);
        Self { first, refused }
    }
}

impl Call {
    /// Returns a call that wasmtime-wasi is not asked to make, if any of its paths can only be a folder's.
    fn unasked(paths: &[&str]) -> Option<Self> {
        let first = ErrorCode::NotPermitted.into();
        let folders = paths.iter().any(|path| kernel::is_folder(path.as_bytes()));
        folders.then_some(Self { first, refused: Some(Refused::Unasked) })
    }

    /// Returns the kernel's answer if the kernel was asked, else the first one.
    fn answer<T>(self, asked: Option<Asking<T>>) -> FsResult<T> {
        match asked {
            Some(answer) => answer.map_err(|e| refused::code(e).into()),
            None => Err(self.first),
        }
    }
}

/// Yields the call if wasmtime-wasi has refused or cannot make it; else returns wasmtime-wasi's answer to the caller.
macro_rules! first {
    ($paths:expr, $answer:expr) => {
        match Call::unasked($paths) {
            Some(call) => call,
            None => match $answer.await {
                Err(e) => Call::from(e),
                done => return done,
            },
        }
    };
}

impl Files<'_> {
    /// Asks the kernel where a path leads. None if there is no reason to ask, or if the path by itself leaves the
    /// folder.
    fn entry(&self, call: &Call, folder: &Folder, path: &str, follow: bool) -> Option<Asking<Entry>> {
        let folder = match self.inner.table.get(folder) {
            Ok(Descriptor::Dir(folder)) => folder,
            Ok(Descriptor::File(_)) if call.refused == Some(Refused::Unasked) => return Some(Err(Errno::NOTDIR)),
            _ => return None,
        };
        let is_root = self.root.is_some_and(|root| root.0 == folder.dir.as_raw_fd());
        // Below another folder "not permitted" is final: the kernel is asked only for the reason of other refusals.
        let asks = match call.refused {
            Some(Refused::NotPermitted) => is_root,
            Some(Refused::Unclear | Refused::Unasked) => true,
            Some(Refused::NotFound) | None => false,
        };
        asks.then(|| Base { folder: folder.dir.as_fd(), is_root }.entry(path.as_bytes(), follow).transpose()).flatten()
    }

    /// Like `entry`, for a call that looks at the file or opens it.
    fn seen(&self, call: &Call, folder: &Folder, path: &str, flags: PathFlags) -> Option<Asking<Entry>> {
        let follow = flags.contains(PathFlags::SYMLINK_FOLLOW) || kernel::is_folder(path.as_bytes());
        self.entry(call, folder, path, follow)
    }

    /// Returns the standard stream that a path leads to; only a component's C library knows its other descriptors.
    fn stream(&self, call: &Call, folder: &Folder, path: &str, flags: PathFlags) -> Option<FsResult<File>> {
        let asks = match call.refused? {
            Refused::NotPermitted => true,
            Refused::NotFound => path.contains("fd/"),
            Refused::Unclear | Refused::Unasked => false,
        };
        let Ok(Descriptor::Dir(folder)) = self.inner.table.get(folder) else { return None };
        if !asks || self.root.is_none_or(|root| root.0 != folder.dir.as_raw_fd()) {
            return None;
        }
        let number = kernel::descriptor(path.as_bytes(), flags.contains(PathFlags::SYMLINK_FOLLOW))?;
        Some(own_stream(number).map_err(|e| refused::code(e).into()))
    }

    /// Returns the file behind a descriptor, if it has no position: a pipe or a terminal.
    fn without_position(&self, file: &Folder) -> Option<Arc<File>> {
        let Ok(Descriptor::File(file)) = self.inner.table.get(file) else { return None };
        (seek(&*file.file, SeekFrom::Current(0)) == Err(Errno::SPIPE)).then(|| file.file.clone())
    }

    /// Makes the output stream of a file without a position, which has no other place to write to than its end.
    fn output(&mut self, file: &File) -> FsResult<Resource<DynOutputStream>> {
        let output = Output::inherit(file).map_err(ErrorCode::from)?;
        Ok(self.inner.table.push(output.p2_stream())?)
    }

    /// Asks the kernel about a name.
    fn ask<T>(&self, call: Call, at: (&Folder, &str), ask: impl FnOnce(&Entry) -> Asking<T>) -> FsResult<T> {
        let entry = self.entry(&call, at.0, at.1, false);
        call.answer(entry.map(|entry| entry.and_then(|entry| ask(&entry))))
    }

    /// Asks the kernel about two names.
    fn ask_both(
        &self,
        call: Call,
        from: (&Folder, &str),
        to: (&Folder, &str),
        ask: impl FnOnce(&Entry, &Entry) -> Asking<()>,
    ) -> FsResult<()> {
        let both = self.entry(&call, from.0, from.1, false).zip(self.entry(&call, to.0, to.1, false));
        call.answer(both.map(|(from, to)| ask(&from?, &to?)))
    }
}

/// Returns the path that wasmtime-wasi is asked about once more.
fn path_of(entry: &Entry) -> FsResult<String> {
    Ok(entry.path().map_err(refused::code)?.to_owned())
}

/// A standard stream as a file that a component opened.
fn descriptor(stream: File, access: DescriptorFlags) -> Descriptor {
    let mut mode = OpenMode::empty();
    mode.set(OpenMode::READ, access.contains(DescriptorFlags::READ));
    mode.set(OpenMode::WRITE, access.contains(DescriptorFlags::WRITE));
    Descriptor::File(filesystem::File::new(stream, FsPerms::ReadWrite, mode, true))
}

/// Functions that are wasmtime-wasi's alone.
macro_rules! theirs {
    ($($call:ident($($argument:ident: $ty:ty),*) -> $answer:ty;)*) => {$(
        async fn $call(&mut self, folder: Folder, $($argument: $ty),*) -> $answer {
            self.inner.$call(folder, $($argument),*).await
        }
    )*};
}

impl HostDescriptor for Files<'_> {
    theirs! {
        advise(offset: u64, len: u64, advice: Advice) -> FsResult<()>;
        sync_data() -> FsResult<()>;
        get_flags() -> FsResult<DescriptorFlags>;
        get_type() -> FsResult<DescriptorType>;
        set_size(size: u64) -> FsResult<()>;
        set_times(accessed: NewTimestamp, modified: NewTimestamp) -> FsResult<()>;
        read(len: u64, offset: u64) -> FsResult<(Vec<u8>, bool)>;
        write(buffer: Vec<u8>, offset: u64) -> FsResult<u64>;
        sync() -> FsResult<()>;
        stat() -> FsResult<DescriptorStat>;
        is_same_object(other: Folder) -> Result<bool>;
        metadata_hash() -> FsResult<MetadataHashValue>;
    }

    fn drop(&mut self, descriptor: Folder) -> Result<()> {
        HostDescriptor::drop(&mut self.inner, descriptor)
    }

    fn read_via_stream(&mut self, file: Folder, offset: u64) -> FsResult<Resource<DynInputStream>> {
        match self.without_position(&file) {
            Some(file) => {
                let input: DynInputStream = Box::new(file.try_clone().and_then(Input::over).map_err(ErrorCode::from)?);
                Ok(self.inner.table.push(input)?)
            }
            None => self.inner.read_via_stream(file, offset),
        }
    }

    fn write_via_stream(&mut self, file: Folder, offset: u64) -> FsResult<Resource<DynOutputStream>> {
        match self.without_position(&file) {
            Some(file) => self.output(&file),
            None => self.inner.write_via_stream(file, offset),
        }
    }

    fn append_via_stream(&mut self, file: Folder) -> FsResult<Resource<DynOutputStream>> {
        match self.without_position(&file) {
            Some(file) => self.output(&file),
            None => self.inner.append_via_stream(file),
        }
    }

    async fn read_directory(&mut self, folder: Folder) -> FsResult<Resource<ReaddirIterator>> {
        let Descriptor::Dir(folder) = self.inner.table.get(&folder)? else {
            return Err(ErrorCode::NotDirectory.into());
        };
        let names = Names::open(&folder.dir).map_err(refused::code)?;
        // Only wasmtime-wasi can make the type that the interface names, so the table has our own type there.
        Ok(Resource::new_own(self.inner.table.push(names)?.rep()))
    }

    async fn create_directory_at(&mut self, folder: Folder, path: String) -> FsResult<()> {
        let call = first!(&[&path], self.inner.create_directory_at(again(&folder), path.clone()));
        self.ask(call, (&folder, &path), Entry::create_directory)
    }

    async fn remove_directory_at(&mut self, folder: Folder, path: String) -> FsResult<()> {
        let call = first!(&[&path], self.inner.remove_directory_at(again(&folder), path.clone()));
        self.ask(call, (&folder, &path), Entry::remove_directory)
    }

    async fn unlink_file_at(&mut self, folder: Folder, path: String) -> FsResult<()> {
        let call = first!(&[&path], self.inner.unlink_file_at(again(&folder), path.clone()));
        self.ask(call, (&folder, &path), Entry::unlink)
    }

    async fn symlink_at(&mut self, folder: Folder, text: String, path: String) -> FsResult<()> {
        let call = first!(&[&path], self.inner.symlink_at(again(&folder), text.clone(), path.clone()));
        // wasmtime-wasi makes no link to an absolute path.
        self.ask(call, (&folder, &path), |entry| entry.symlink(text.as_bytes()))
    }

    async fn readlink_at(&mut self, folder: Folder, path: String) -> FsResult<String> {
        match self.inner.readlink_at(again(&folder), path.clone()).await {
            // wasmtime-wasi does not say where a link to an absolute path leads.
            Err(e) => self.ask(e.into(), (&folder, &path), |entry| {
                String::from_utf8(entry.read_link()?).map_err(|_| Errno::ILSEQ)
            }),
            text => text,
        }
    }

    async fn rename_at(&mut self, folder: Folder, path: String, to: Folder, to_path: String) -> FsResult<()> {
        let call =
            first!(&[&path, &to_path], self.inner.rename_at(again(&folder), path.clone(), again(&to), to_path.clone()));
        self.ask_both(call, (&folder, &path), (&to, &to_path), Entry::rename)
    }

    async fn link_at(
        &mut self,
        folder: Folder,
        flags: PathFlags,
        path: String,
        to: Folder,
        to_path: String,
    ) -> FsResult<()> {
        let call = first!(
            &[&path, &to_path],
            self.inner.link_at(again(&folder), flags, path.clone(), again(&to), to_path.clone())
        );
        self.ask_both(call, (&folder, &path), (&to, &to_path), Entry::link)
    }

    async fn set_times_at(
        &mut self,
        folder: Folder,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let first = self.inner.set_times_at(again(&folder), flags, path.clone(), accessed, modified).await;
        let Err(e) = first else { return Ok(()) };
        let call = Call::from(e);
        let entry = self.seen(&call, &folder, &path, flags);
        call.answer(
            entry.map(|entry| entry.and_then(|entry| entry.set_times(&times::of_preview2(accessed, modified)?))),
        )
    }

    async fn stat_at(&mut self, folder: Folder, flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
        let first = self.inner.stat_at(again(&folder), flags, path.clone()).await;
        let Err(e) = first else { return first };
        let call = Call::from(e);
        if let Some(stream) = self.stream(&call, &folder, &path, flags) {
            let stream = self.inner.table.push(descriptor(stream?, DescriptorFlags::empty()))?;
            let found = self.inner.stat(again(&stream)).await;
            self.inner.table.delete(stream)?;
            return found;
        }
        match self.seen(&call, &folder, &path, flags) {
            Some(entry) => self.inner.stat_at(folder, flags, path_of(&entry.map_err(refused::code)?)?).await,
            None => Err(call.first),
        }
    }

    async fn metadata_hash_at(
        &mut self,
        folder: Folder,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let first = self.inner.metadata_hash_at(again(&folder), flags, path.clone()).await;
        let Err(e) = first else { return first };
        let call = Call::from(e);
        if let Some(stream) = self.stream(&call, &folder, &path, flags) {
            let stream = self.inner.table.push(descriptor(stream?, DescriptorFlags::empty()))?;
            let found = self.inner.metadata_hash(again(&stream)).await;
            self.inner.table.delete(stream)?;
            return found;
        }
        match self.seen(&call, &folder, &path, flags) {
            Some(entry) => self.inner.metadata_hash_at(folder, flags, path_of(&entry.map_err(refused::code)?)?).await,
            None => Err(call.first),
        }
    }

    async fn open_at(
        &mut self,
        folder: Folder,
        mut flags: PathFlags,
        path: String,
        how: OpenFlags,
        access: DescriptorFlags,
    ) -> FsResult<Folder> {
        let first = self.inner.open_at(again(&folder), flags, path.clone(), how, access).await;
        let Err(e) = first else { return first };
        let mut call = Call::from(e);
        if let Some(stream) = self.stream(&call, &folder, &path, flags) {
            let stream = stream?;
            if how.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE) {
                return Err(ErrorCode::Exist.into());
            }
            if how.contains(OpenFlags::DIRECTORY) {
                return Err(ErrorCode::NotDirectory.into());
            }
            return Ok(self.inner.table.push(descriptor(stream, access))?);
        }
        // The file to make must not exist, not even as a link.
        if how.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE) {
            flags &= !PathFlags::SYMLINK_FOLLOW;
        }
        let Some(entry) = self.seen(&call, &folder, &path, flags) else { return Err(call.first) };
        let entry = entry.map_err(refused::code)?;
        if call.refused == Some(Refused::NotPermitted) {
            match self.inner.open_at(folder, flags, path_of(&entry)?, how, access).await {
                Err(e) => call = e.into(),
                opened => return opened,
            }
        }
        let create = how.contains(OpenFlags::CREATE);
        let write = create || how.contains(OpenFlags::TRUNCATE) || access.contains(DescriptorFlags::WRITE);
        let asks = call.refused == Some(Refused::Unclear);
        let refusal = asks.then(|| entry.refusal(Asked { write, create })).flatten();
        call.answer(refusal.map(Err))
    }
}

impl HostDirectoryEntryStream for Files<'_> {
    async fn read_directory_entry(&mut self, stream: Resource<ReaddirIterator>) -> FsResult<Option<DirectoryEntry>> {
        let names = self.inner.table.get_mut(&Resource::<Names>::new_borrow(stream.rep()))?;
        Ok(names.next().map_err(refused::code)?)
    }

    fn drop(&mut self, stream: Resource<ReaddirIterator>) -> Result<()> {
        self.inner.table.delete(Resource::<Names>::new_own(stream.rep()))?;
        Ok(())
    }
}

impl Host for Files<'_> {
    fn convert_error_code(&mut self, e: FsError) -> Result<ErrorCode> {
        self.inner.convert_error_code(e)
    }

    /// Returns the error that a file's stream ended with.
    fn filesystem_error_code(&mut self, e: Resource<wasmtime::Error>) -> Result<Option<ErrorCode>> {
        let found = self.inner.table.get(&e)?.downcast_ref::<std::io::Error>();
        Ok(found.map(|e| Errno::from_io_error(e).map_or_else(|| e.into(), refused::code)))
    }
}
