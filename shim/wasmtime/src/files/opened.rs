//! Keeps which file is behind which descriptor of a module of preview 1, because wasmtime-wasi does not tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use catamaran_worker::listing::Listing;
use rustix::fs::{self as at, CWD, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{self, Descriptor};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types::{Fd, Rights};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wasmtime_wasi::{FsPerms, OpenMode, WasiView as _};
use wiggle::GuestMemory;

/// How a folder is opened to be read.
pub(super) const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A module's world: wasmtime-wasi's, and the module's open files.
pub(crate) struct Preview1 {
    pub(super) wasi: WasiP1Ctx,
    pub(super) opened: Opened,
}

impl Preview1 {
    pub(crate) fn new(mut wasi: WasiP1Ctx) -> Self {
        // Makes wasmtime-wasi open the files that every module has, whatever this call answers. Opened later, they would shift
        // the places in its table by which later files are found.
        let _ = wasi.fd_prestat_get(&mut GuestMemory::Unshared(&mut []), Fd::from(0));
        Self { wasi, opened: Opened::default() }
    }

    pub(crate) fn wasi(&mut self) -> &mut WasiP1Ctx {
        &mut self.wasi
    }
}

/// What a descriptor is.
#[derive(Clone, Copy)]
pub(super) enum What {
    /// One of the worker's own streams, by the descriptor that the guest got it with.
    Own(u32),
    /// A file that has a position, or a folder, by its place in wasmtime-wasi's table.
    File(u32),
    /// A file without a position: a pipe or a terminal. `of` is the worker's own stream that it duplicates.
    Stream { place: u32, of: Option<u32> },
}

impl What {
    fn place(self) -> Option<u32> {
        match self {
            Self::Own(_) => None,
            Self::File(place) | Self::Stream { place, .. } => Some(place),
        }
    }
}

/// The descriptors that the module has opened, and of those open at its start only the streams.
pub(super) struct Opened {
    all: BTreeMap<u32, What>,
    listings: BTreeMap<u32, Listing>,
    streams: usize,
    /// The worker's own streams, and their duplicates, that the guest has set to O_NONBLOCK. The kernel is not told, because O_NONBLOCK
    /// would also bind every other process that shares the file description.
    at_once: BTreeSet<u32>,
}

impl Default for Opened {
    fn default() -> Self {
        let all = (0..3).map(|fd| (fd, What::Own(fd))).collect();
        Self { all, listings: BTreeMap::new(), streams: 0, at_once: BTreeSet::new() }
    }
}

/// Returns the place where wasmtime-wasi puts the next file that it opens.
pub(super) fn next_place(wasi: &mut WasiP1Ctx) -> Option<u32> {
    let table = wasi.ctx().table;
    let probe = table.push(()).ok()?;
    let place = probe.rep();
    table.delete(probe).ok().map(|()| place)
}

fn at(wasi: &mut WasiP1Ctx, place: u32) -> Option<&mut Descriptor> {
    wasi.ctx().table.get_mut(&Resource::new_borrow(place)).ok()
}

impl Opened {
    /// Notes the file that was opened at `place`, which `next_place` has returned before.
    pub(super) fn note(&mut self, wasi: &mut WasiP1Ctx, fd: u32, place: Option<u32>) {
        let Some((place, opened)) = place.and_then(|place| at(wasi, place).map(|opened| (place, opened))) else {
            return;
        };
        let is_stream = match opened {
            Descriptor::File(file) => at::seek(&*file.file, SeekFrom::Current(0)) == Err(Errno::SPIPE),
            Descriptor::Dir(_) => false,
        };
        self.put(fd, if is_stream { What::Stream { place, of: None } } else { What::File(place) });
    }

    fn put(&mut self, fd: u32, what: What) {
        self.closed(fd);
        self.streams += usize::from(matches!(what, What::Stream { .. }));
        self.all.insert(fd, what);
    }

    pub(super) fn closed(&mut self, fd: u32) {
        self.listings.remove(&fd);
        self.at_once.remove(&fd);
        self.streams -= usize::from(matches!(self.all.remove(&fd), Some(What::Stream { .. })));
    }

    pub(super) fn renumbered(&mut self, from: u32, to: u32) {
        let (what, listing) = (self.all.get(&from).copied(), self.listings.remove(&from));
        let at_once = self.at_once.contains(&from);
        self.closed(from);
        self.closed(to);
        if let Some(what) = what {
            self.put(to, what);
        }
        if let Some(listing) = listing {
            self.listings.insert(to, listing);
        }
        self.set_at_once(to, at_once);
    }

    /// Whether the guest has set one of the worker's own streams, or a duplicate of one, to O_NONBLOCK.
    pub(super) fn is_at_once(&self, fd: u32) -> bool {
        self.at_once.contains(&fd)
    }

    pub(super) fn set_at_once(&mut self, fd: u32, at_once: bool) {
        match at_once {
            true => self.at_once.insert(fd),
            false => self.at_once.remove(&fd),
        };
    }

    pub(super) fn what(&self, fd: u32) -> Option<What> {
        self.all.get(&fd).copied()
    }

    /// Returns the folder behind a descriptor; the kernel's error number if it is no folder, or no descriptor.
    pub(super) fn folder(&self, wasi: &mut WasiP1Ctx, fd: u32) -> rustix::io::Result<Arc<File>> {
        let place = self.all.get(&fd).ok_or(Errno::BADF)?.place().ok_or(Errno::NOTDIR)?;
        match at(wasi, place).ok_or(Errno::BADF)? {
            Descriptor::Dir(folder) => Ok(folder.dir.clone()),
            Descriptor::File(_) => Err(Errno::NOTDIR),
        }
    }

    /// Returns the file behind a descriptor, if it has a position and the module has opened it.
    pub(super) fn file(&self, wasi: &mut WasiP1Ctx, fd: u32) -> Option<Arc<File>> {
        let What::File(place) = self.all.get(&fd)? else { return None };
        match at(wasi, *place)? {
            Descriptor::File(file) => Some(file.file.clone()),
            Descriptor::Dir(_) => None,
        }
    }

    /// Puts another file behind a descriptor, and returns the one before; None if the module has not opened the descriptor.
    pub(super) fn exchange(&self, wasi: &mut WasiP1Ctx, fd: u32, other: Descriptor) -> Option<Descriptor> {
        let place = self.all.get(&fd)?.place()?;
        Some(std::mem::replace(at(wasi, place)?, other))
    }

    /// Returns the file that poll(2) is asked about for a descriptor: None for a file with a position, which is always ready.
    pub(super) fn polled(&self, wasi: &mut WasiP1Ctx, fd: u32) -> rustix::io::Result<Option<Polled>> {
        match self.all.get(&fd).ok_or(Errno::BADF)? {
            What::Own(own) => Ok(Some(Polled::Own(*own))),
            What::File(_) => Ok(None),
            What::Stream { .. } => Ok(self.stream(wasi, fd).map(Polled::Opened)),
        }
    }

    /// Whether the module has opened any stream.
    pub(super) fn has_streams(&self) -> bool {
        self.streams > 0
    }

    /// Returns the stream behind a descriptor, if the module has opened it.
    pub(super) fn stream(&self, wasi: &mut WasiP1Ctx, fd: u32) -> Option<Arc<File>> {
        let Some(What::Stream { place, .. }) = self.has_streams().then(|| self.all.get(&fd)).flatten() else {
            return None;
        };
        match at(wasi, *place)? {
            Descriptor::File(file) => Some(file.file.clone()),
            Descriptor::Dir(_) => None,
        }
    }

    /// Returns the descriptor of the worker's own stream that `fd` duplicates, if the module still has it.
    pub(super) fn original(&self, fd: u32) -> Option<u32> {
        let Some(What::Stream { of: Some(of), .. }) = self.all.get(&fd) else { return None };
        self.all.iter().find(|(_, what)| matches!(what, What::Own(own) if own == of)).map(|(fd, _)| *fd)
    }

    /// Returns the listing of the folder behind a descriptor; None if there is no such folder.
    pub(super) fn listing(&mut self, wasi: &mut WasiP1Ctx, fd: u32, is_root: bool) -> io::Result<Option<&mut Listing>> {
        if !self.listings.contains_key(&fd) {
            let what = self.all.get(&fd).and_then(|what| what.place());
            let folder: OwnedFd = match what.and_then(|place| at(wasi, place)) {
                Some(Descriptor::Dir(folder)) => folder.dir.try_clone()?.into(),
                None if is_root => at::openat(CWD, "/", FOLDER, Mode::empty())?,
                _ => return Ok(None),
            };
            self.listings.insert(fd, Listing::new(folder)?);
        }
        Ok(self.listings.get_mut(&fd))
    }

    /// Opens the file behind a descriptor once more: a stream stays the same, a file gets a position of its own.
    pub(super) fn once_more(&self, wasi: &mut WasiP1Ctx, fd: u32, rights: Rights) -> rustix::io::Result<Again> {
        let what = *self.all.get(&fd).ok_or(Errno::NOENT)?;
        let descriptor = match what {
            What::Own(own) => Descriptor::File(file(own_stream(own)?, rights)),
            What::File(place) | What::Stream { place, .. } => match at(wasi, place).ok_or(Errno::NOENT)? {
                Descriptor::File(opened) => Descriptor::File(opened.clone()),
                Descriptor::Dir(folder) => Descriptor::Dir(folder.clone()),
            },
        };
        let of = match what {
            What::Own(own) => Some(own),
            What::Stream { of, .. } => of,
            What::File(_) => None,
        };
        Ok(Again::of(descriptor, of))
    }

    /// Puts `again` in the place of the file that was opened for it.
    pub(super) fn replace(
        &mut self,
        wasi: &mut WasiP1Ctx,
        fd: u32,
        place: Option<u32>,
        again: Again,
        at_once: bool,
    ) -> Option<()> {
        *at(wasi, place?)? = again.descriptor;
        self.note(wasi, fd, place);
        if let Some(What::Stream { of, .. }) = self.all.get_mut(&fd) {
            *of = again.of;
        }
        self.set_at_once(fd, at_once && again.of.is_some());
        Some(())
    }
}

/// A file that is opened once more.
pub(super) struct Again {
    descriptor: Descriptor,
    of: Option<u32>,
}

impl Again {
    /// `of` is the worker's own stream that it duplicates.
    pub(super) fn of(descriptor: Descriptor, of: Option<u32>) -> Self {
        Self { descriptor, of }
    }

    pub(super) fn is_folder(&self) -> bool {
        matches!(self.descriptor, Descriptor::Dir(_))
    }
}

/// A file that poll(2) is asked about.
pub(super) enum Polled {
    Own(u32),
    Opened(Arc<File>),
}

impl AsFd for Polled {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(0) => rustix::stdio::stdin(),
            Self::Own(1) => rustix::stdio::stdout(),
            Self::Own(_) => rustix::stdio::stderr(),
            Self::Opened(file) => file.as_fd(),
        }
    }
}

/// A duplicate of one of the worker's own streams.
pub(super) fn own_stream(number: u32) -> rustix::io::Result<File> {
    let duplicate = match number {
        0 => io::stdin().as_fd().try_clone_to_owned(),
        1 => io::stdout().as_fd().try_clone_to_owned(),
        2 => io::stderr().as_fd().try_clone_to_owned(),
        _ => return Err(Errno::NOENT),
    };
    duplicate.map(File::from).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
}

fn file(file: File, rights: Rights) -> filesystem::File {
    let mut mode = OpenMode::empty();
    mode.set(OpenMode::READ, rights.contains(Rights::FD_READ));
    mode.set(OpenMode::WRITE, rights.contains(Rights::FD_WRITE));
    filesystem::File::new(file, FsPerms::ReadWrite, mode, true)
}
