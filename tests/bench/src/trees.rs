//! The cgroup trees that count CPU time and divide the processors: two controllers of version 1, often mounted as one tree, or version 2's
//! tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Their mount points.
pub(crate) struct Trees {
    pub(crate) counting: PathBuf,
    pub(crate) dividing: PathBuf,
    unified: bool,
}

impl Trees {
    /// # Panics
    /// When there are neither cgroup v1's cpu and cpuacct nor cgroup v2.
    pub(crate) fn find() -> Self {
        let table = read(Path::new("/proc/self/mountinfo"));
        let (mut counting, mut dividing, mut unified) = (None, None, None);
        for line in table.lines() {
            let (Some((_, kind)), Some(path)) = (line.split_once(" - "), line.split(' ').nth(4)) else { continue };
            let words: Vec<&str> = kind.split(' ').collect();
            match words[..] {
                ["cgroup", _, options] => {
                    let has = |controller| options.split(',').any(|word| word == controller);
                    counting = counting.or(has("cpuacct").then(|| PathBuf::from(path)));
                    dividing = dividing.or(has("cpu").then(|| PathBuf::from(path)));
                }
                ["cgroup2", ..] => unified = Some(PathBuf::from(path)),
                _ => {}
            }
        }
        match (counting, dividing) {
            (Some(counting), Some(dividing)) => Self { counting, dividing, unified: false },
            _ => {
                let unified = unified.expect("neither cgroup v1's cpu and cpuacct nor cgroup v2 is mounted");
                Self { counting: unified.clone(), dividing: unified, unified: true }
            }
        }
    }

    /// Each of them, with this program's present cgroup in it.
    pub(crate) fn own(&self) -> Vec<(&Path, PathBuf)> {
        let own = |root: &Path, controller| root.join(own_cgroup(controller));
        if self.unified {
            return vec![(&self.counting, own(&self.counting, None))];
        }
        let mut all = vec![(self.counting.as_path(), own(&self.counting, Some("cpuacct")))];
        if self.dividing != self.counting {
            all.push((&self.dividing, own(&self.dividing, Some("cpu"))));
        }
        all
    }

    /// On version 2, enables the cpu controller for the cgroups below the root.
    ///
    /// # Panics
    /// When the kernel refuses it.
    pub(crate) fn divide(&self) {
        if self.unified {
            let file = self.dividing.join("cgroup.subtree_control");
            fs::write(file, "+cpu").expect("cgroup v2 without its cpu controller");
        }
    }

    /// The CPU time of a cgroup so far.
    pub(crate) fn used(&self, cgroup: &Path) -> Duration {
        if !self.unified {
            return Duration::from_nanos(read(&cgroup.join("cpuacct.usage")).trim().parse().expect("a number"));
        }
        let text = read(&cgroup.join("cpu.stat"));
        let value = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).expect("no usage in cpu.stat");
        Duration::from_micros(value.parse().expect("a number"))
    }
}

/// This program's own cgroup, below the mount point of version 1's controller, or of version 2.
fn own_cgroup(controller: Option<&str>) -> PathBuf {
    let text = read(Path::new("/proc/self/cgroup"));
    let own = text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let here = match controller {
            Some(name) => controllers.split(',').any(|word| word == name),
            None => controllers.is_empty(),
        };
        here.then_some(path)
    });
    PathBuf::from(own.expect("/proc/self/cgroup does not name the hierarchy").trim_start_matches('/'))
}

/// Moves a process.
pub(crate) fn admit(cgroup: &Path, pid: u32) -> std::io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), pid.to_string())
}

/// The processes of a cgroup itself.
pub(crate) fn processes(cgroup: &Path) -> Vec<u32> {
    // A container's cgroup may vanish between listing and reading.
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The cgroups right below one.
pub(crate) fn folders(cgroup: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cgroup).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Calls `found` with the processes of a cgroup and of those below it.
pub(crate) fn within(cgroup: &Path, found: &mut impl FnMut(u32)) {
    processes(cgroup).into_iter().for_each(&mut *found);
    for folder in folders(cgroup) {
        within(&folder, found);
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}
