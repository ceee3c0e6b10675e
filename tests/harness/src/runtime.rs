//! The shim that runs a container, and the engine of our shim.

use std::path::PathBuf;

use crate::programs::shim_folder;

/// Which shim runs a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Ours: `io.containerd.catamaran.v1`.
    Catamaran,
    /// containerd's own: `io.containerd.runc.v2`.
    Runc,
}

impl Runtime {
    /// The name by which containerd knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Catamaran => "io.containerd.catamaran.v1",
            Self::Runc => "io.containerd.runc.v2",
        }
    }

    /// # Panics
    /// When our shim was not built.
    pub(crate) fn require(self) {
        let shim = shim_folder().join("containerd-shim-catamaran-v1");
        assert!(
            self == Self::Runc || shim.exists(),
            "{} is missing: build the shim first (cargo build), or name the folder that holds it in CATAMARAN_BIN",
            shim.display()
        );
    }
}

/// Which of Catamaran's engines runs a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the engines' own names")]
pub enum Engine {
    Wasmtime,
    Wasmer,
}

impl Engine {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Wasmtime, Self::Wasmer];

    /// The name in annotations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wasmtime => "wasmtime",
            Self::Wasmer => "wasmer",
        }
    }

    /// The program of a container's process.
    pub fn worker(self) -> PathBuf {
        shim_folder().join(format!("catamaran-{}", self.name()))
    }
}
