//! Gives a search its orders, and waits for the answers.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use catamaran_cache::module::{self, Wanted};
use catamaran_files::handover::Handover;
use catamaran_files::search::{Answer, DOING, Executable, Module, MountPoint, Order};

use super::Search;
use crate::error::{Error, Result};

/// A native program: its description, and the root file system for runc if containerd asks for mounts.
pub(crate) struct Native {
    pub(crate) what: String,
    pub(crate) tree: Option<OwnedFd>,
}

/// A Wasm container's mounts, and the module to run.
pub(crate) struct Prepared {
    /// The root file system is the first one.
    pub(crate) descriptors: Handover,
    pub(crate) mounts: Vec<MountPoint>,
    pub(crate) module: Module,
    /// The module's file, unless the module is a layer.
    pub(crate) file: Option<OwnedFd>,
}

impl Search {
    /// Gives the first order of a Create. Call [`Search::native`] next.
    pub(crate) fn look_at_root(&mut self, order: &Order) -> Result<()> {
        self.order(order, &[])
    }

    /// Waits for the answer to [`Search::look_at_root`]. Returns the container's program if it is native.
    pub(crate) async fn native(&mut self) -> Result<Option<Native>> {
        match self.answer().await? {
            (Answer::NotNative, _) => Ok(None),
            (Answer::Native { what }, mut trees) => Ok(Some(Native { what, tree: trees.pop() })),
            _ => Err(unexpected()),
        }
    }

    /// Gives the second order of a Wasm container's Create. Call [`Search::prepared`] next.
    pub(crate) fn look_for_module(&mut self, order: &Order) -> Result<()> {
        self.order(order, &[])
    }

    /// Waits for the answer to [`Search::look_for_module`].
    pub(crate) async fn prepared(&mut self) -> Result<Prepared> {
        let (Answer::Prepared { mounts, module }, mut descriptors) = self.answer().await? else {
            return Err(unexpected());
        };
        let file = if matches!(module, Module::File { .. }) { descriptors.pop() } else { None };
        Ok(Prepared { descriptors: Handover::new(descriptors), mounts, module, file })
    }

    /// Looks for the module to execute in a running container. Returns the module and its file.
    pub(crate) async fn executable(
        &mut self,
        order: &Order,
        process: BorrowedFd<'_>,
    ) -> Result<(Executable, Option<OwnedFd>)> {
        self.order(order, &[process])?;
        match self.answer().await? {
            (Answer::Executable(executable), mut files) => Ok((executable, files.pop())),
            _ => Err(unexpected()),
        }
    }
}

/// Returns the file that a search found, as a module to compile.
pub(crate) fn wanted(name: String, digest: String, file: Option<OwnedFd>) -> Result<Wanted> {
    let file = file.ok_or_else(unexpected)?;
    Ok(Wanted::Module(module::Module::known(name, file.into(), digest)))
}

fn unexpected() -> Error {
    Error::system(DOING, io::Error::other("an answer to another question"))
}
