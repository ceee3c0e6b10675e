//! The account of a run: one cgroup for everything that the node causes.
//!
//! ```text
//! /TAG            the figure that is read: CPU time of all below, including ended processes
//!   |- host       containerd, ctr and, because they inherit it, every shim
//!   '- ID ...     the containers, where ctr's default path puts them: below the containerd namespace, which is TAG
//! /TAG-load       busy processes, while there is load
//! ```
//!
//! Version 1 may count CPU time in one tree and divide the processors in another. `host` is in both, so that a shim has the weight of a
//! service's process, not of a process in the root.
//!
//! A cgroup's sum is complete: it includes processes that are reparented (as shims are), that end unreaped or that live for a millisecond,
//! and a removed cgroup leaves its time with its parent. The times of reaped children would miss shims and their processes. This program is
//! in `host` too, so that its `ctr` begins there; its own time, by the process's CPU clock, is subtracted.
//!
//! The sum would miss a process that moves itself elsewhere, such as a compiler in a cgroup for the whole node. Rows that read CPU time
//! compile nothing, because the warm-up rounds did.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use catamaran_harness::{Node, PATIENCE, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

use crate::samples::{Samples, Side};
use crate::trees::{self, Trees};

/// How long containerd gets to tidy up after a run, so that its work does not count for the next run.
const AFTERMATH: Duration = Duration::from_millis(50);

/// The node's cgroup in the hierarchy that counts CPU time.
pub(crate) struct Account<'n> {
    node: &'n Node,
    /// `/TAG`.
    whole: PathBuf,
    host: PathBuf,
    /// `host` in each tree, and this program's cgroup before, to which it returns.
    hosts: Vec<(PathBuf, PathBuf)>,
    trees: Trees,
}

/// A process of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// Outside of any container.
    Shim(u32),
    /// Inside one.
    Container(u32),
}

impl<'n> Account<'n> {
    /// Makes the cgroup and moves containerd and this program into it.
    ///
    /// # Panics
    /// When there is neither cgroup v1's cpuacct nor cgroup v2.
    pub(crate) fn open(node: &'n Node) -> Self {
        let trees = Trees::find();
        let whole = trees.counting.join(node.namespace());
        let hosts =
            trees.own().into_iter().map(|(root, own)| (root.join(node.namespace()).join("host"), own)).collect();
        let account = Self { node, host: whole.join("host"), whole, hosts, trees };
        for (host, _) in &account.hosts {
            fs::create_dir_all(host).unwrap_or_else(|error| panic!("cannot make {}: {error}", host.display()));
            for pid in account.keepers() {
                trees::admit(host, pid).unwrap_or_else(|error| panic!("cannot move {pid} to its cgroup: {error}"));
            }
        }
        account
    }

    /// Returns the path of a cgroup beside the node's, in the tree that divides the processors. The node removes it if nothing else does.
    ///
    /// # Panics
    /// When cgroup v2 has no cpu controller.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.trees.divide();
        self.trees.dividing.join(format!("{}-{name}", self.node.namespace()))
    }

    /// The processes of `host` that are always there.
    fn keepers(&self) -> [u32; 2] {
        [self.node.containerd_pid(), std::process::id()]
    }

    /// The CPU time of the node so far, without this program's.
    pub(crate) fn cpu(&self) -> Duration {
        let used = self.trees.used(&self.whole);
        let own = clock_gettime(ClockId::ProcessCPUTime);
        let own = Duration::new(own.tv_sec.cast_unsigned(), u32::try_from(own.tv_nsec).expect("a part of a second"));
        // This program's clock also counts its time before it entered the cgroup. The hour keeps the result positive; callers only use
        // differences.
        (used + Duration::from_secs(3600)).checked_sub(own).expect("this program used an hour")
    }

    /// The CPU time of one container so far.
    ///
    /// # Panics
    /// When it is gone.
    pub(crate) fn cpu_of(&self, id: &str) -> Duration {
        self.trees.used(&self.whole.join(id))
    }

    /// Waits until all shims and containers have ended, and their compiles.
    ///
    /// # Panics
    /// When they do not.
    pub(crate) fn settle(&self) {
        self.node.await_compiles();
        wait_until(PATIENCE, "the shims to end", || self.members().is_empty().then_some(()));
        sleep(AFTERMATH);
    }

    /// Kills the processes of a peer's failed turn, and removes its containers.
    fn clear(&self) {
        wait_until(PATIENCE, "the processes of a failed turn to die", || {
            let members = self.members();
            for member in &members {
                let (Member::Shim(pid) | Member::Container(pid)) = *member;
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    // It may have ended meanwhile, which is as good.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            members.is_empty().then_some(())
        });
        for id in self.node.ctr(["containers", "ls", "-q"]).stdout.lines() {
            // The task may be gone already. Anything that stays is listed at the end of the run.
            for words in [&["tasks", "rm", "--force", id][..], &["containers", "rm", id]] {
                let _ = catch_unwind(AssertUnwindSafe(|| self.node.ctr(words)));
            }
        }
    }

    /// Runs a contender's turn on this node, and waits until all its processes have ended. Removes what a peer's failed turn has left.
    pub(crate) fn turn<R: Copy + Ord>(
        &self,
        samples: &mut Samples<R>,
        side: Side<'_>,
        rows: &[R],
        work: impl FnOnce() -> Vec<(R, f64)>,
    ) {
        let succeeded = samples.turn(side, rows, || {
            let figures = work();
            self.settle();
            figures
        });
        if !succeeded {
            self.clear();
        }
    }

    /// The present processes of shims and containers.
    pub(crate) fn members(&self) -> Vec<Member> {
        let keepers = self.keepers();
        let mut members: Vec<Member> =
            trees::processes(&self.host).into_iter().filter(|pid| !keepers.contains(pid)).map(Member::Shim).collect();
        for folder in trees::folders(&self.whole) {
            if folder != self.host {
                trees::within(&folder, &mut |pid| members.push(Member::Container(pid)));
            }
        }
        members
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        // Every process goes back, even after a panic: a cgroup with this program in it could not be removed.
        for (host, origin) in &self.hosts {
            for pid in trees::processes(host) {
                // A process may just have ended.
                let _ = trees::admit(origin, pid);
            }
            if let Err(error) = fs::remove_dir(host) {
                eprintln!("cannot remove {}: {error}", host.display());
            }
        }
    }
}
