//! The helper's side of a search. Carries out the shim's orders with root's rights on the host, and dies with the shim.
//!
//! A hostile pod may change the files meanwhile. So the search opens files only by descriptors reached without letting the kernel follow a
//! link, and reads only regular files.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use catamaran_cache::memo::Memo;
use catamaran_cache::order::Purpose;
use catamaran_files::handover::Handover;
use catamaran_files::outline::Outline;
use catamaran_files::search::MountPoint;
use catamaran_files::search::{Answer, DOING, Executable, Layers, Module, Order};
use catamaran_worker::job::{Fd, Source};
use catamaran_worker::{Guest, control};
use containerd_shim_protos::types::mount::Mount as RootMount;
use oci_spec::runtime::Mount;
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;

use crate::error::{Doing, Error, Result};
use crate::files::program::{self, Found, Program, Root, Sought, Stop, Tree};
use crate::files::{lower_layer, mounts, rootfs};

/// Carries out orders until the shim closes the socket.
pub(crate) fn carry_out_orders() -> Result<()> {
    let doing = || DOING.to_owned();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).doing(doing)?;
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).doing(doing)?;
    let mut search = Search::default();
    loop {
        // The shim closed its end, or died before this process had asked to die with it.
        let (order, descriptors) = match control::receive_in_memory(control.as_fd()) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            // The order is another version's. Its shim reads only the version of this answer, and reports that.
            Err(e) => return answer_failed(&control, Error::system(DOING, e)),
            Ok(received) => received,
        };
        let (answer, descriptors) = match search.carry_out(order, &descriptors) {
            Ok(found) => found,
            Err(e) => (Answer::Failed(catamaran_cache::Error::from(e).into()), Vec::new()),
        };
        let lent: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        match control::send_in_memory(control.as_fd(), &answer, &lent) {
            // The answer has too many descriptors for one message.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => answer_failed(&control, Error::system(DOING, e))?,
            sent => sent.doing(doing)?,
        }
    }
}

fn answer_failed(control: &OwnedFd, e: Error) -> Result<()> {
    let failed = Answer::Failed(catamaran_cache::Error::from(e).into());
    control::send_in_memory(control.as_fd(), &failed, &[]).doing(|| DOING.to_owned())
}

/// The state that is kept from one order to the next.
#[derive(Default)]
struct Search {
    rootfs: Vec<RootMount>,
    root: Option<OwnedFd>,
}

impl Search {
    fn carry_out(&mut self, order: Order, descriptors: &[OwnedFd]) -> Result<(Answer, Vec<OwnedFd>)> {
        match order {
            Order::Root { rootfs, path, stage, outline } => {
                self.rootfs = Layers::mounts(rootfs);
                self.root(&path, &stage, &outline)
            }
            Order::Module { mounts, guest, cache } => self.module(&mounts, &guest, cache),
            Order::Exec { pid, guest, own, rootfs, cache } => {
                self.rootfs = Layers::mounts(rootfs);
                let process = descriptors.first().ok_or(io::ErrorKind::NotFound).doing(|| DOING.to_owned())?;
                self.executable(pid, process.as_fd(), &guest, own.as_deref(), cache)
            }
        }
    }

    fn root(&mut self, path: &Path, stage: &Path, outline: &Outline) -> Result<(Answer, Vec<OwnedFd>)> {
        let root = rootfs::prepare(&self.rootfs, path, stage)?;
        let Some((program, what)) = program::native(outline, root.as_fd()) else {
            self.root = Some(root);
            return Ok((Answer::NotNative, Vec::new()));
        };
        let tree = rootfs::for_native(root, &self.rootfs)?;
        let what = format!("{}, {what}", program.display());
        Ok((Answer::Native { what }, tree.into_iter().collect()))
    }

    fn module(&mut self, all: &[Mount], guest: &Guest, cache: Purpose) -> Result<(Answer, Vec<OwnedFd>)> {
        let mut descriptors = Handover::default();
        let root = self.root.take().ok_or(io::ErrorKind::NotFound).doing(|| DOING.to_owned())?;
        let root = descriptors.add(root);
        let all = all.iter().enumerate();
        let mounts: Vec<_> =
            all.map(|(index, mount)| mounts::prepare(index, mount, &mut descriptors)).collect::<Result<_>>()?;
        let (module, file) = match find_module(guest, &descriptors, root, &mounts)? {
            Sought::Nowhere(looked) => (Module::Nowhere(looked), None),
            Sought::File(Found { name, file, in_root }) => {
                let (name, digest, file) = self.digest(name, file, in_root, cache)?;
                (Module::File { name, digest }, Some(file))
            }
        };
        let mut descriptors = descriptors.into_all();
        descriptors.extend(file);
        Ok((Answer::Prepared { mounts, module }, descriptors))
    }

    fn executable(
        &self,
        pid: u32,
        process: BorrowedFd<'_>,
        guest: &Guest,
        own: Option<&str>,
        cache: Purpose,
    ) -> Result<(Answer, Vec<OwnedFd>)> {
        let root = Root::open(pid, process).doing(|| "opening the tree of the container".to_owned())?;
        let found = match own {
            None => root.find_own(guest),
            Some(own) => root.find(guest, own),
        };
        Ok(match found {
            Ok(Program { name, file, in_root }) => {
                let (name, digest, file) = self.digest(name, file, in_root, cache)?;
                (Answer::Executable(Executable::File { name, digest }), vec![file])
            }
            Err(Stop { code, words }) => (Answer::Executable(Executable::Ended(code, words)), Vec::new()),
        })
    }

    /// Returns the file's name, its digest, and a descriptor by which it can be opened anew.
    fn digest(
        &self,
        name: String,
        file: File,
        in_root: Option<PathBuf>,
        cache: Purpose,
    ) -> Result<(String, String, OwnedFd)> {
        let lower = match in_root {
            Some(path) => lower_layer::find(&self.rootfs, &path, &file).on(&name)?,
            None => None,
        };
        let memo = Memo::open()?;
        let (name, digest, file) = memo.module(name, file, lower, cache.largest)?.into_parts();
        // O_PATH, because the shim closes this descriptor: closing a readable one asks the file system, and FUSE may not answer.
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let file = rustix::fs::open(link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).on(&name)?;
        Ok((name, digest, file))
    }
}

/// Looks for the module in the tree that the container will have.
fn find_module(guest: &Guest, descriptors: &Handover, root: Fd, prepared: &[MountPoint]) -> Result<Sought> {
    let root = descriptors.get(root).ok_or(io::ErrorKind::NotFound).doing(|| "looking for the module".to_owned())?;
    let mut tree = Tree::new(root);
    for mount in prepared {
        let seen = match &mount.source {
            Source::Tree { fd, .. } => descriptors.get(*fd),
            Source::Filesystem { .. } | Source::Empty | Source::Link { .. } => None,
        };
        tree.mount(&mount.destination, seen).on(&mount.destination)?;
    }
    program::find(guest, &tree)
}
