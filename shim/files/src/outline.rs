//! The keys of config.json that are read before it is known which runtime runs the container. Unknown keys are ignored, because
//! runc may know them; for a Wasm container the whole is read and checked later (`shim/daemon/src/spec/bundle.rs`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use catamaran_worker::quote::shortened;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The keys that are read.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Outline {
    /// `process`
    pub process: Process,
    root: Root,
    /// `mounts`
    pub mounts: Vec<Mount>,
    linux: Linux,
    /// `annotations`
    pub annotations: HashMap<String, String>,
}

/// `process` of the spec.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`
    pub env: Vec<String>,
    /// The working directory.
    pub cwd: String,
    /// Whether it has a terminal.
    pub terminal: bool,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
struct Root {
    path: String,
}

/// A mount of the spec.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// The mount's path in the container.
    pub destination: String,
    #[serde(rename = "type")]
    kind: String,
    source: String,
    options: Vec<String>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    cgroups_path: String,
    namespaces: Vec<Namespace>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: String,
}

impl Outline {
    /// Reads config.json's text.
    pub fn parse(text: &[u8]) -> Result<Self> {
        serde_json::from_slice(text)
            .map_err(|e| Error::refused("config.json", shortened(&e.to_string()), "an OCI runtime spec"))
    }

    /// Returns `root.path`, made absolute.
    pub fn root(&self, bundle: &Path) -> PathBuf {
        let path = if self.root.path.is_empty() { "rootfs" } else { &self.root.path };
        bundle.join(path)
    }

    /// Returns a variable of `process.env`.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.process.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// Returns `linux.cgroupsPath`. Refuses a relative path, which runc resolves in containerd's own cgroup, and a missing one, for
    /// which runc makes one up: the shim would look for the container's processes in the wrong place.
    pub fn cgroup(&self) -> Result<&str> {
        let path = self.linux.cgroups_path.as_str();
        let of_systemd = !path.starts_with('/') && path.split(':').count() == 3;
        if path.starts_with('/') || of_systemd {
            return Ok(path);
        }
        let expected = "an absolute path, or SLICE:PREFIX:NAME for systemd's scopes, as containerd writes it";
        Err(Error::refused("config.json: linux.cgroupsPath", format!("{path:?}"), expected))
    }

    /// Returns `linux.cgroupsPath` as it is written, or `default` if it is missing.
    pub fn cgroup_or(&self, default: String) -> String {
        let path = &self.linux.cgroups_path;
        if path.is_empty() { default } else { path.clone() }
    }

    /// Whether the cgroup is a systemd scope, which runc has to be told.
    pub fn is_scope(&self) -> bool {
        !self.linux.cgroups_path.starts_with('/')
    }

    /// Whether the container has a pid namespace of its own, so that its processes end with the first one.
    pub fn has_own_pids(&self) -> bool {
        self.linux.namespaces.iter().any(|namespace| namespace.kind == "pid" && namespace.path.is_empty())
    }
}

impl Mount {
    /// Returns the source of a bind mount.
    pub fn bound(&self) -> Option<&Path> {
        let bind = self.kind == "bind" || self.options.iter().any(|option| option == "bind" || option == "rbind");
        bind.then(|| Path::new(&self.source)).filter(|source| source.is_absolute())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_of_a_spec_are_ignored() {
        let text = br#"{"process": {"args": ["sh"], "env": ["A", "PATH=/bin"], "cwd": "/", "new": 1},
            "linux": {"cgroupsPath": "/a/b", "namespaces": [{"type": "pid"}, {"type": "novel", "path": "/x"}], "z": {}},
            "mounts": [{"destination": "/a", "type": "bind", "source": "/b", "options": ["ro"]}, {"destination": "/c",
            "source": "/d", "options": ["rbind"]}, {"destination": "/p", "type": "proc", "source": "proc"}], "vm": []}"#;
        let outline = Outline::parse(text).unwrap();
        assert_eq!(outline.variable("PATH"), Some("/bin"));
        assert_eq!(outline.root(Path::new("/bundle")), Path::new("/bundle/rootfs"));
        assert_eq!((outline.cgroup().unwrap(), outline.is_scope(), outline.has_own_pids()), ("/a/b", false, true));
        let bound: Vec<_> = outline.mounts.iter().map(Mount::bound).collect();
        assert_eq!(bound, [Some(Path::new("/b")), Some(Path::new("/d")), None]);
    }

    #[test]
    fn a_cgroups_path_must_be_absolute() {
        let of = |path: &str| Outline {
            linux: Linux { cgroups_path: path.to_owned(), ..Linux::default() },
            ..Outline::default()
        };
        assert!(of("a.slice:b:c").is_scope() && of("a.slice:b:c").cgroup().is_ok());
        for wrong in ["", "a/b", "a:b"] {
            let text = of(wrong).cgroup().unwrap_err().to_string();
            assert!(text.contains("linux.cgroupsPath") && text.contains("absolute"), "{text}");
        }
    }
}
