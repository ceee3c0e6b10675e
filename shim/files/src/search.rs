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

/// The operation, for errors.
pub const DOING: &str = "looking into the container's volumes and image";

/// The key of the spec that names the program.
pub const PLACE: &str = "config.json: process.args[0]";
/// The exit code if the program exists but cannot be run (POSIX, «Exit Status for Commands»).
pub const NOT_RUN: u32 = 126;
/// The exit code if there is no such program, as a shell has it.
pub const NOT_FOUND: u32 = 127;

/// Returns the error if there is neither a file, as `looked` says, nor a layer, as `why` says.
pub fn nowhere(looked: &str, why: &str) -> HostError {
    let layers = WASM_LAYERS.join(", ");
    let expected = format!(
        "the path of a Wasm module in the image or in a volume, or an image with one layer of a type among {layers} and \"/\" \
         for the path"
    );
    HostError::refused(PLACE, format!("{looked}; {why}"), expected)
}

/// An order to a search.
#[derive(Serialize, Deserialize)]
pub enum Order {
    /// Makes the root file system, and looks if the program in it is native. The search keeps it for [`Order::Module`].
    Root {
        /// containerd's mounts for the container's root file system.
        rootfs: Vec<Layers>,
        /// `root.path`, made absolute.
        path: PathBuf,
        /// An existing folder that is used for a moment.
        stage: PathBuf,
        /// The keys of the spec that a search reads.
        outline: Outline,
    },
    /// Makes the bind mounts, and looks for the module in the tree that the container will have.
    Module {
        /// `mounts` of the spec.
        mounts: Vec<Mount>,
        /// The arguments and their environment.
        guest: Guest,
        /// The cache's purpose, which limits the module's size.
        cache: Purpose,
    },
    /// Looks for a module in the tree of the process `pid`, whose pidfd is sent along.
    Exec {
        /// The process that has the tree.
        pid: u32,
        /// The arguments and their environment.
        guest: Guest,
        /// The container's own program, if the exec names another one.
        own: Option<String>,
        /// containerd's mounts for the container's root file system.
        rootfs: Vec<Layers>,
        /// The cache's purpose, which limits the module's size.
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
    /// Takes the mounts of a request's root file system.
    pub fn all(mounts: &[RootMount]) -> Vec<Self> {
        let all = mounts.iter();
        all.map(|m| Self { kind: m.type_.clone(), source: m.source.clone(), options: m.options.clone() }).collect()
    }

    /// Returns the mounts in containerd's form.
    pub fn mounts(all: Vec<Self>) -> Vec<RootMount> {
        all.into_iter()
            .map(|m| RootMount { type_: m.kind, source: m.source, options: m.options, ..Default::default() })
            .collect()
    }
}

/// The answer of a search.
#[derive(Serialize, Deserialize)]
pub enum Answer {
    /// The program is not native, or does not exist.
    NotNative,
    /// The program is native. Carries the root file system for runc, if containerd asks for mounts.
    Native {
        /// The kind of the program, for the log.
        what: String,
    },
    /// The tree is ready. Carries the descriptors: the root file system, the bind mounts, and last the module's file.
    Prepared {
        /// In the order of the spec.
        mounts: Vec<MountPoint>,
        /// The module that the container's arguments name.
        module: Module,
    },
    /// The program of an exec. Carries the module's file.
    Executable(Executable),
    /// The search has failed.
    Failed(Failure),
}

/// The module that the container's arguments name.
#[derive(Serialize, Deserialize)]
pub enum Module {
    /// A file that begins as Wasm does.
    File {
        /// Its path in the container.
        name: String,
        /// sha256 of its bytes, in hexadecimal.
        digest: String,
    },
    /// There is no such file. The text says what was looked for.
    Nowhere(String),
}

/// The program that an exec's arguments name.
#[derive(Serialize, Deserialize)]
pub enum Executable {
    /// A file that begins as Wasm does.
    File {
        /// Its path in the container.
        name: String,
        /// sha256 of its bytes, in hexadecimal.
        digest: String,
    },
    /// Nothing that can be run: the exit code, and the text for the caller.
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

/// An error of the system.
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
            // A search returns no other error.
            e => Failure::System(DOING.to_owned(), io::Error::other(e.to_string()).into()),
        }
    }
}

impl Failure {
    /// Returns the error that the searching process had.
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
    /// The source of the files there.
    pub source: Source,
}
