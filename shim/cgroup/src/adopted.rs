//! The cgroup of a native container. runc makes and limits it, in the place of [`Cgroup::plan`]; this module finds it and
//! reaches its processes.

use catamaran_host::child;
use rustix::process::PidfdFlags;

use super::{Cgroup, Kind, folder_of, remove};
use crate::error::{Doing, Error, Result};

impl Cgroup {
    /// Checks that runc has put the process into this cgroup, where `delete` will look for it.
    pub fn adopt(&self, pid: u32) -> Result<()> {
        let here = match &self.kind {
            Kind::Systemd(scope, found) => {
                found.get_or_init(|| folder_of(pid).unwrap_or_default()).ends_with(&scope.unit)
            }
            Kind::V1(_) | Kind::V2(_) => {
                self.folders.iter().any(|folder| remove::processes(folder).is_ok_and(|pids| pids.contains(&pid)))
            }
        };
        // A process that has ended is in no cgroup.
        if here || child::started(pid).is_none() {
            return Ok(());
        }
        let folders: Vec<_> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        let expected = "runc to put the container's process there";
        Err(Error::refused("config.json: linux.cgroupsPath", folders.join(", "), expected))
    }

    /// Kills all processes in the cgroup, frozen or not.
    pub fn kill(&self) -> Result<()> {
        self.folders.iter().try_for_each(|folder| remove::kill(folder).on(folder))
    }

    /// Sends a signal to all processes in the cgroup but `own`.
    pub fn signal_others(&self, own: u32, signal: i32) -> Result<()> {
        for pid in self.pids()?.into_iter().filter(|pid| *pid != own) {
            let Some(number) = rustix::process::Pid::from_raw(pid.cast_signed()) else { continue };
            // It may have ended, and its number be another's: look again below.
            let Ok(process) = rustix::process::pidfd_open(number, PidfdFlags::empty()) else { continue };
            if self.pids()?.contains(&pid) {
                // A process that has ended since needs no signal.
                let _ = child::signal(&process, signal);
            }
        }
        Ok(())
    }
}
