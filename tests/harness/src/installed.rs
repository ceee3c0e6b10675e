//! A node's own copies of our programs, and an installer's operations on them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::node::Node;
use crate::programs::shim_folder;

/// The programs that run pods, by the names that they have in one folder.
pub const OURS: [&str; 8] = [
    "containerd-shim-catamaran-v1",
    "catamaran-helper",
    "catamaran-holder",
    "catamaran-wasmtime",
    "catamaran-wasmtime-compile",
    "catamaran-wasmtime-http",
    "catamaran-wasmer",
    "catamaran-wasmer-compile",
];

impl Node {
    /// The folder where the node's containerd finds our shim, and the shim its workers.
    pub fn shim_folder(&self) -> PathBuf {
        if self.options.installed { self.dir().join("bin") } else { shim_folder() }
    }

    /// Installs copies, not links: the shim looks for its workers beside its own file. Each replaces an existing file of its name
    /// atomically.
    ///
    /// # Panics
    /// When a file cannot be copied.
    pub fn install(&self) {
        if !self.options.installed {
            return;
        }
        fs::create_dir_all(self.shim_folder()).expect("cannot make a folder");
        let ours = OURS.map(|name| (name.to_owned(), shim_folder().join(name)));
        for (name, file) in ours.iter().chain(&self.options.programs) {
            self.put(name, |new| fs::copy(file, new).map(drop));
        }
    }

    /// Installs scripts in place of all of the node's programs. Each fails, and records that it was executed:
    /// [`Node::executed_replacements`].
    ///
    /// # Panics
    /// When a file cannot be written, and when the node has no programs of its own.
    pub fn replace_programs(&self) {
        let script = format!("#!/bin/sh\necho \"$0 $*\" >>'{}'\nexit 1\n", self.marks().display());
        for name in OURS {
            self.put(name, |new| fs::write(new, &script));
        }
    }

    /// Deletes all of the node's programs.
    ///
    /// # Panics
    /// When one cannot be deleted, and when the node has no programs of its own.
    pub fn remove_programs(&self) {
        for name in OURS {
            let path = self.own(name);
            fs::remove_file(&path).unwrap_or_else(|error| panic!("cannot remove {}: {error}", path.display()));
        }
    }

    /// Returns the command lines that executed a program of [`Node::replace_programs`].
    pub fn executed_replacements(&self) -> Vec<String> {
        fs::read_to_string(self.marks()).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn marks(&self) -> PathBuf {
        self.dir().join("executed")
    }

    fn own(&self, name: &str) -> PathBuf {
        assert!(self.options.installed, "these programs are not the node's own: see Options::installed");
        self.shim_folder().join(name)
    }

    /// Writes a file beside the one of that name, and renames it over that one.
    fn put(&self, name: &str, write: impl FnOnce(&Path) -> std::io::Result<()>) {
        let path = self.own(name);
        let new = path.with_extension("new");
        write(&new)
            .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(0o755)))
            .and_then(|()| fs::rename(&new, &path))
            .unwrap_or_else(|error| panic!("cannot install {}: {error}", path.display()));
    }
}
