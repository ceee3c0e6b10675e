//! The orders of a search in a container's tree, and its answers.

use std::io;
use std::path::PathBuf;

use catamaran_cache::image::WASM_LAYERS;
use catamaran_cache::order::Purpose;
use catamaran_host::Error as HostError;
use catamaran_worker::Guest;
use catamaran_worker::job::Source;
use containerd_shim_protos::types::mount::Mount as RootMount;
use oci_spec::runtime::Mount;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::outline::Outline;

/// What is done, for errors.
pub const DOING: &str = "looking into the container's volumes and image";

/// The key of the spec that names the program.
pub const PLACE: &str = "config.json: process.args[0]";
/// The exit code where the program is there and cannot be run (POSIX, «Exit Status for Commands»).
pub const NOT_RUN: u32 = 126;

/// The error when there is no file, as `looked` says, and no layer, as `why` does.
pub fn nowhere(looked: &str, why: &str) -> HostError {
    let layers = WASM_LAYERS.join(", ");
    let expected = format!(
        "the path of a Wasm module in the image or in a volume, or an image with one layer of a type among {layers} and «/» \
         for the path"
    );
    HostError::refused(PLACE, format!("{looked}; {why}"), expected)
}

/// What is looked for.
#[derive(Serialize, Deserialize)]
pub enum Order {
    /// Makes the root file system, and looks whether the program in it is native. It is kept for [`Order::Module`].
    Root {
        /// What containerd mounts for the container.
        rootfs: Vec<Layers>,
        /// `root.path`, and an existing folder that is used for a moment.
        path: PathBuf,
        /// An existing folder that is used for a moment.
        stage: PathBuf,
        /// What of the spec is looked at.
        outline: Outline,
    },
    /// Makes the bind mounts, and looks for the module in the tree that the container will have.
    Module {
        /// `mounts` of the spec.
        mounts: Vec<Mount>,
        /// The words and their environment.
        guest: Guest,
        /// How large a module may be.
        cache: Purpose,
    },
    /// Looks for a module in the tree of the process `pid`, whose pidfd comes along. `own` names the container's own program where
    /// another one is looked for.
    Exec {
        /// The process whose tree it is.
        pid: u32,
        /// The words and their environment.
        guest: Guest,
        /// See above.
        own: Option<String>,
        /// What containerd mounts for the container.
        rootfs: Vec<Layers>,
        /// How large a module may be.
        cache: Purpose,
    },
}

/// A mount of containerd's snapshotter.
#[derive(Serialize, Deserialize)]
pub struct Layers {
    kind: String,
    source: String,
    options: Vec<String>,
}

impl Layers {
    /// The mounts of a request's root file system.
    pub fn all(mounts: &[RootMount]) -> Vec<Self> {
        let all = mounts.iter();
        all.map(|m| Self { kind: m.type_.clone(), source: m.source.clone(), options: m.options.clone() }).collect()
    }

    /// The same as containerd has them.
    pub fn mounts(all: Vec<Self>) -> Vec<RootMount> {
        all.into_iter()
            .map(|m| RootMount { type_: m.kind, source: m.source, options: m.options, ..Default::default() })
            .collect()
    }
}

/// What a search found.
#[derive(Serialize, Deserialize)]
pub enum Answer {
    /// The program is no native one, or is not there.
    NotNative,
    /// With the root file system for runc, where runc is to have one.
    Native {
        /// What it is, for the log.
        what: String,
    },
    /// With all that the mounts name: the root file system, the bind mounts, and behind them the module's file.
    Prepared {
        /// In the order of the spec.
        mounts: Vec<MountPoint>,
        /// What the words of the container name.
        module: Module,
    },
    /// With the module's file.
    Executable(Executable),
    /// Why there is no answer.
    Failed(Failure),
}

/// What the words of the container name.
#[derive(Serialize, Deserialize)]
pub enum Module {
    /// A file that begins as Wasm does.
    File {
        /// Its path in the container.
        name: String,
        /// sha256 of its bytes, in hexadecimal.
        digest: String,
    },
    /// No file: what was looked for, for a message.
    Nowhere(String),
}

/// What the words of an exec name.
#[derive(Serialize, Deserialize)]
pub enum Executable {
    /// A file that begins as Wasm does.
    File {
        /// Its path in the container.
        name: String,
        /// sha256 of its bytes, in hexadecimal.
        digest: String,
    },
    /// Nothing that can be run: the exit code, and the words for who wanted it.
    Ended(u32, String),
}

/// An error on its way to the shim.
#[derive(Serialize, Deserialize)]
pub enum Failure {
    /// [`HostError::Refused`]
    Refused(String, String, String),
    /// [`Error::Module`]
    Module(String, String),
    /// [`HostError::File`]
    File(PathBuf, Cause),
    /// [`HostError::System`]
    System(String, Cause),
}

/// What the system said.
#[derive(Serialize, Deserialize)]
pub struct Cause {
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
            Error::Host(HostError::Refused { place, found, expected }) => Failure::Refused(place, found, expected),
            Error::Module { module, reason } => Failure::Module(module, reason),
            Error::Host(HostError::File { path, source }) => Failure::File(path, source.into()),
            Error::Host(HostError::System { doing, source }) => Failure::System(doing, source.into()),
            // Nothing else is said by what a search does.
            e => Failure::System(DOING.to_owned(), io::Error::other(e.to_string()).into()),
        }
    }
}

impl Failure {
    /// The error, as the searching process had it.
    pub fn into_error(self) -> Error {
        match self {
            Failure::Refused(place, found, expected) => HostError::Refused { place, found, expected }.into(),
            Failure::Module(module, reason) => Error::Module { module, reason },
            Failure::File(path, cause) => HostError::File { path, source: cause.into() }.into(),
            Failure::System(doing, cause) => HostError::System { doing, source: cause.into() }.into(),
        }
    }
}

/// One mount of the spec, ready for the worker, and for the search for the module.
#[derive(Serialize, Deserialize)]
pub struct MountPoint {
    /// Where it is in the container.
    pub destination: String,
    /// What is there.
    pub source: Source,
}
