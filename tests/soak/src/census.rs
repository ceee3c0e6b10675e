//! A node's resources at one moment.

use std::fs;
use std::path::{Path, PathBuf};

use catamaran_harness::Node;

use crate::residents::Residents;

/// The allowed growth of a shim's private memory since the start, in bytes, for the memory that its allocator keeps after a peak. A shim
/// serves some ten thousand containers in 20 minutes, so a leak of 20 bytes a container exceeds it.
const MOST_GROWTH: u64 = 192 << 10;

/// The rule for one of the samples' rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// As many at the end as at the start.
    Same,
    /// At most this much more.
    AtMost(u64),
    /// Only for information.
    Told,
}

/// A row: its name, its unit, and the rule for the end.
pub(crate) type Row = (&'static str, &'static str, Rule);

pub(crate) const ROWS: [Row; 17] = [
    ("processes", "", Rule::Same),
    ("zombies", "", Rule::Same),
    ("mounts", "", Rule::Same),
    ("cgroups", "", Rule::Same),
    ("bundles", "", Rule::Same),
    ("descriptors of our shims", "", Rule::Same),
    ("threads of our shims", "", Rule::Same),
    ("private memory of our shims, the largest", "kB", Rule::AtMost(MOST_GROWTH)),
    ("PSS of our shims, together", "kB", Rule::Told),
    ("private memory of our workers, the largest", "kB", Rule::Told),
    ("descriptors of runc's shims", "", Rule::Told),
    ("private memory of runc's shims, the largest", "kB", Rule::Told),
    ("descriptors of containerd", "", Rule::Same),
    ("threads of containerd", "", Rule::Told),
    ("memory of containerd", "kB", Rule::Told),
    ("cache", "kB", Rule::Told),
    ("state folder", "kB", Rule::Told),
];

/// A figure for each row, in bytes for memory and files.
#[derive(Clone, Debug)]
pub(crate) struct Census(pub(crate) [u64; ROWS.len()]);

/// A process's kind, by its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Containerd,
    Shim,
    RuncShim,
    Worker,
    Other,
}

/// A process of the node.
struct Process {
    kind: Kind,
    descriptors: u64,
    threads: u64,
    private: u64,
    pss: u64,
}

impl Census {
    pub(crate) fn take(node: &Node, residents: &Residents<'_>) -> Self {
        let (processes, zombies) = processes(node);
        let of = |kind| processes.iter().filter(move |process| process.kind == kind);
        let sum = |kind, figure: fn(&Process) -> u64| of(kind).map(figure).sum::<u64>();
        let most = |kind| of(kind).map(|process| process.private).max().unwrap_or(0);
        // Only of the residents' shims: a shim of the load does not live long enough to grow.
        let stay: Vec<u64> = residents.shims().into_iter().map(private).collect();
        Self([
            processes.len() as u64,
            zombies,
            mounts(node),
            cgroups(node),
            entries(&node.dir().join("state/io.containerd.runtime.v2.task").join(node.namespace())),
            sum(Kind::Shim, |process| process.descriptors),
            sum(Kind::Shim, |process| process.threads),
            stay.into_iter().max().unwrap_or(0),
            sum(Kind::Shim, |process| process.pss),
            most(Kind::Worker),
            sum(Kind::RuncShim, |process| process.descriptors),
            most(Kind::RuncShim),
            sum(Kind::Containerd, |process| process.descriptors),
            sum(Kind::Containerd, |process| process.threads),
            sum(Kind::Containerd, |process| process.private),
            size(&node.catamaran_root()),
            size(&node.dir().join("state")),
        ])
    }

    /// Returns the rows that break their rule, compared with `before`.
    pub(crate) fn grown(&self, before: &Self) -> Vec<String> {
        let rows = ROWS.iter().zip(self.0.iter().zip(&before.0));
        let complaint = |((name, _, rule), (now, before)): (&Row, (&u64, &u64))| match rule {
            Rule::Same if now != before => Some(format!("{name}: {before} at the start, {now} at the end")),
            Rule::AtMost(more) if *now > before + more => {
                Some(format!("{name}: {before} bytes at the start, {now} at the end, which is more than {more} more"))
            }
            _ => None,
        };
        rows.filter_map(complaint).collect()
    }
}

/// The node's processes, which contain its tag in their command line, environment or cgroup, and the number of their zombies.
fn processes(node: &Node) -> (Vec<Process>, u64) {
    let mut found = Vec::new();
    let (mut known, mut dead) = (Vec::new(), Vec::new());
    for entry in fs::read_dir("/proc").expect("no /proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may end at any moment: a process that cannot be read is gone.
        let Some((state, parent)) = stat(pid) else { continue };
        if state == 'Z' {
            dead.push(parent);
        } else if pid != std::process::id() && names(pid, node.namespace()) {
            known.push(pid);
            found.extend(look(pid));
        }
    }
    let zombies = dead.iter().filter(|parent| known.contains(parent)).count();
    (found, zombies as u64)
}

/// Whether a compile runs for the node.
pub(crate) fn compiles(node: &Node) -> bool {
    let own = |pid: u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.ends_with(b"\0compile\0") && names(pid, node.namespace())
    };
    let all = fs::read_dir("/proc").expect("no /proc").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).any(own)
}

/// A process's state and its parent.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn names(pid: u32, tag: &str) -> bool {
    ["cmdline", "environ", "cgroup"].iter().any(|file| {
        let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&text).contains(tag)
    })
}

fn look(pid: u32) -> Option<Process> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let kind = match program.file_name()?.to_str()? {
        "containerd" => Kind::Containerd,
        "containerd-shim-catamaran-v1" => Kind::Shim,
        "containerd-shim-runc-v2" => Kind::RuncShim,
        "catamaran-wasmtime" | "catamaran-wasmtime-http" | "catamaran-wasmer" => Kind::Worker,
        _ => Kind::Other,
    };
    let count = |folder: &str| Some(fs::read_dir(format!("/proc/{pid}/{folder}")).ok()?.count() as u64);
    let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some(Process {
        kind,
        descriptors: count("fd")?,
        threads: count("task")?,
        private: kilobytes(&memory, "Private_Dirty:")?,
        pss: kilobytes(&memory, "Pss:")?,
    })
}

/// A process's private memory in bytes; 0 when it is gone.
fn private(pid: u32) -> u64 {
    let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    kilobytes(&memory, "Private_Dirty:").unwrap_or(0)
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn mounts(node: &Node) -> u64 {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo cannot be read");
    table.lines().filter(|line| line.contains(node.namespace())).count() as u64
}

/// The node's cgroups in all trees.
fn cgroups(node: &Node) -> u64 {
    let root = Path::new("/sys/fs/cgroup");
    let below = |tree: &Path| folders(&tree.join(node.namespace()));
    let trees = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    // A link is only another name of a tree.
    let trees = trees.filter(|tree| tree.is_dir() && !tree.is_symlink());
    below(root) + trees.map(|tree| below(&tree)).sum::<u64>()
}

/// The folders below one.
fn folders(path: &Path) -> u64 {
    let inside = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    inside.filter(|path| path.is_dir() && !path.is_symlink()).map(|path| 1 + folders(&path)).sum()
}

fn entries(folder: &Path) -> u64 {
    fs::read_dir(folder).into_iter().flatten().count() as u64
}

/// The disk usage of the files below a folder that are on the folder's own file system.
fn size(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(own) = fs::symlink_metadata(folder) else { return 0 };
    let inside = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |path: PathBuf| match fs::symlink_metadata(&path) {
        Ok(data) if data.dev() != own.dev() => 0,
        Ok(data) if data.is_dir() => size(&path),
        Ok(data) => data.blocks() * 512,
        Err(_) => 0,
    };
    own.blocks() * 512 + inside.map(|entry| of(entry.path())).sum::<u64>()
}
