//! The installer's memory on the node, and the lock that lets one installer work at a time.
//!
//! ```text
//! /var/lib/catamaran/node/lock
//!                         state.json        what is installed; what is under way, with how it was before
//!                         before/SHA256     the bytes of files as they were
//!                         staged/           what containerd is asked to judge
//! ```
//!
//! `state.json` is replaced as a whole before the first file of the node is touched and after the last one. So the next run, and the
//! rollback, which is another process, find a change whose installer was killed in between.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, On, Result};
use crate::files;
use crate::host::Host;
use crate::layout::{Distribution, Place};

pub(crate) const HOME: &str = "/var/lib/catamaran";
/// Names another folder for all that Catamaran keeps on a node; the shim reads it too.
pub(crate) const HOME_VARIABLE: &str = "CATAMARAN_ROOT";
/// Raised when older installers could not read the file.
const FORMAT: u32 = 1;
/// The pause between two attempts to take the lock.
const PAUSE: Duration = Duration::from_millis(100);

/// The content of `state.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) format: u32,
    pub(crate) installed: Option<Installed>,
    pub(crate) pending: Option<Pending>,
    /// Folders that the installer made, the outermost first.
    #[serde(default)]
    pub(crate) folders: Vec<PathBuf>,
    /// Links by other names of the shim (`aliases`), including those that are about to be made or removed. Left out if there are none, so
    /// that an older installer can read the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) links: Vec<PathBuf>,
    /// The folder of the programs' versions, set before anything is in it.
    #[serde(default)]
    pub(crate) prefix: Option<PathBuf>,
    /// Whether a cache existed before: pods of a shim that was installed by hand made it.
    #[serde(default)]
    pub(crate) had_cache: bool,
    /// Why the last change was taken back.
    pub(crate) rolled_back: Option<String>,
}

/// A finished installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Installed {
    pub(crate) version: String,
    pub(crate) handler: String,
    pub(crate) distribution: Distribution,
    pub(crate) place: Place,
    /// The folder of the programs' versions; below, the version's folder that the handler names.
    pub(crate) prefix: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) containerd: Known,
    /// Files that were written, and how they were before the first installation.
    pub(crate) files: Vec<Change>,
    /// Links to the shim in `folder`, by other names of it (`aliases`).
    #[serde(default)]
    pub(crate) links: Vec<PathBuf>,
}

/// A containerd that may not be running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) program: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) unit: Option<String>,
}

/// A file before and after, by digests; None if there is no file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) path: PathBuf,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// A change that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The rollback gets this id, and leaves any other change alone.
    pub(crate) id: String,
    /// The files of this change alone, as they were when it began: a rollback restores these.
    pub(crate) files: Vec<Change>,
    /// The installation after a successful change; None for an uninstallation.
    pub(crate) next: Option<Installed>,
    pub(crate) containerd: Known,
    /// Whether all files are written: a containerd other than `process` has read them.
    pub(crate) swapped: bool,
    /// Whether an earlier run, which this one continues, came so far: containerd may have read its files.
    pub(crate) read: bool,
    /// The containerd that ran before: its pid and its start time.
    pub(crate) process: Option<(u32, u64)>,
}

/// The node's state, locked.
pub(crate) struct Held<'h> {
    host: &'h Host,
    pub(crate) state: State,
    _lock: File,
}

/// The folder of all that Catamaran keeps on a node: its cache and the installer's state.
pub(crate) fn home() -> PathBuf {
    std::env::var_os(HOME_VARIABLE).map_or_else(|| PathBuf::from(HOME), PathBuf::from)
}

/// The installer's part of `home`.
pub(crate) fn folder() -> PathBuf {
    home().join("node")
}

fn state_file() -> PathBuf {
    folder().join("state.json")
}

/// Reads the state without the lock, for commands that only look.
pub(crate) fn look(host: &Host) -> Result<State> {
    let Some(bytes) = host.read(&state_file())? else { return Ok(State { format: FORMAT, ..State::default() }) };
    let wrong = |why: String| {
        Error::refused(
            format!("{} cannot be read: {why}", state_file().display()),
            "restore it, or remove it: then `catamaran install` begins anew: an uninstallation then restores the files as they are now",
        )
    };
    let state: State = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
    if state.format != FORMAT {
        return Err(wrong(format!("its format is {}, and this version knows {FORMAT}", state.format)));
    }
    Ok(state)
}

impl<'h> Held<'h> {
    /// Waits until no other process works on the node. Calls `waiting` again and again until then.
    pub(crate) fn take(host: &'h Host, mut waiting: impl FnMut()) -> Result<Self> {
        let path = folder().join("lock");
        loop {
            files::make_folders(host, &folder())?;
            // Private, because the configuration kept here may hold registries' passwords. If the folder is gone again, the loop makes it
            // anew.
            make_private(&host.at(&folder()));
            let lock = File::options().create(true).append(true).open(host.at(&path));
            let lock = match lock {
                // An uninstallation has just removed the folder.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.on("opening", &path)?,
            };
            loop {
                match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                    Err(Errno::WOULDBLOCK) => waiting(),
                    other => break other.on("locking", &path)?,
                }
                std::thread::sleep(PAUSE);
            }
            // An uninstallation removes the lock's file; a lock on the removed file would exclude nobody.
            if same_file(&lock, &host.at(&path)) {
                return Ok(Self { host, state: look(host)?, _lock: lock });
            }
        }
    }

    /// Writes the state to the disk.
    pub(crate) fn save(&mut self) -> Result<()> {
        self.state.format = FORMAT;
        let bytes = serde_json::to_vec_pretty(&self.state)
            .map_err(|e| Error::failed(format!("the state cannot be written down: {e}"), "report this"))?;
        files::replace(self.host, &state_file(), &bytes)
    }

    /// Keeps bytes. Returns the name by which `kept` finds them.
    pub(crate) fn keep(&self, bytes: &[u8]) -> Result<String> {
        let name = files::digest(bytes);
        let path = before(&name);
        if self.host.read(&path)?.is_none_or(|there| there != bytes) {
            files::make_folders(self.host, &folder().join("before"))?;
            files::replace(self.host, &path, bytes)?;
        }
        Ok(name)
    }

    /// The bytes that were kept under that name.
    pub(crate) fn kept(&self, name: &str) -> Result<Vec<u8>> {
        let path = before(name);
        let found = self.host.read(&path)?.filter(|bytes| files::digest(bytes) == name);
        found.ok_or_else(|| {
            Error::failed(
                format!("{}, which holds a file as it was, is not there or damaged", path.display()),
                "restore the file of containerd's configuration by hand, then remove /var/lib/catamaran/node",
            )
        })
    }

    /// Removes kept bytes that nothing names any more.
    pub(crate) fn forget_unused(&self) {
        let installed = self.state.installed.iter().flat_map(|installed| &installed.files);
        let pending = self.state.pending.iter().flat_map(|pending| &pending.files);
        let next = self.state.pending.iter().filter_map(|pending| pending.next.as_ref()).flat_map(|next| &next.files);
        let named: Vec<&String> =
            installed.chain(pending).chain(next).filter_map(|change| change.before.as_ref()).collect();
        let folder = self.host.at(&folder().join("before"));
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !named.iter().any(|name| name.as_str() == entry.file_name()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Makes an empty folder for the configuration that containerd is to judge. Returns the host's name of it.
    pub(crate) fn staged(&self) -> Result<PathBuf> {
        let folder = folder().join("staged");
        files::remove_folder(self.host, &folder)?;
        files::make_folders(self.host, &folder)?;
        Ok(folder)
    }

    /// The handlers of earlier runs and of the one under way.
    pub(crate) fn handlers(&self) -> Vec<&str> {
        let next = self.state.pending.iter().filter_map(|pending| pending.next.as_ref());
        self.state.installed.iter().chain(next).map(|installed| installed.handler.as_str()).collect()
    }

    pub(crate) fn clear_staged(&self) {
        let _ = files::remove_folder(self.host, &folder().join("staged"));
    }
}

/// Changes nothing if the mode is right, because the folder is opened at each look.
fn make_private(folder: &Path) {
    if fs::metadata(folder).is_ok_and(|data| data.permissions().mode() & 0o777 != 0o700) {
        let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    }
}

fn before(name: &str) -> PathBuf {
    folder().join("before").join(name)
}

fn same_file(open: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(open), Ok(there)) = (open.metadata(), fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn a_lock_has_one_holder_at_a_time() {
        let tree = Tree::new();
        let host = tree.host();
        let mut first = Held::take(&host, || panic!("nobody holds it")).unwrap();
        let waited = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let second = Held::take(&host, || waited.store(true, std::sync::atomic::Ordering::SeqCst)).unwrap();
                second.state.rolled_back.clone()
            });
            while !waited.load(std::sync::atomic::Ordering::SeqCst) {
                std::thread::yield_now();
            }
            first.state.rolled_back = Some("by the first".into());
            first.save().unwrap();
            drop(first);
            assert_eq!(second.join().unwrap().as_deref(), Some("by the first"));
        });
    }

    #[test]
    fn a_waiter_for_a_removed_lock_takes_the_new_one() {
        let tree = Tree::new();
        let host = tree.host();
        let first = Held::take(&host, || ()).unwrap();
        let waited = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                Held::take(&host, || waited.store(true, std::sync::atomic::Ordering::SeqCst)).unwrap();
                assert!(tree.path("var/lib/catamaran/node/lock").exists());
            });
            while !waited.load(std::sync::atomic::Ordering::SeqCst) {
                std::thread::yield_now();
            }
            fs::remove_dir_all(tree.path("var/lib/catamaran")).unwrap();
            drop(first);
            second.join().unwrap();
        });
    }

    #[test]
    fn a_state_of_another_format_or_a_damaged_one_is_refused_with_its_file() {
        let mut tree = Tree::new();
        for text in ["{\"format\": 9, \"installed\": null, \"pending\": null, \"rolled_back\": null}", "{", ""] {
            tree.file("var/lib/catamaran/node/state.json", text);
            let error = look(&tree.host()).unwrap_err().to_string();
            assert!(error.contains("/var/lib/catamaran/node/state.json"), "{error}");
        }
    }
}
