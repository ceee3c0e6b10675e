//! A module that is named by its image or by a file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::MemfdFlags;
use serde::Deserialize;
use serde_json::json;

use crate::cli::NodeArgs;
use crate::containerd;
use crate::error::{Error, On, Result};
use crate::helper::Build;

/// Enough for a module of half a gigabyte from a slow disk.
const LIMIT: Duration = Duration::from_secs(600);

/// A module, and how its image runs it.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) file: File,
    /// The image's program, its name first; empty if the module is a layer, or comes from no image.
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    /// The image's layers, if the module is a file in them.
    pub(crate) snapshot: Option<Snapshot>,
}

/// A snapshot of containerd.
#[derive(Debug, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) snapshotter: String,
    pub(crate) key: String,
    /// The module's path in the snapshot.
    pub(crate) path: String,
}

/// The helper's answer.
#[derive(Deserialize)]
struct Found {
    snapshot: Option<Snapshot>,
    args: Vec<String>,
    env: Vec<String>,
    cwd: String,
}

impl Fetched {
    pub(crate) fn file(path: &Path) -> Result<Self> {
        let file = File::open(path).on("reading", path)?;
        if !file.metadata().on("reading", path)?.is_file() {
            return Err(Error::refused(format!("{} is no file", path.display()), "name a .wasm file, or an image"));
        }
        Ok(Self { file, args: Vec::new(), env: Vec::new(), cwd: "/".to_owned(), snapshot: None })
    }
}

/// Whether a file is meant: a path, or the name of a file that exists. An image's name is no path.
pub(crate) fn is_file(what: &str) -> bool {
    what.starts_with(['/', '.']) || Path::new(what).is_file()
}

/// The socket of the node's containerd.
pub(crate) fn socket(node: &NodeArgs, build: &Build<'_>) -> PathBuf {
    let known = build.installed.as_ref().map(|known| known.containerd.socket.clone());
    node.containerd_socket.clone().or(known).unwrap_or_else(|| PathBuf::from(containerd::SOCKET))
}

/// Has the helper find an image's module. A process of the helper without rights reads the manifests and configurations.
pub(crate) fn fetch(build: &Build<'_>, socket: &Path, namespace: &str, name: &str, largest: u64) -> Result<Fetched> {
    let file =
        rustix::fs::memfd_create("module", MemfdFlags::CLOEXEC).map(File::from).on("reading", Path::new(name))?;
    let filled = file.try_clone().on("reading", Path::new(name))?;
    let asked = json!({"address": socket, "namespace": namespace, "name": name, "largest": largest});
    let Found { snapshot, args, env, cwd } = build.ask("image", &asked, Some(filled), LIMIT)?;
    Ok(Fetched { file, args, env, cwd, snapshot })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_images_are_distinguished_by_name() {
        for (what, expected) in [
            ("/m.wasm", true),
            ("./m.wasm", true),
            ("Cargo.toml", true),
            ("ghcr.io/x/hello:1", false),
            ("hello", false),
        ] {
            assert_eq!(is_file(what), expected, "{what}");
        }
        assert!(Fetched::file(Path::new("/")).unwrap_err().to_string().contains("is no file"));
        assert!(Fetched::file(Path::new("/none.wasm")).is_err());
    }
}
