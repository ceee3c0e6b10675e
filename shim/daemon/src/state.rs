//! What must outlive the shim: a file in the container's bundle from which `delete` cleans up with the server dead.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Result};
use crate::hooks::Stage;

const NAME: &str = "catamaran.json";
/// What the copies of other containers' states begin with.
const MEMBER: &str = "catamaran-";
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
    /// Where it is in a pod, if it is not the first container of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member: Option<Member>,
    /// What is to be run when the container is gone: from the moment on at which its other hooks begin to run.
    #[serde(default, skip_serializing_if = "Stage::is_empty")]
    pub(crate) poststop: Stage,
}

/// A container of a pod. containerd runs `delete` for the pod's first container alone, and by then may have removed the
/// bundles of the others: a copy of the state lies in the first one's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    /// The container's own bundle.
    bundle: PathBuf,
    copy: PathBuf,
}

impl State {
    pub(crate) fn new(cgroups: Vec<PathBuf>, socket: PathBuf) -> Self {
        let poststop = Stage::default();
        Self { format: FORMAT, shim: std::process::id(), pid: 0, cgroups, socket, member: None, poststop }
    }

    /// The same, of a container in this bundle whose shim was started for that of the pod.
    pub(crate) fn in_pod(mut self, pod: &Path, bundle: &Path) -> Self {
        if pod != bundle {
            let id = bundle.file_name().unwrap_or_default().to_string_lossy();
            let copy = pod.join(format!("{MEMBER}{id}.json"));
            self.member = Some(Member { bundle: bundle.to_owned(), copy });
        }
        self
    }

    /// Replaces the bundle's state file whole, and its copy.
    pub(crate) fn write(&self, bundle: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).doing(|| "writing the container's state".to_owned())?;
        if let Some(Member { copy, .. }) = &self.member {
            match replace(copy, &text) {
                // The pod's first container was deleted before this one: nobody cleans up from there any more.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                written => written.on(copy)?,
            }
        }
        let path = bundle.join(NAME);
        replace(&path, &text).on(&path)
    }

    /// The bundle's state; none where no container was created in it.
    pub(crate) fn read(bundle: &Path) -> Result<Option<Self>> {
        Self::read_file(&bundle.join(NAME))
    }

    /// The states of the pod's other containers, from its first one's bundle.
    pub(crate) fn members(bundle: &Path) -> Vec<Self> {
        let entries = fs::read_dir(bundle).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(MEMBER))
            // One that cannot be read, of a newer shim, keeps nobody from the others.
            .filter_map(|entry| Self::read_file(&entry.path()).ok().flatten())
            .collect()
    }

    fn read_file(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.on(path)?,
        };
        let state: State = serde_json::from_slice(&text).on(path)?;
        if state.format > FORMAT {
            return Err(Error::refused(
                path.display().to_string(),
                format!("format {}", state.format),
                format!("at most {FORMAT}: a newer shim wrote it, and its own delete reads it"),
            ));
        }
        Ok(Some(state))
    }

    /// Removes the bundle's state file, unless another shim has written it.
    pub(crate) fn remove_own(bundle: &Path) -> Result<()> {
        match Self::read(bundle)? {
            Some(state) if state.shim != std::process::id() => Ok(()),
            _ => Self::remove(bundle),
        }
    }

    pub(crate) fn remove(bundle: &Path) -> Result<()> {
        if let Some(Member { copy, .. }) = Self::read(bundle)?.and_then(|state| state.member) {
            remove_file(&copy)?;
        }
        remove_file(&bundle.join(NAME))
    }

    /// Removes the state of a container of a pod, where it still is.
    pub(crate) fn remove_member(&self) -> Result<()> {
        let Some(Member { bundle, copy }) = &self.member else { return Ok(()) };
        remove_file(&bundle.join(NAME)).and(remove_file(copy))
    }
}

fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("json.new");
    // No fsync: the folder lies on a tmpfs, and a machine that stops has no container left.
    fs::write(&new, text)?;
    fs::rename(&new, path)
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.on(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_knows_its_containers_when_their_bundles_are_gone() {
        let folder = std::env::temp_dir().join(format!("catamaran-states-{}", std::process::id()));
        let bundle = |name: &str| {
            fs::create_dir_all(folder.join(name)).unwrap();
            folder.join(name)
        };
        let (pod, one, two) = (bundle("pod"), bundle("one"), bundle("two"));
        let state = |bundle: &Path| State::new(Vec::new(), "/run/s".into()).in_pod(&pod, bundle);
        for bundle in [&pod, &one, &two] {
            state(bundle).write(bundle).unwrap();
        }
        State::remove_own(&one).unwrap();
        fs::remove_dir_all(&two).unwrap();
        assert_eq!(State::members(&pod), [state(&two)]);
        State::members(&pod)[0].remove_member().unwrap();
        assert!(State::members(&pod).is_empty() && State::read(&pod).unwrap().is_some());
        // A pod whose holder was deleted before has no bundle.
        fs::remove_dir_all(&pod).unwrap();
        state(&one).write(&one).unwrap();
        State::remove_own(&one).unwrap();
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
