//! What must outlive the shim: a file in the container's bundle from which `delete` cleans up with the server dead.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Result};
use crate::hooks::Stage;

const NAME: &str = "catamaran.json";
/// Raised when a field changes its meaning; a `delete` reads older numbers, and refuses newer ones.
const FORMAT: u32 = 1;

/// Everything of a container that lies outside its bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    format: u32,
    /// The shim that wrote it: another one of the same id may have been given the same bundle since.
    #[serde(default)]
    shim: u32,
    /// The worker; 0 before it exists. For the record only: what is killed is what lies in the cgroups.
    pub(crate) pid: u32,
    /// The container's cgroups as folders of the host, one a hierarchy. Written before the first is made.
    pub(crate) cgroups: Vec<PathBuf>,
    /// Where the shim's server listens.
    pub(crate) socket: PathBuf,
    /// What is to be run when the container is gone: from the moment on at which its other hooks begin to run.
    #[serde(default, skip_serializing_if = "Stage::is_empty")]
    pub(crate) poststop: Stage,
}

impl State {
    pub(crate) fn new(cgroups: Vec<PathBuf>, socket: PathBuf) -> Self {
        Self { format: FORMAT, shim: std::process::id(), pid: 0, cgroups, socket, poststop: Stage::default() }
    }

    /// Replaces the bundle's state file whole.
    pub(crate) fn write(&self, bundle: &Path) -> Result<()> {
        let path = bundle.join(NAME);
        let new = bundle.join(".catamaran.json.new");
        let text = serde_json::to_vec(self).doing(|| "writing the container's state".to_owned())?;
        // No fsync: the folder lies on a tmpfs, and a machine that stops has no container left.
        fs::write(&new, text).on(&new)?;
        fs::rename(&new, &path).on(&path)
    }

    /// The bundle's state; none where no container was created in it.
    pub(crate) fn read(bundle: &Path) -> Result<Option<Self>> {
        let path = bundle.join(NAME);
        let text = match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.on(&path)?,
        };
        let state: State = serde_json::from_slice(&text).on(&path)?;
        if state.format > FORMAT {
            return Err(Error::refused(
                path.display().to_string(),
                format!("format {}", state.format),
                format!("at most {FORMAT}: a newer shim wrote it, and its own delete reads it"),
            ));
        }
        Ok(Some(state))
    }

    /// The other containers of the same server, by their bundles: those of a pod, whose bundles lie beside each other.
    pub(crate) fn of_the_same_server(&self, bundle: &Path) -> Vec<(PathBuf, Self)> {
        let beside = bundle.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        beside
            .map(|entry| entry.path())
            .filter(|path| path != bundle)
            // One that cannot be read is left to the `delete` of its own, which tells why.
            .filter_map(|path| Self::read(&path).ok().flatten().map(|state| (path, state)))
            .filter(|(_, state)| state.socket == self.socket)
            .collect()
    }

    /// Removes the bundle's state file, unless another shim has written it.
    pub(crate) fn remove_own(bundle: &Path) -> Result<()> {
        match Self::read(bundle)? {
            Some(state) if state.shim != std::process::id() => Ok(()),
            _ => Self::remove(bundle),
        }
    }

    pub(crate) fn remove(bundle: &Path) -> Result<()> {
        let path = bundle.join(NAME);
        match fs::remove_file(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.on(&path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_containers_of_one_server_are_found_beside_each_other() {
        let folder = std::env::temp_dir().join(format!("catamaran-states-{}", std::process::id()));
        for (name, socket) in [("pod", "/run/s/1"), ("one", "/run/s/1"), ("other", "/run/s/2")] {
            fs::create_dir_all(folder.join(name)).unwrap();
            State::new(Vec::new(), socket.into()).write(&folder.join(name)).unwrap();
        }
        fs::create_dir_all(folder.join("empty")).unwrap();
        let pod = State::read(&folder.join("pod")).unwrap().unwrap();
        let found = pod.of_the_same_server(&folder.join("pod"));
        assert_eq!(found.iter().map(|(path, _)| path).collect::<Vec<_>>(), [&folder.join("one")]);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_state_is_read_back_and_a_newer_one_refused() {
        let bundle = std::env::temp_dir().join(format!("catamaran-state-{}", std::process::id()));
        fs::create_dir_all(&bundle).unwrap();
        assert_eq!(State::read(&bundle).unwrap(), None);
        let mut state = State::new(vec!["/sys/fs/cgroup/a".into()], "/run/s".into());
        state.write(&bundle).unwrap();
        assert_eq!(State::read(&bundle).unwrap(), Some(state.clone()));
        state.format = FORMAT + 1;
        state.write(&bundle).unwrap();
        assert!(State::read(&bundle).unwrap_err().to_string().contains("a newer shim"));
        State::remove_own(&bundle).unwrap_err();
        state.format = FORMAT;
        state.shim += 1;
        state.write(&bundle).unwrap();
        State::remove_own(&bundle).unwrap();
        assert!(State::read(&bundle).unwrap().is_some(), "it is another shim's");
        State::remove(&bundle).unwrap();
        State::remove(&bundle).unwrap();
        fs::remove_dir_all(&bundle).unwrap();
    }
}
