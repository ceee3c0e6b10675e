//! The host's trees of cgroups: one (v2), or one for every few controllers and perhaps v2's beside them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::error::{Doing, Result};

/// The folder in which every distribution mounts them, and in which containerd, runc and systemd look.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";
/// linux/magic.h.
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
/// v1's controllers (cgroups(7)), and systemd's own tree, in which a process is found by the name of its service.
const KNOWN: [&str; 15] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "name=systemd",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];

/// One tree of cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// The tree's controllers on v1. Empty on v2, where a file of each cgroup lists them.
    pub(crate) controllers: Vec<String>,
    pub(crate) mount: PathBuf,
}

impl Hierarchy {
    /// Whether this is the v2 tree of a host whose controllers are v1's (systemd's «hybrid» layout).
    pub(crate) fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }
}

/// Whether the host has v2 alone.
pub fn is_unified() -> bool {
    rustix::fs::statfs(ROOT).is_ok_and(|fs| fs.f_type == CGROUP2_SUPER_MAGIC)
}

/// Returns the trees in which a container has a folder, on v1.
pub(crate) fn mounted() -> Result<Vec<Hierarchy>> {
    let table = Path::new("/proc/self/mountinfo");
    let lines = BufReader::new(File::open(table).on(table)?).lines();
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in lines {
        if let Some(hierarchy) = parse(&line.on(table)?) {
            // A tree may be mounted in several places; the first is the host's own.
            if found.iter().all(|known| known.controllers != hierarchy.controllers) {
                found.push(hierarchy);
            }
        }
    }
    Ok(found)
}

/// Reads a line of mountinfo (proc_pid_mountinfo(5)); None if it mounts no cgroup tree that matters.
fn parse(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mount = PathBuf::from(left.split(' ').nth(4)?);
    let mut right = right.split(' ');
    let kind = right.next()?;
    let options = right.nth(1)?;
    match kind {
        "cgroup2" => Some(Hierarchy { controllers: Vec::new(), mount }),
        "cgroup" => {
            let controllers = options.split(',').filter(|option| KNOWN.contains(option)).map(str::to_owned);
            let controllers: Vec<String> = controllers.collect();
            (!controllers.is_empty()).then_some(Hierarchy { controllers, mount })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_read_from_the_mount_table() {
        let line = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct";
        let expected =
            Hierarchy { controllers: vec!["cpu".into(), "cpuacct".into()], mount: "/sys/fs/cgroup/cpu,cpuacct".into() };
        assert_eq!(parse(line), Some(expected));
        let v2 = parse("41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate").unwrap();
        assert!(v2.is_v2() && v2.mount.ends_with("unified"));
        let systemd = parse("40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd").unwrap();
        assert_eq!(systemd.controllers, ["name=systemd"]);
        assert_eq!(parse("41 31 0:38 / /x rw - cgroup cgroup rw,name=mine"), None);
        assert_eq!(parse("41 31 0:38 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755"), None);
    }
}
