//! Empties and removes a container's cgroup, from its folders' paths alone: it works with the shim dead too.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{PidfdFlags, Signal};

use super::scope;
use super::write::put;
use crate::error::{Doing, Result};

/// How long killed processes may take to leave their cgroup; containerd gives `delete` five seconds in all.
pub const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(4);

/// Returns the pids of a folder's processes; none if the folder is gone.
pub(crate) fn processes(folder: &Path) -> io::Result<Vec<u32>> {
    match fs::read_to_string(folder.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(e) if e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(nix::libc::ENODEV) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// Whether there are processes or further cgroups in a folder.
pub(crate) fn is_used(folder: &Path) -> io::Result<bool> {
    Ok(!processes(folder)?.is_empty() || !children(folder).is_empty())
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Calls [`remove_within`] with a container's own patience.
pub async fn remove(folders: &[PathBuf]) -> Result<()> {
    remove_within(folders, PATIENCE).await
}

/// Kills all processes left in the cgroups, ends the unit of a scope, and removes the cgroups. Does everything it can, then
/// returns the first failure.
pub async fn remove_within(folders: &[PathBuf], patience: Duration) -> Result<()> {
    let mut failure = Ok(());
    for folder in folders {
        if let Some(unit) = scope::unit_of(folder) {
            // Emptied before, so that systemd has nothing to wait for.
            let killed = kill(folder).on(folder);
            failure = failure.and(killed).and(scope::stop(&unit).await);
        }
    }
    let until = Instant::now() + patience;
    let mut left: Vec<&PathBuf> = folders.iter().collect();
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
                let e = io::Error::new(ErrorKind::TimedOut, format!("still in use after {patience:?}"));
                return failure.and(Err(e).on(*folder));
            }
            Some(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Removes the folder, or else kills the processes in it. Returns true if the folder is gone.
fn attempt(folder: &Path) -> io::Result<bool> {
    match fs::remove_dir(folder) {
        Ok(()) => return Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
        // It has processes or cgroups, or some that the kernel is just taking out of it.
        Err(e) if e.raw_os_error() == Some(nix::libc::EBUSY) => {}
        Err(e) => return Err(e),
    }
    kill(folder)?;
    // Somebody else made these, since a container cannot write there; the container's own must go all the same.
    for child in children(folder) {
        attempt(&child)?;
    }
    Ok(false)
}

/// Kills all processes in the folder.
pub(crate) fn kill(folder: &Path) -> io::Result<()> {
    // v2, since Linux 5.14: kills at once and with all cgroups below; a process that forks meanwhile does not get away.
    match put(&folder.join("cgroup.kill"), "1") {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        // The folder went away between the opening and the writing.
        Err(e) if e.raw_os_error() == Some(nix::libc::ENODEV) => return Ok(()),
        killed => return killed,
    }
    thaw(folder)?;
    for pid in processes(folder)? {
        kill_member(folder, pid)?;
    }
    Ok(())
}

/// Lets frozen processes go: on v1 a killed one dies only then.
pub(crate) fn thaw(folder: &Path) -> io::Result<()> {
    match put(&folder.join("freezer.state"), "THAWED") {
        Err(e) if e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(nix::libc::ENODEV) => Ok(()),
        thawed => thawed,
    }
}

/// Kills a process that is in the cgroup now, by a descriptor, because the number may be another's a moment later.
fn kill_member(folder: &Path, pid: u32) -> io::Result<()> {
    let Some(number) = rustix::process::Pid::from_raw(pid.cast_signed()) else { return Ok(()) };
    let process = match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
        // EINVAL: it is gone, and its number is that of a process group that has other members.
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(()),
        opened => opened?,
    };
    if processes(folder)?.contains(&pid) {
        // A process that has ended since needs no kill.
        let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
    }
    Ok(())
}
