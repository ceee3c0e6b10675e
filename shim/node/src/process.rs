//! The host's processes, as its /proc shows them.
//!
//! Every process may read another one's arguments and cgroup, but reading its executable and descriptors takes rights that a container may
//! lack. So the executable and descriptors are used where they can be read, and never relied on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::host::Host;

/// A process of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Its arguments, the program's name first.
    pub(crate) args: Vec<String>,
    /// Its executable, if it can be read.
    pub(crate) exe: Option<PathBuf>,
}

impl Process {
    /// The name that it was started by, without folders. A program that sets a title has the whole title in its first argument.
    pub(crate) fn name(&self) -> &str {
        let first = self.args.first().map_or("", String::as_str);
        let first = first.split(' ').next().unwrap_or(first);
        first.rsplit('/').next().unwrap_or(first)
    }

    /// The word at `index`, counting each word of a title.
    pub(crate) fn word(&self, index: usize) -> Option<&str> {
        self.args.iter().flat_map(|argument| argument.split(' ')).nth(index)
    }

    /// The value of an option: `--name value`, `--name=value` or, as Go's programs allow, with one dash.
    pub(crate) fn option(&self, names: &[&str]) -> Option<&str> {
        option(self.args.iter().map(String::as_str), names)
    }

    /// Where its program is on the host: its executable, or the absolute path that it was started by.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        let exe = self.exe.as_ref().map(|exe| {
            let text = exe.to_string_lossy();
            PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(&text))
        });
        exe.or_else(|| {
            let first = self.args.first()?.split(' ').next()?;
            first.starts_with('/').then(|| PathBuf::from(first))
        })
    }

    /// The systemd unit that it belongs to, by its cgroup.
    pub(crate) fn unit(&self, host: &Host) -> Option<String> {
        let text = host.text(&proc_of(self.pid).join("cgroup"))?;
        // cgroup v1 has a line for each hierarchy, always with systemd's own; v2 has one line.
        let lines = || text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        lines().find_map(|path| path.split('/').find(|part| part.ends_with(".service"))).map(str::to_owned)
    }

    /// The inodes of its open sockets; none if they cannot be read.
    pub(crate) fn sockets(&self, host: &Host) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(host.at(&proc_of(self.pid)).join("fd")) else { return Vec::new() };
        let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        links.filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
    }

    /// The inode of the socket that listens at `path` in this process's network namespace.
    pub(crate) fn listener(&self, host: &Host, path: &Path) -> Option<u64> {
        let table = host.text(&proc_of(self.pid).join("net/unix"))?;
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // Num RefCount Protocol Flags Type St Inode Path; __SO_ACCEPTCON is 0x10000.
            let [.., flags, _, _, inode, bound] = fields.as_slice() else { return None };
            let listens = u32::from_str_radix(flags, 16).ok()? & 0x10000 != 0;
            (listens && same_socket(host, Path::new(bound), path)).then(|| inode.parse().ok())?
        })
    }
}

/// Whether two paths name one socket: `/var/run` is a link to `/run` wherever systemd is.
pub(crate) fn same_socket(host: &Host, one: &Path, other: &Path) -> bool {
    let plain = |path: &Path| {
        let path = host.resolve(path);
        path.strip_prefix("/var/run").map(|rest| Path::new("/run").join(rest)).unwrap_or(path)
    };
    plain(one) == plain(other)
}

pub(crate) fn proc_of(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// The value of an option among arguments. The last one counts, as in Go's programs.
pub(crate) fn option<'a>(args: impl Iterator<Item = &'a str>, names: &[&str]) -> Option<&'a str> {
    let mut found = None;
    let mut args = args.peekable();
    while let Some(argument) = args.next() {
        let (name, value) = argument.split_once('=').map_or((argument, None), |(name, value)| (name, Some(value)));
        if names.contains(&name) {
            found = value.or_else(|| args.peek().copied()).or(found);
        }
    }
    found
}

/// The host's own processes, by pid. Leaves out kernel threads, and processes that end meanwhile.
pub(crate) fn all(host: &Host) -> Vec<Process> {
    let folder = host.at(Path::new("/proc"));
    let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut all: Vec<Process> = pids
        .filter_map(|pid: u32| {
            let own = folder.join(pid.to_string());
            let line = fs::read(own.join("cmdline")).ok()?;
            let args: Vec<String> = line
                .split(|byte| *byte == 0)
                .map(|argument| String::from_utf8_lossy(argument).trim().to_owned())
                .filter(|argument| !argument.is_empty())
                .collect();
            if args.is_empty() || !is_of_host(&folder, &own) {
                return None;
            }
            let exe = fs::read_link(own.join("exe")).ok();
            Some(Process { pid, args, exe })
        })
        .collect();
    all.sort_by_key(|process| process.pid);
    all
}

/// Whether a process is the host's and not a container's: a process in a pod may call itself kubelet or containerd, and name a socket and
/// files of its choice.
fn is_of_host(processes: &Path, own: &Path) -> bool {
    let status = fs::read_to_string(own.join("status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::split_whitespace);
    // A process in a pid namespace of its own has a second number there. Programs that run pods are root.
    if field("NSpid:").is_some_and(|numbers| numbers.count() > 1)
        || field("Uid:").is_some_and(|mut ids| ids.any(|id| id != "0"))
    {
        return false;
    }
    // A container in the host's pid namespace differs by its mount namespace; if that cannot be read, by the kubelet's cgroup.
    let first = processes.join("1");
    let namespace = |process: &Path| fs::read_link(process.join("ns/mnt")).ok();
    if namespace(own).zip(namespace(&first)).is_some_and(|(own, first)| own != first) {
        return false;
    }
    let of_pod =
        |process: &Path| fs::read_to_string(process.join("cgroup")).is_ok_and(|text| text.contains("kubepods"));
    !of_pod(own) || of_pod(&first)
}
