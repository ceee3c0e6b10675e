//! The node's cgroups for compiles. All compiles that starts wait for have the weight of one pod together, so that a first
//! start goes on beside load and a burst of them takes no more than one more pod would; those that nobody waits for have the
//! least weight there is. Neither takes more memory than its part of the node's.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::hierarchy::{self, ROOT};
use super::make;
use super::write::put;
use crate::error::{Doing, Result};

/// For a compile that a start waits for, and for one that nobody waits for.
const AWAITED: Weight = Weight { name: "catamaran-compile", weight: "100", shares: "1024", part: 3 };
const LATER: Weight = Weight { name: "catamaran-compile-later", weight: "1", shares: "2", part: 6 };
/// Somebody may remove the empty folder between its making and our entering.
const MOST_TRIES: usize = 10;
/// Threads of all compiles together, and the drivers that wait for their turn.
const PIDS: &str = "4096";

/// A cgroup and its part of the processors: a pod that has not asked for more has 100 (v2) and 1024 (v1).
struct Weight {
    name: &'static str,
    weight: &'static str,
    shares: &'static str,
    /// The part of the node's memory, one so many-th: half of it for both.
    part: u64,
}

/// The cgroup that this process is in now, for [`Compilers::killed`].
pub struct Compilers {
    memory: Option<PathBuf>,
}

impl Compilers {
    /// Moves this process into the cgroup of compiles, which is made where it is missing. Its children are born there.
    pub fn join() -> Result<Self> {
        Self::enter(&AWAITED)
    }

    /// Moves this process on, into the cgroup of those that nobody waits for.
    pub fn join_later() -> Result<Self> {
        Self::enter(&LATER)
    }

    fn enter(of: &Weight) -> Result<Self> {
        let part = (total_memory()? / of.part).to_string();
        if hierarchy::is_unified() {
            let folder = Path::new(ROOT).join(of.name);
            make::enable_controllers(Path::new(ROOT))?;
            enter(&folder, &[("memory.max", &part), ("cpu.weight", of.weight), ("pids.max", PIDS)])?;
            return Ok(Self { memory: Some(folder) });
        }
        let mut memory = None;
        for tree in hierarchy::mounted()? {
            let folder = tree.mount.join(of.name);
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
            enter(&folder, &own)?;
            if has("memory") {
                memory = Some(folder);
            }
        }
        Ok(Self { memory })
    }

    /// The memory that all compiles together may take for which starts wait, in bytes.
    pub fn most_memory() -> Result<u64> {
        Ok(total_memory()? / AWAITED.part)
    }

    /// How many processes the kernel has killed in it for want of memory.
    pub fn killed(&self) -> u64 {
        let count = |file: &str| {
            let text = fs::read_to_string(self.memory.as_ref()?.join(file)).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        };
        count("memory.events").or_else(|| count("memory.oom_control")).unwrap_or(0)
    }
}

fn enter(folder: &Path, limits: &[(&str, &str)]) -> Result<()> {
    for _ in 1..MOST_TRIES {
        match enter_once(folder, limits) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            entered => return entered.on(folder),
        }
    }
    enter_once(folder, limits).on(folder)
}

fn enter_once(folder: &Path, limits: &[(&str, &str)]) -> io::Result<()> {
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
    // This process, whatever its number is here.
    put(&folder.join("cgroup.procs"), "0")
}

fn total_memory() -> Result<u64> {
    let path = "/proc/meminfo";
    let text = fs::read_to_string(path).on(path)?;
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let kilobytes: Option<u64> = kilobytes.and_then(|n| n.parse().ok());
    kilobytes.map(|n| n << 10).ok_or(ErrorKind::InvalidData).on(path)
}
