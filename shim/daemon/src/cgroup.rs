//! The container's cgroup, on v1 and v2: made before the worker, emptied and removed at Delete.
//!
//! The v2 folder is handed over for CLONE_INTO_CGROUP. On v1 the intermediate is written into every hierarchy before it
//! gets its job. Limits are set by cgroups-rs; what is done here is what must also work from `delete`, with nothing but
//! the folders' paths.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cgroups_rs::fs::{Cgroup as Controllers, hierarchies};
use cgroups_rs::manager::{FsManager, Manager};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use oci_spec::runtime::LinuxResources;

use crate::error::{Doing, Error, Result};

/// How long a killed process may take to leave its cgroup, in pauses of [`PAUSE`].
const PAUSES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(4);

/// The folders of one container's cgroup.
#[derive(Debug)]
pub(crate) struct Cgroup {
    unified: bool,
    folders: Vec<PathBuf>,
}

impl Cgroup {
    /// Where the cgroup will be; nothing is made yet.
    pub(crate) fn plan(path: &str) -> Result<Self> {
        let relative = checked(path)?;
        let unified = hierarchies::is_cgroup2_unified_mode();
        let hierarchy = hierarchies::auto();
        let folders = if unified {
            vec![hierarchy.root().join(relative)]
        } else {
            let controllers = Controllers::load(hierarchy, relative);
            controllers.subsystems().iter().map(|s| s.to_controller().path().to_owned()).collect()
        };
        Ok(Self { unified, folders })
    }

    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Makes the folders and sets the spec's limits.
    pub(crate) fn create(&self, path: &str, resources: Option<&LinuxResources>) -> Result<()> {
        let doing = || format!("making the cgroup {path}");
        Controllers::new(hierarchies::auto(), checked(path)?).map_err(io::Error::other).doing(doing)?;
        if let Some(resources) = resources {
            let mut manager = FsManager::new(checked(path)?).map_err(io::Error::other).doing(doing)?;
            manager
                .set(resources)
                .map_err(io::Error::other)
                .doing(|| format!("setting the limits of the cgroup {path}"))?;
        }
        Ok(())
    }

    /// v2: the folder that the worker is cloned into.
    pub(crate) fn folder_to_clone_into(&self) -> Result<Option<OwnedFd>> {
        match self.folders.as_slice() {
            [folder] if self.unified => Ok(Some(File::open(folder).on(folder)?.into())),
            _ => Ok(None),
        }
    }

    /// v1: moves a process into every hierarchy.
    pub(crate) fn admit(&self, pid: u32) -> Result<()> {
        for folder in &self.folders {
            let procs = folder.join("cgroup.procs");
            fs::write(&procs, pid.to_string()).on(&procs)?;
        }
        Ok(())
    }

    pub(crate) fn is_unified(&self) -> bool {
        self.unified
    }

    /// The processes in it, as the shim sees them.
    pub(crate) fn pids(&self) -> Result<Vec<u32>> {
        match self.folders.first() {
            Some(folder) => processes(folder).on(folder),
            None => Ok(Vec::new()),
        }
    }
}

/// `linux.cgroupsPath` as a path below the hierarchy's root.
fn checked(path: &str) -> Result<&str> {
    let place = || "config.json: linux.cgroupsPath";
    if path.split(':').count() == 3 && !path.starts_with('/') {
        let expected = "a cgroupfs path: this version does not make systemd scopes (SystemdCgroup = false)";
        return Err(Error::refused(place(), path, expected));
    }
    let relative = path.trim_start_matches('/');
    if relative.is_empty() || relative.split('/').any(|part| part == "..") {
        return Err(Error::refused(place(), path, "a path below the root, without «..»"));
    }
    Ok(relative)
}

fn processes(folder: &Path) -> io::Result<Vec<u32>> {
    match fs::read_to_string(folder.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(e) if e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(nix::libc::ENODEV) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// Kills what is left in the cgroups and removes them. Does everything it can, then tells the first failure.
pub(crate) async fn remove(folders: &[PathBuf]) -> Result<()> {
    let mut failure = Ok(());
    for folder in folders {
        let mut removed = attempt(folder);
        for _ in 0..PAUSES {
            if !matches!(removed, Ok(false)) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            removed = attempt(folder);
        }
        let removed = match removed {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::Error::new(ErrorKind::TimedOut, format!("still in use after {:?}", PAUSE * PAUSES))),
            Err(e) => Err(e),
        };
        failure = failure.and(removed.on(folder));
    }
    failure
}

/// Removes the folder, or kills what is in it: true when it is gone.
fn attempt(folder: &Path) -> io::Result<bool> {
    match fs::remove_dir(folder) {
        Ok(()) => return Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
        // Processes in it, or ones that are just being taken out of it.
        Err(e) if e.raw_os_error() == Some(nix::libc::EBUSY) => {}
        Err(e) => return Err(e),
    }
    for pid in processes(folder)? {
        // Whoever left since is not there to be killed.
        let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn paths_are_checked() {
        assert_eq!(checked("/default/a").unwrap(), "default/a");
        assert!(checked("/a/../b").is_err());
        assert!(checked("/").is_err());
        assert!(checked("a.slice:b:c").unwrap_err().to_string().contains("SystemdCgroup"));
    }
}
