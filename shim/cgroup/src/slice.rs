//! Finds a kill in a scope of systemd's by the slice's counter. systemd removes the scope's cgroup, and the counter in it, as soon
//! as it is empty, and that may be before the shim has looked (tried: ten of ten on a slow machine). But the kernel counts each
//! kill in the cgroups above as well, and the slice stays.
//!
//! So the kills that a slice has counted beyond those that the shim saw in its containers were in a container that is gone. In
//! Kubernetes a slice is one pod's, and all of that pod's containers are this shim's. If others share the slice, a kill of theirs
//! may be taken for a container's own, if that ended meanwhile by a SIGKILL that nobody asked the shim for.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::oom;
use crate::error::{Doing, Result};

/// The kills in a slice: those that the kernel counted, and those that this shim saw.
#[derive(Debug)]
pub struct Slice {
    folder: PathBuf,
    seen: AtomicU64,
}

impl Slice {
    /// Starts from the present count; None if the slice does not count.
    pub fn new(folder: &Path) -> Result<Option<Self>> {
        let new = |count| Self { folder: folder.to_owned(), seen: AtomicU64::new(count) };
        Ok(count(folder)?.map(new))
    }

    /// Whether this is the slice with that folder.
    pub fn is(&self, folder: &Path) -> bool {
        self.folder == folder
    }

    /// Notes kills that were seen in the cgroup of a container below.
    pub fn saw(&self, kills: u64) {
        self.seen.fetch_add(kills, Ordering::Relaxed);
    }

    /// Whether there was a kill in a cgroup that is gone; notes it as seen then.
    pub fn take_unseen(&self) -> Result<bool> {
        let unseen = count(&self.folder)?.is_some_and(|count| count > self.seen.load(Ordering::Relaxed));
        if unseen {
            self.saw(1);
        }
        Ok(unseen)
    }
}

fn count(folder: &Path) -> Result<Option<u64>> {
    oom::count(folder, false).doing(|| "looking for the kernel's kills in a slice".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_kill_that_was_reported_is_not_counted_again() {
        let folder = std::env::temp_dir().join(format!("catamaran-slice-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert!(Slice::new(&folder).unwrap().is_none(), "the root's slice does not count");
        let count = |kills: u64| fs::write(folder.join("memory.events"), format!("oom 9\noom_kill {kills}\n")).unwrap();
        count(3);
        let slice = Slice::new(&folder).unwrap().unwrap();
        assert!(!slice.take_unseen().unwrap(), "those before are not ours");
        // Kills in two containers; the shim has seen one of them in time.
        count(5);
        slice.saw(1);
        assert!(slice.take_unseen().unwrap());
        assert!(!slice.take_unseen().unwrap());
        fs::remove_dir_all(&folder).unwrap();
        assert!(!slice.take_unseen().unwrap());
    }
}
