//! The account of a run: one cgroup for everything that the node causes.
//!
//! ```text
//! /TAG            the figure that is read: CPU time of all below, including ended processes
//!   |- host       containerd, ctr and, because they inherit it, every shim
//!   '- ID ...     the containers, where ctr's default path puts them: below the containerd namespace, which is TAG
//! ```
//!
//! So the sum is complete: no process leaves a cgroup by being reparented (as shims are), by ending unreaped, or by living for a
//! millisecond, and a removed cgroup leaves its time with the one above. Times of reaped children would miss the shims and their processes.
//! This program must be in `host` too, so that its `ctr` begins there; its own time is subtracted by the process's CPU clock.
//!
//! The sum would miss a process that moves itself elsewhere, such as a compiler in a cgroup for the whole node. Rows that read CPU time
//! compile nothing, because the warm-up rounds did.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use catamaran_harness::{Node, PATIENCE, wait_until};
use rustix::time::{ClockId, clock_gettime};

/// How long containerd gets to tidy up after a run, so that its work does not count for the next run.
const AFTERMATH: Duration = Duration::from_millis(50);

/// The node's cgroup in the hierarchy that counts CPU time.
pub(crate) struct Account<'n> {
    node: &'n Node,
    /// `/TAG`.
    whole: PathBuf,
    host: PathBuf,
    /// This program's cgroup before, to which it returns.
    origin: PathBuf,
    unified: bool,
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
        let (root, unified) = hierarchy();
        let whole = root.join(node.namespace());
        let account = Self { node, host: whole.join("host"), whole, origin: root.join(own_cgroup(unified)), unified };
        fs::create_dir_all(&account.host)
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", account.host.display()));
        for pid in account.keepers() {
            admit(&account.host, pid).unwrap_or_else(|error| panic!("cannot move {pid} to its cgroup: {error}"));
        }
        account
    }

    /// The processes of `host` that are always there.
    fn keepers(&self) -> [u32; 2] {
        [self.node.containerd_pid(), std::process::id()]
    }

    /// The CPU time of the node so far, without this program's.
    pub(crate) fn cpu(&self) -> Duration {
        let used = used(&self.whole, self.unified);
        let own = clock_gettime(ClockId::ProcessCPUTime);
        let own = Duration::new(own.tv_sec.cast_unsigned(), u32::try_from(own.tv_nsec).expect("a part of a second"));
        // The time that this program spent before it came here does not change a difference, but could change the sign.
        (used + Duration::from_secs(3600)).checked_sub(own).expect("this program used an hour")
    }

    /// The CPU time of one container so far.
    ///
    /// # Panics
    /// When it is gone.
    pub(crate) fn cpu_of(&self, id: &str) -> Duration {
        used(&self.whole.join(id), self.unified)
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

    /// The present processes of shims and containers.
    pub(crate) fn members(&self) -> Vec<Member> {
        let keepers = self.keepers();
        let mut members: Vec<Member> =
            processes(&self.host).into_iter().filter(|pid| !keepers.contains(pid)).map(Member::Shim).collect();
        for folder in folders(&self.whole) {
            if folder != self.host {
                within(&folder, &mut |pid| members.push(Member::Container(pid)));
            }
        }
        members
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        // Every process goes back, even after a panic: a cgroup with this program in it could not be removed.
        for pid in processes(&self.host) {
            // A process may just have ended.
            let _ = admit(&self.origin, pid);
        }
        if let Err(error) = fs::remove_dir(&self.host) {
            eprintln!("cannot remove {}: {error}", self.host.display());
        }
    }
}

/// The CPU time of a cgroup so far.
fn used(cgroup: &Path, unified: bool) -> Duration {
    if !unified {
        return Duration::from_nanos(read(&cgroup.join("cpuacct.usage")).trim().parse().expect("a number"));
    }
    let text = read(&cgroup.join("cpu.stat"));
    let value = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).expect("no usage in cpu.stat");
    Duration::from_micros(value.parse().expect("a number"))
}

/// The mount point of the hierarchy that counts CPU time, and whether it is version 2.
fn hierarchy() -> (PathBuf, bool) {
    let table = read(Path::new("/proc/self/mountinfo"));
    let mut unified = None;
    for line in table.lines() {
        let (Some((_, kind)), Some(path)) = (line.split_once(" - "), line.split(' ').nth(4)) else { continue };
        let words: Vec<&str> = kind.split(' ').collect();
        match words[..] {
            ["cgroup", _, options] if options.split(',').any(|word| word == "cpuacct") => return (path.into(), false),
            ["cgroup2", ..] => unified = Some(PathBuf::from(path)),
            _ => {}
        }
    }
    (unified.expect("neither cgroup v1's cpuacct nor cgroup v2 is mounted"), true)
}

/// This program's own cgroup, below the mount point.
fn own_cgroup(unified: bool) -> PathBuf {
    let text = read(Path::new("/proc/self/cgroup"));
    let own = text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let counts = controllers.split(',').any(|word| word == "cpuacct");
        (if unified { controllers.is_empty() } else { counts }).then_some(path)
    });
    PathBuf::from(own.expect("/proc/self/cgroup does not name the hierarchy").trim_start_matches('/'))
}

fn admit(cgroup: &Path, pid: u32) -> std::io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), pid.to_string())
}

fn processes(cgroup: &Path) -> Vec<u32> {
    // A container's cgroup may vanish between listing and reading.
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn folders(cgroup: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cgroup).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn within(cgroup: &Path, found: &mut impl FnMut(u32)) {
    processes(cgroup).into_iter().for_each(&mut *found);
    for folder in folders(cgroup) {
        within(&folder, found);
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}
