//! Where the programs of a cluster are.

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
    /// The programs; provided once in a program's life.
    ///
    /// # Panics
    /// When they cannot be built or fetched; the script says on stderr what it tried.
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
