//! The kernel's record of a task's cgroup, in both versions of cgroups.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::task::Task;

const ROOT: &str = "/sys/fs/cgroup";
/// linux/magic.h.
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;

/// Which cgroups the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupVersion {
    /// A tree for every few controllers, possibly with v2's beside them.
    V1,
    /// One tree.
    V2,
}

/// The machine's cgroups.
pub fn cgroup_version() -> CgroupVersion {
    let fs = rustix::fs::statfs(ROOT).expect("/sys/fs/cgroup cannot be asked");
    if fs.f_type == CGROUP2_SUPER_MAGIC { CgroupVersion::V2 } else { CgroupVersion::V1 }
}

/// Whether systemd is the machine's init, and makes scopes.
pub fn systemd_runs() -> bool {
    Path::new("/run/systemd/private").exists()
}

/// The controllers by which a container of this machine can be limited, such as `memory`.
pub fn controllers() -> BTreeSet<String> {
    match cgroup_version() {
        CgroupVersion::V2 => {
            let words = fs::read_to_string(Path::new(ROOT).join("cgroup.controllers")).expect("no cgroup.controllers");
            words.split_whitespace().map(str::to_owned).collect()
        }
        CgroupVersion::V1 => v1_mounts().into_iter().flat_map(|(controllers, _)| controllers).collect(),
    }
}

/// v1's trees: the controllers of each, and its path.
fn v1_mounts() -> Vec<(Vec<String>, PathBuf)> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo cannot be read");
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - cgroup ")?;
        let controllers = right.split(' ').nth(1)?.split(',').map(str::to_owned).collect();
        Some((controllers, PathBuf::from(left.split(' ').nth(4)?)))
    };
    table.lines().filter_map(parse).collect()
}

/// The folder of a process's cgroup that holds a controller's files.
///
/// # Panics
/// When the process has gone, or the machine lacks the controller.
pub fn cgroup_folder(pid: u32, controller: &str) -> PathBuf {
    let path = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let below = |root: &Path, path: &str| root.join(path.trim_start_matches('/'));
    let found = text.lines().find_map(|line| {
        let [_, controllers, path] = line.splitn(3, ':').collect::<Vec<_>>()[..] else { return None };
        match cgroup_version() {
            CgroupVersion::V2 => controllers.is_empty().then(|| below(Path::new(ROOT), path)),
            CgroupVersion::V1 => {
                controllers.split(',').find(|name| *name == controller)?;
                let (_, mount) = v1_mounts().into_iter().find(|(all, _)| all.iter().any(|c| c == controller))?;
                Some(below(&mount, path))
            }
        }
    });
    found.unwrap_or_else(|| panic!("no {controller} controller of {pid}:\n{text}"))
}

impl Task<'_> {
    /// The folder of its cgroup that holds a controller's files.
    ///
    /// # Panics
    /// When the task's process has gone, or the machine lacks the controller.
    pub fn cgroup_folder(&self, controller: &str) -> PathBuf {
        cgroup_folder(self.pid(), controller)
    }

    /// Returns the content of a file of its cgroup: the first name on v1, the second on v2.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn cgroup_file(&self, v1: &str, v2: &str) -> String {
        let name = if cgroup_version() == CgroupVersion::V1 { v1 } else { v2 };
        let controller = name.split('.').next().expect("a name");
        let path = self.cgroup_folder(controller).join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.trim_end().to_owned()
    }

    /// Runs a script of the machine's shell, as root, in the task's cgroup: on v1 in that of one controller, on v2 in the only one.
    pub fn in_cgroup(&self, controller: &str, script: &str) -> Output {
        let script = format!("echo $$ > {}/cgroup.procs && {script}", self.cgroup_folder(controller).display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::null());
        command.output().expect("cannot start a shell")
    }
}
