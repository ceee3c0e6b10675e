//! Finds the programs of a cluster, and those of the suite that runs on it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use catamaran_harness::provided_by;

/// The programs that `provision` has built or fetched.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    folder: PathBuf,
    /// `etcd`.
    pub etcd: PathBuf,
    /// `helm`.
    pub helm: PathBuf,
    /// The versions, in words.
    pub version: String,
}

impl Kubernetes {
    /// The programs; provided once in each program.
    ///
    /// # Panics
    /// When they cannot be built or fetched; the script lists its attempts on stderr.
    pub fn provide() -> &'static Self {
        static PROGRAMS: OnceLock<Kubernetes> = OnceLock::new();
        PROGRAMS.get_or_init(|| {
            let value = provided_by(&Path::new(env!("CARGO_MANIFEST_DIR")).join("provision"));
            Self {
                folder: value("kubernetes").into(),
                etcd: value("etcd").into(),
                helm: value("helm").into(),
                version: value("version"),
            }
        })
    }

    /// One of Kubernetes' own, such as `kubelet`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder of all of them.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Kubernetes' end-to-end suite, which `provision-suite` has built.
#[derive(Clone, Debug)]
pub struct Suite {
    folder: PathBuf,
    /// A static `bash`, for its images.
    pub shell: PathBuf,
    /// The versions, in words.
    pub version: String,
}

impl Suite {
    /// The programs.
    ///
    /// # Panics
    /// When they cannot be built or fetched; the script lists its attempts on stderr.
    pub fn provide() -> Self {
        let value = provided_by(&Path::new(env!("CARGO_MANIFEST_DIR")).join("provision-suite"));
        Self { folder: value("suite").into(), shell: value("shell").into(), version: value("version") }
    }

    /// One of `e2e.test`, `ginkgo`, `agnhost` and `standin`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}
