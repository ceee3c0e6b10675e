//! The node's cgroups for compiles. All compiles that starts wait for share the weight of one pod, so that a first start goes on
//! beside load, and a burst of them takes no more than one more pod would. Compiles that nobody waits for have the least weight
//! there is. Neither takes more memory than its part of the node's.
//!
//! A process with the least weight holds nothing that others wait for, because it hardly runs on a busy machine: beside eight to
//! twelve busy processes on two processors it took 81 s to hash and sync 36 MB (34 ms of processor time), and 0.4 s with the weight
//! of a pod. So a driver, which takes locks of the cache, keeps the weight of a pod, and only its compile process gets the least.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::hierarchy::{self, ROOT};
use super::make;
use super::write::put;
use crate::error::{Doing, Result};

/// The cgroup of compiles that a start waits for, and that of compiles that nobody waits for.
const AWAITED: Weight = Weight { name: "catamaran-compile", weight: "100", shares: "1024", part: 3 };
const LATER: Weight = Weight { name: "catamaran-compile-later", weight: "1", shares: "2", part: 6 };
/// The most tries, because somebody may remove the empty folder before this process is in it.
const MOST_TRIES: usize = 10;
/// The most threads of all compiles together, and of the drivers that wait for their turn.
const PIDS: &str = "4096";

/// A cgroup and its part of the processors: a pod that has not asked for more has 100 (v2) and 1024 (v1).
struct Weight {
    name: &'static str,
    weight: &'static str,
    shares: &'static str,
    /// The divisor of the node's memory: both cgroups together get half of it.
    part: u64,
}

/// One of the two cgroups.
pub struct Compilers {
    of: &'static Weight,
    /// The folder in which its memory is counted.
    memory: Option<PathBuf>,
}

impl Compilers {
    /// Moves this process, which has one thread, into the cgroup of compiles that starts wait for, which is made if it is missing. The
    /// process's children are born there.
    pub fn join() -> Result<Self> {
        let compilers = Self::find(&AWAITED)?;
        compilers.take(Joining::This)?;
        Ok(compilers)
    }

    /// Returns the cgroup of compiles that nobody waits for, without moving a process there: see [`Compilers::admit`].
    pub fn later() -> Result<Self> {
        Self::find(&LATER)
    }

    fn find(of: &'static Weight) -> Result<Self> {
        if hierarchy::is_unified() {
            return Ok(Self { of, memory: Some(Path::new(ROOT).join(of.name)) });
        }
        let trees = hierarchy::mounted()?;
        let memory = trees.iter().find(|tree| tree.controllers.iter().any(|c| c == "memory"));
        Ok(Self { of, memory: memory.map(|tree| tree.mount.join(of.name)) })
    }

    /// Moves a process with all of its threads into this cgroup, which is made if it is missing. The memory that the process has
    /// already stays counted in its old cgroup.
    pub fn admit(&self, pid: u32) -> Result<()> {
        self.take(Joining::Other(pid))
    }

    fn take(&self, process: Joining) -> Result<()> {
        let of = self.of;
        let part = (total_memory()? / of.part).to_string();
        if hierarchy::is_unified() {
            make::enable_controllers(Path::new(ROOT))?;
            let limits = [("memory.max", &*part), ("cpu.weight", of.weight), ("pids.max", PIDS)];
            return enter(&Path::new(ROOT).join(of.name), &limits, ("cgroup.procs", process.number()));
        }
        for tree in hierarchy::mounted()? {
            let has = |controller: &str| tree.controllers.iter().any(|c| c == controller);
            let limits = [
                ("memory", "memory.limit_in_bytes", part.as_str()),
                ("cpu", "cpu.shares", of.shares),
                ("pids", "pids.max", PIDS),
            ];
            let own: Vec<_> = limits
                .iter()
                .filter(|(controller, ..)| has(controller))
                .map(|(_, file, value)| (*file, *value))
                .collect();
            if own.is_empty() || has("cpuset") {
                continue;
            }
            enter(&tree.mount.join(of.name), &own, process.on_v1())?;
        }
        Ok(())
    }

    /// Returns the bytes of memory that all compiles that starts wait for may take together.
    pub fn most_memory() -> Result<u64> {
        Ok(total_memory()? / AWAITED.part)
    }

    /// Returns how many processes the kernel has killed in the cgroup because memory ran out.
    pub fn killed(&self) -> u64 {
        let count = |file: &str| {
            let text = fs::read_to_string(self.memory.as_ref()?.join(file)).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        };
        count("memory.events").or_else(|| count("memory.oom_control")).unwrap_or(0)
    }
}

/// A process that comes into the cgroup.
#[derive(Clone, Copy)]
enum Joining {
    /// This one, which has one thread.
    This,
    Other(u32),
}

impl Joining {
    fn number(self) -> String {
        match self {
            // Whatever its number is here.
            Joining::This => "0".to_owned(),
            Joining::Other(pid) => pid.to_string(),
        }
    }

    /// Returns the file to write, and the text. A thread that moves itself does not wait for RCU, as every other move on v1 does.
    fn on_v1(self) -> (&'static str, String) {
        let file = match self {
            Joining::This => "tasks",
            Joining::Other(_) => "cgroup.procs",
        };
        (file, self.number())
    }
}

/// Makes the folder with its limits if it is missing, and writes the last of the files, which moves the process.
fn enter(folder: &Path, limits: &[(&str, &str)], last: (&str, String)) -> Result<()> {
    for _ in 1..MOST_TRIES {
        match enter_once(folder, limits, &last) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            entered => return entered.on(folder),
        }
    }
    enter_once(folder, limits, &last).on(folder)
}

fn enter_once(folder: &Path, limits: &[(&str, &str)], (file, process): &(&str, String)) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        made => made?,
    }
    for (file, value) in limits {
        match put(&folder.join(file), value) {
            // v2: a controller that this host's tree does not have.
            Err(e) if e.kind() == ErrorKind::NotFound && folder.exists() => {}
            written => written?,
        }
    }
    put(&folder.join(file), process)
}

fn total_memory() -> Result<u64> {
    let path = "/proc/meminfo";
    let text = fs::read_to_string(path).on(path)?;
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let kilobytes: Option<u64> = kilobytes.and_then(|n| n.parse().ok());
    kilobytes.map(|n| n << 10).ok_or(ErrorKind::InvalidData).on(path)
}
