//! The container's cgroup, on v1 and v2: made before the worker, emptied and removed at Delete.
//!
//! The v2 folder is handed over for CLONE_INTO_CGROUP. On v1 the intermediate is written into every hierarchy before it
//! gets its job. Limits are set by cgroups-rs; what is done here is what must also work from `delete`, with nothing but
//! the folders' paths.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cgroups_rs::fs::{Cgroup as Controllers, hierarchies};
use cgroups_rs::manager::{FsManager, Manager};
use oci_spec::runtime::LinuxResources;
use rustix::process::{PidfdFlags, Signal};

use crate::error::{Doing, Error, Result};

/// How long killed processes may take to leave their cgroup; containerd gives `delete` five seconds in all.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(4);

/// The folders of one container's cgroup.
#[derive(Debug)]
pub(crate) struct Cgroup {
    unified: bool,
    /// Below the hierarchies' roots.
    path: String,
    folders: Vec<PathBuf>,
}

impl Cgroup {
    /// Where the cgroup will be. Nothing is made yet; refused where somebody else's processes are, since what is found in
    /// a container's cgroup is killed with it.
    pub(crate) fn plan(path: &str) -> Result<Self> {
        let relative = checked(path)?;
        let unified = hierarchies::is_cgroup2_unified_mode();
        let hierarchy = hierarchies::auto();
        let mut folders: Vec<PathBuf> = if unified {
            vec![hierarchy.root().join(relative)]
        } else {
            let controllers = Controllers::load(hierarchy, relative);
            controllers.subsystems().iter().map(|s| s.to_controller().path().to_owned()).collect()
        };
        // Controllers that are mounted together have one folder.
        folders.sort();
        folders.dedup();
        for folder in &folders {
            if !processes(folder).on(folder)?.is_empty() {
                return Err(Error::Occupied(folder.display().to_string()));
            }
        }
        Ok(Self { unified, path: relative.to_owned(), folders })
    }

    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Makes the folders and sets the spec's limits.
    pub(crate) fn create(&self, resources: Option<&LinuxResources>) -> Result<()> {
        let doing = || format!("making the cgroup {}", self.path);
        Controllers::new(hierarchies::auto(), &self.path).map_err(io::Error::other).doing(doing)?;
        if let Some(resources) = resources {
            let mut manager = FsManager::new(&self.path).map_err(io::Error::other).doing(doing)?;
            manager
                .set(resources)
                .map_err(io::Error::other)
                .doing(|| format!("setting the limits of the cgroup {}", self.path))?;
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
    if relative.is_empty() || relative.split('/').any(|part| matches!(part, ".." | ".")) {
        return Err(Error::refused(place(), path, "a path below the root, without «.» and «..»"));
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

/// Kills what is left in the cgroups and removes them, in [`PATIENCE`]. Does everything it can, then tells the first
/// failure.
pub(crate) async fn remove(folders: &[PathBuf]) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    let mut left: Vec<&PathBuf> = folders.iter().collect();
    let mut failure = Ok(());
    loop {
        left.retain(|folder| match attempt(folder) {
            Ok(gone) => !gone,
            Err(e) => {
                if failure.is_ok() {
                    failure = Err(e).on(*folder);
                }
                false
            }
        });
        match left.first() {
            None => return failure,
            Some(folder) if Instant::now() >= until => {
                let e = io::Error::new(ErrorKind::TimedOut, format!("still in use after {PATIENCE:?}"));
                return failure.and(Err(e).on(*folder));
            }
            Some(_) => tokio::time::sleep(PAUSE).await,
        }
    }
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
        kill_member(folder, pid)?;
    }
    Ok(false)
}

/// Kills a process that is in the cgroup now: by a descriptor, since the number may be another's a moment later.
fn kill_member(folder: &Path, pid: u32) -> io::Result<()> {
    let Some(number) = rustix::process::Pid::from_raw(pid as i32) else { return Ok(()) };
    let process = match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        opened => opened?,
    };
    if processes(folder)?.contains(&pid) {
        // Whoever left since is not there to be killed.
        let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn paths_are_checked() {
        assert_eq!(checked("/default/a").unwrap(), "default/a");
        assert!(checked("/a/../b").is_err());
        assert!(checked("/").is_err() && checked("/.").is_err());
        assert!(checked("a.slice:b:c").unwrap_err().to_string().contains("SystemdCgroup"));
    }
}
