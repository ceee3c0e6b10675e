//! What shim and finder tell each other. Both are one program, so that the form carries no version.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use catamaran_worker::Guest;
use containerd_shim_protos::types::mount::Mount as RootMount;
use oci_spec::runtime::Mount;
use serde::{Deserialize, Serialize};

use super::Finder;
use crate::cache::{self, Wanted};
use crate::error::{Error, Result};
use crate::files::handover::Handover;
use crate::files::mounts;
use crate::spec::outline::Outline;

/// What is done, for errors.
pub(super) const DOING: &str = "looking into the container's volumes and image";

#[derive(Serialize, Deserialize)]
pub(crate) enum Order {
    /// Makes the root file system, and looks whether the program in it is native. It is kept for [`Order::Module`].
    Root {
        rootfs: Vec<Layers>,
        /// `root.path`, and an existing folder that is used for a moment.
        path: PathBuf,
        stage: PathBuf,
        outline: Outline,
    },
    /// Makes the bind mounts, and looks for the module in the tree that the container will have.
    Module { mounts: Vec<Mount>, guest: Guest, cache: cache::Purpose },
    /// Looks for a module in the tree of the process `pid`, whose pidfd comes along. `own` names the container's own program where
    /// another one is looked for.
    Exec { pid: u32, guest: Guest, own: Option<String>, rootfs: Vec<Layers>, cache: cache::Purpose },
}

/// A mount of containerd's snapshotter.
#[derive(Serialize, Deserialize)]
pub(crate) struct Layers {
    kind: String,
    source: String,
    options: Vec<String>,
}

impl Layers {
    pub(crate) fn of(mounts: &[RootMount]) -> Vec<Self> {
        let all = mounts.iter();
        all.map(|m| Self { kind: m.type_.clone(), source: m.source.clone(), options: m.options.clone() }).collect()
    }

    pub(super) fn mounts(all: Vec<Self>) -> Vec<RootMount> {
        all.into_iter()
            .map(|m| RootMount { type_: m.kind, source: m.source, options: m.options, ..Default::default() })
            .collect()
    }
}

#[derive(Serialize, Deserialize)]
pub(super) enum Answer {
    NotNative,
    /// With the root file system for runc, where runc is to have one.
    Native {
        what: String,
    },
    /// With all that the mounts name: the root file system, the bind mounts, and behind them the module's file.
    Prepared {
        mounts: Vec<mounts::Prepared>,
        module: Module,
    },
    /// With the module's file.
    Executable(Executable),
    Failed(Failure),
}

/// What the words of the container name.
#[derive(Serialize, Deserialize)]
pub(crate) enum Module {
    File {
        name: String,
        digest: String,
    },
    /// No file: what was looked for, for a message.
    Nowhere(String),
}

/// What the words of an exec name.
#[derive(Serialize, Deserialize)]
pub(crate) enum Executable {
    File {
        name: String,
        digest: String,
    },
    /// Nothing that can be run: the exit code, and the words for who wanted it.
    Ended(u32, String),
}

/// A native program: what it is, and the root file system for runc where runc is to have one.
pub(crate) struct Native {
    pub(crate) what: String,
    pub(crate) tree: Option<OwnedFd>,
}

/// A Wasm container's mounts, and what is to be run.
pub(crate) struct Prepared {
    /// The root file system is the first one.
    pub(crate) descriptors: Handover,
    pub(crate) mounts: Vec<mounts::Prepared>,
    pub(crate) module: Module,
    /// The module's.
    pub(crate) file: Option<OwnedFd>,
}

impl Finder {
    /// Gives the first order of a Create. [`Finder::native`] is to follow.
    pub(crate) fn look_at_root(&mut self, order: &Order) -> Result<()> {
        self.order(order, &[])
    }

    /// Whether the container's program is native.
    pub(crate) async fn native(&mut self) -> Result<Option<Native>> {
        match self.answer().await? {
            (Answer::NotNative, _) => Ok(None),
            (Answer::Native { what }, mut trees) => Ok(Some(Native { what, tree: trees.pop() })),
            _ => Err(unexpected()),
        }
    }

    /// Gives the second order of a Create, of a Wasm container's. [`Finder::prepared`] is to follow.
    pub(crate) fn look_for_module(&mut self, order: &Order) -> Result<()> {
        self.order(order, &[])
    }

    pub(crate) async fn prepared(&mut self) -> Result<Prepared> {
        let (Answer::Prepared { mounts, module }, mut descriptors) = self.answer().await? else {
            return Err(unexpected());
        };
        let file = if matches!(module, Module::File { .. }) { descriptors.pop() } else { None };
        Ok(Prepared { descriptors: Handover::of(descriptors), mounts, module, file })
    }

    /// What is to be executed in a container that runs, and its file.
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

fn unexpected() -> Error {
    Error::System { doing: DOING.to_owned(), source: io::Error::other("an answer to another question") }
}

/// An error on its way to the shim.
#[derive(Serialize, Deserialize)]
pub(super) enum Failure {
    Refused { place: String, found: String, expected: String },
    Module { module: String, reason: String },
    File { path: PathBuf, cause: Cause },
    System { doing: String, cause: Cause },
}

/// What the system said.
#[derive(Serialize, Deserialize)]
pub(super) struct Cause {
    number: Option<i32>,
    text: String,
}

impl From<io::Error> for Cause {
    fn from(e: io::Error) -> Self {
        Self { number: e.raw_os_error(), text: e.to_string() }
    }
}

impl From<Cause> for io::Error {
    fn from(cause: Cause) -> Self {
        cause.number.map_or_else(|| io::Error::other(cause.text), io::Error::from_raw_os_error)
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        match e {
            Error::Refused { place, found, expected } => Failure::Refused { place, found, expected },
            Error::Module { module, reason } => Failure::Module { module, reason },
            Error::File { path, source } => Failure::File { path, cause: source.into() },
            Error::System { doing, source } => Failure::System { doing, cause: source.into() },
            // Nothing else is said by what the finder does.
            e => Failure::System { doing: DOING.to_owned(), cause: io::Error::other(e.to_string()).into() },
        }
    }
}

impl Failure {
    pub(super) fn into_error(self) -> Error {
        match self {
            Failure::Refused { place, found, expected } => Error::Refused { place, found, expected },
            Failure::Module { module, reason } => Error::Module { module, reason },
            Failure::File { path, cause } => Error::File { path, source: cause.into() },
            Failure::System { doing, cause } => Error::System { doing, source: cause.into() },
        }
    }
}

impl Module {
    /// What is to be compiled; none where it is to be looked for in the image's layers.
    pub(crate) fn wanted(name: String, digest: String, file: Option<OwnedFd>) -> Result<Wanted> {
        let file = file.ok_or_else(unexpected)?;
        Ok(Wanted::Module(cache::Module::known(name, file.into(), digest)))
    }
}
