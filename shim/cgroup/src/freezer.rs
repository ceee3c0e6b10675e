//! Stops all processes of a cgroup where they are, and lets them go on.
//!
//! ```text
//!        stop                     stopped, when                 a process that is killed meanwhile
//! v1     freezer.state: FROZEN    freezer.state says FROZEN     dies when it is let go
//! v2     cgroup.freeze: 1         cgroup.events: frozen 1       dies
//! ```
//!
//! A scope of systemd's is stopped by the file too, as runc does it, without asking systemd.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::hierarchy::Hierarchy;
use super::write::{Controllers, put};
use super::{Cgroup, Kind};
use crate::error::{Doing, Error, Result};

const V1: &str = "freezer.state";
const V2: &str = "cgroup.freeze";
const V2_EVENTS: &str = "cgroup.events";
/// How long processes may take to stop, as long as runc waits on v2: each stops when it leaves the kernel, where a disk may hold it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first and the longest pause between two looks.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// The freezer of one cgroup.
#[derive(Debug)]
pub struct Freezer {
    folder: PathBuf,
    v1: bool,
    patience: Duration,
}

impl Cgroup {
    /// Returns the cgroup's freezer. Fails if the host has none.
    pub fn freezer(&self) -> Result<Freezer> {
        let of_v2 = match &self.kind {
            Kind::V1(hierarchies) => {
                if let Some(folder) = self.folder("freezer") {
                    return Ok(Freezer::new(folder, true));
                }
                hierarchies.iter().position(Hierarchy::is_v2).and_then(|place| self.folders.get(place))
            }
            Kind::V2(_) | Kind::Systemd(..) => None,
        };
        let folder = of_v2.map(PathBuf::as_path).or_else(|| self.files("cgroup"));
        let freezer = folder.map(|folder| Freezer::new(folder, false));
        // The write finds out that a cgroup is gone.
        freezer.filter(|freezer| freezer.folder.join(V2).exists() || !freezer.folder.exists()).ok_or_else(|| {
            Error::unavailable(
                "this host's cgroups",
                "no freezer",
                "the freezer controller of cgroup v1, or cgroup v2 on Linux 5.2 or later",
            )
        })
    }
}

impl Freezer {
    /// Returns the freezer of the cgroup with this folder, on v1 in the freezer's tree.
    pub fn new(folder: &Path, v1: bool) -> Self {
        Self { folder: folder.to_owned(), v1, patience: PATIENCE }
    }

    /// Stops the processes, and waits until they have stopped. Returns false if `wanted` becomes false meanwhile: the caller that
    /// changed it has let them go. If they do not stop in time, lets them go and fails.
    pub async fn freeze(&self, wanted: impl Fn() -> bool) -> Result<bool> {
        let frozen = self.stop(wanted).await.on(&self.folder);
        if frozen.is_err() {
            // A half stopped cgroup is worse than a running one. The caller gets the first failure.
            let _ = self.thaw();
        }
        frozen
    }

    async fn stop(&self, wanted: impl Fn() -> bool) -> io::Result<bool> {
        let until = tokio::time::Instant::now() + self.patience;
        let mut pause = PAUSE;
        loop {
            // No await from here to the answer, so that nobody lets the processes go in between.
            if !wanted() {
                return Ok(false);
            }
            // Each time anew: on v1 only a write stops the processes that came since the last write.
            self.write(true)?;
            if self.is_frozen()? {
                return Ok(true);
            }
            if tokio::time::Instant::now() >= until {
                let reason = self.running();
                let text = format!("not all processes stopped within {:?}: they go on ({reason})", self.patience);
                return Err(io::Error::new(ErrorKind::TimedOut, text));
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// Lets the processes go on; no error if none was stopped.
    pub fn thaw(&self) -> Result<()> {
        self.write(false).on(&self.folder)
    }

    fn write(&self, freeze: bool) -> io::Result<()> {
        let (file, value) = match (self.v1, freeze) {
            (true, true) => (V1, "FROZEN"),
            (true, false) => (V1, "THAWED"),
            (false, true) => (V2, "1"),
            (false, false) => (V2, "0"),
        };
        put(&self.folder.join(file), value)
    }

    fn is_frozen(&self) -> io::Result<bool> {
        let text = fs::read_to_string(self.folder.join(if self.v1 { V1 } else { V2_EVENTS }))?;
        Ok(if self.v1 { text.trim() == "FROZEN" } else { text.lines().any(|line| line == "frozen 1") })
    }

    /// Describes the processes that do not stop, as far as `/proc` tells, for an error.
    fn running(&self) -> String {
        let pids = super::remove::processes(&self.folder).unwrap_or_default();
        let hangs = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('D'))
        };
        match pids.iter().find(|pid| hangs(pid)) {
            Some(pid) => format!("process {pid} hangs in the kernel"),
            None => format!("{} processes", pids.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{hierarchy, remove};
    use super::*;
    use std::process::{Child, Command};

    fn state(pid: u32) -> String {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1[..1].to_owned()
    }

    /// A cgroup of the real kernel's with a process in it that never rests, for as long as the test takes.
    struct Stand(Freezer, Child);

    impl Stand {
        fn new(root: &Path, v1: bool, name: &str) -> Self {
            let folder = root.join(format!("catamaran-freezer-{name}-{}", std::process::id()));
            fs::create_dir(&folder).unwrap();
            let child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
            fs::write(folder.join("cgroup.procs"), child.id().to_string()).unwrap();
            Self(Freezer::new(&folder, v1), child)
        }
    }

    impl Drop for Stand {
        fn drop(&mut self) {
            let _ = self.0.thaw();
            let _ = self.1.kill();
            let _ = self.1.wait();
            let _ = fs::remove_dir(&self.0.folder);
        }
    }

    /// Both freezers that this machine has.
    fn roots() -> Vec<(PathBuf, bool)> {
        if hierarchy::is_unified() {
            return vec![(PathBuf::from(hierarchy::ROOT), false)];
        }
        let all = hierarchy::mounted().unwrap();
        let v1 = all.iter().find(|h| h.controllers.iter().any(|c| c == "freezer")).map(|h| (h.mount.clone(), true));
        let v2 = all.iter().find(|h| h.is_v2()).map(|h| (h.mount.clone(), false));
        v1.into_iter().chain(v2).collect()
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    #[test]
    fn processes_stop_and_go_on() {
        let roots = roots();
        assert!(!roots.is_empty(), "a host without a freezer");
        for (root, v1) in roots {
            let stand = Stand::new(&root, v1, "stops");
            assert!(block_on(stand.0.freeze(|| true)).unwrap());
            assert!(stand.0.is_frozen().unwrap(), "v1: {v1}");
            assert_ne!(state(stand.1.id()), "R");
            stand.0.thaw().unwrap();
            assert!(!stand.0.is_frozen().unwrap(), "v1: {v1}");
        }
    }

    #[test]
    fn a_freeze_that_is_no_longer_wanted_stops_no_process() {
        for (root, v1) in roots() {
            let stand = Stand::new(&root, v1, "unwanted");
            assert!(!block_on(stand.0.freeze(|| false)).unwrap());
            assert!(!stand.0.is_frozen().unwrap());
        }
    }

    #[test]
    fn a_frozen_cgroup_is_killed_and_removed() {
        for (root, v1) in roots() {
            let mut stand = Stand::new(&root, v1, "killed");
            assert!(block_on(stand.0.freeze(|| true)).unwrap());
            block_on(async {
                let folders = [stand.0.folder.clone()];
                let removed = tokio::spawn(async move { remove(&folders).await });
                // Reap the child, whose parent this process is.
                while stand.1.try_wait().unwrap().is_none() {
                    tokio::time::sleep(PAUSE).await;
                }
                removed.await.unwrap().unwrap();
            });
            assert!(!stand.0.folder.exists());
        }
    }

    #[test]
    fn a_process_that_does_not_freeze_in_time_runs_on() {
        // No cgroup of the kernel's: nobody ever stops in it.
        let folder = std::env::temp_dir().join(format!("catamaran-freezer-never-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in [(V2, ""), (V2_EVENTS, "populated 1\nfrozen 0\n"), ("cgroup.procs", "")] {
            fs::write(folder.join(file), text).unwrap();
        }
        let freezer = Freezer { patience: Duration::from_millis(20), ..Freezer::new(&folder, false) };
        let e = block_on(freezer.freeze(|| true)).unwrap_err();
        assert!(e.to_string().contains("not all processes stopped within 20ms: they go on"), "{e}");
        assert_eq!(fs::read_to_string(folder.join(V2)).unwrap(), "0");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_cgroup_that_is_gone_is_named() {
        let freezer = Freezer::new(Path::new("/sys/fs/cgroup/catamaran-nowhere"), true);
        let e = block_on(freezer.freeze(|| true)).unwrap_err();
        assert!(e.to_string().starts_with("/sys/fs/cgroup/catamaran-nowhere: "), "{e}");
    }
}
