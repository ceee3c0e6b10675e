//! Reaps orphans: children that this process did not start, left behind by native containers, their hooks and runc. This process
//! takes in all orphans below it, because it needs the exit codes of runc's containers; so it has to reap the rest.
//!
//! ```text
//! SIGCHLD -> a child has ended of which this process has no pidfd -> reap it
//! ```
//!
//! Code that starts a child opens its pidfd before the next await, and keeps it while the child's end is of interest, so that
//! the kernel itself knows which children are orphans. Some children exist before their pid is known: while there may be such a
//! child, nothing is reaped ([`crate::hold`]). Before the first native container there is no signal handler, and orphans go to init.

use std::fs;
use std::sync::OnceLock;

use log::{debug, warn};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use rustix::process::set_child_subreaper;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Doing, Result};
use crate::hold;
use crate::unless::unless;

static BEGUN: OnceLock<()> = OnceLock::new();

/// Takes in the orphans below this process, and reaps them from now on. Later calls do nothing.
pub fn take_in() -> Result<()> {
    if BEGUN.get().is_some() {
        return Ok(());
    }
    let doing = || "taking in the orphans of native containers".to_owned();
    let ended = signal(SignalKind::child()).doing(doing)?;
    // The kernel takes any pid here, and makes the calling process a subreaper.
    set_child_subreaper(Some(rustix::process::getpid())).doing(doing)?;
    if BEGUN.set(()).is_ok() {
        tokio::spawn(reap_all(ended));
    }
    Ok(())
}

async fn reap_all(mut ended: Signal) {
    loop {
        if let Some(None) = unless(hold::released(), ended.recv()).await {
            return warn!("exits of child processes are no longer reported");
        }
        if !hold::is_held() {
            reap();
        }
    }
}

/// Reaps the orphans that have ended. Does not await, so that no other code starts a child or opens a pidfd meanwhile.
fn reap() {
    let ended: Vec<Pid> = children().into_iter().filter(|child| has_ended(*child)).collect();
    if ended.is_empty() {
        return;
    }
    let known = known();
    for orphan in ended.into_iter().filter(|child| !known.contains(&child.as_raw())) {
        match waitid(Id::Pid(orphan), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(status) => debug!("reaped an orphan: {status:?}"),
            Err(e) => warn!("reaping the orphan {orphan}: {e}"),
        }
    }
}

/// Returns the pids of this process's children.
fn children() -> Vec<Pid> {
    let mut all = Vec::new();
    for thread in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => all.extend(list.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw)),
            // A kernel may lack the file (CONFIG_PROC_CHILDREN).
            Err(_) => return children_by_parent(std::process::id()),
        }
    }
    all
}

/// Finds the same children by the parent in every process's stat.
fn children_by_parent(parent: u32) -> Vec<Pid> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| crate::child::stat(pid).is_some_and(|stat| stat.parent == parent)).map(Pid::from_raw).collect()
}

fn has_ended(child: Pid) -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    matches!(waitid(Id::Pid(child), look), Ok(status) if status != WaitStatus::StillAlive)
}

/// Returns the pids of the processes that this process has a pidfd of (proc_pid_fdinfo(5)).
fn known() -> Vec<i32> {
    let infos = fs::read_dir("/proc/self/fdinfo").into_iter().flatten().flatten();
    let pid = |text: String| text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    infos.filter_map(|info| pid(fs::read_to_string(info.path()).ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Duration;

    fn is_there(pid: u32) -> bool {
        fs::metadata(format!("/proc/{pid}")).is_ok()
    }

    /// Runs in a process of its own, because it would reap the children of other tests.
    #[test]
    fn orphans_are_reaped_and_known_children_are_not() {
        const ALONE: &str = "CATAMARAN_TEST_ALONE";
        if std::env::var_os(ALONE).is_some() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            return runtime.block_on(alone());
        }
        let own = "orphans::tests::orphans_are_reaped_and_known_children_are_not";
        let mut command = Command::new(std::env::current_exe().unwrap());
        let ran = command.args(["--exact", own, "--nocapture"]).env(ALONE, "1").status().unwrap();
        assert!(ran.success());
    }

    async fn goes(pid: u32) -> bool {
        for _ in 0..500 {
            if !is_there(pid) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    #[allow(clippy::zombie_processes, reason = "that they are waited for is what is tested")]
    async fn alone() {
        take_in().unwrap();
        let ended = || Command::new("true").spawn().unwrap().id();
        let (known, held) = (ended(), hold::hold());
        let known_fd = crate::child::pidfd(known).unwrap();
        let orphan = ended();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(is_there(orphan), "reaped although it may be somebody's");
        drop(held);
        assert!(goes(orphan).await, "not reaped");
        assert!(is_there(known), "a known child is left to who knows it");
        assert_eq!(crate::child::exit_code(crate::child::wait(known_fd).await.unwrap()), 0);
        // A grandchild whose parent ends becomes a child. Another part of the program waits for the parent, as for runc.
        let held = hold::hold();
        let output = Command::new("sh").args(["-c", "sleep 0.2 >/dev/null & echo $!"]).output().unwrap();
        drop(held);
        let orphan: u32 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
        assert_eq!(crate::child::stat(orphan).unwrap().parent, std::process::id());
        assert_eq!(children_by_parent(std::process::id()), children());
        assert!(goes(orphan).await, "the orphan was not reaped");
    }
}
