//! The processes of a node, as /proc shows them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use crate::tag;

/// A process that belongs to a node.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    started: u64,
    parent: u32,
    pub(crate) command: String,
    named: bool,
}

/// Kills a process.
///
/// # Panics
/// When there is none of this pid.
pub fn kill9(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid");
    kill_process(pid, Signal::KILL).unwrap_or_else(|error| panic!("cannot kill {pid:?}: {error}"));
}

/// A node's processes: those that name the tag in their command line, environment, working directory or cgroup, and their children. (A
/// worker whose shim died is known by its cgroup.) Never this program or its ancestors.
pub(crate) fn list(tag: &str) -> Vec<Process> {
    let all: Vec<Process> = fs::read_dir("/proc")
        .expect("/proc cannot be read")
        .flatten()
        .filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?, tag))
        .collect();
    let callers = callers(&all);
    let mut ours: BTreeSet<u32> = all
        .iter()
        .filter(|process| process.named && !callers.contains(&process.pid))
        .map(|process| process.pid)
        .collect();
    loop {
        let before = ours.len();
        for process in &all {
            if ours.contains(&process.parent) && !callers.contains(&process.pid) {
                ours.insert(process.pid);
            }
        }
        if ours.len() == before {
            break;
        }
    }
    all.into_iter().filter(|process| ours.contains(&process.pid)).collect()
}

fn callers(all: &[Process]) -> BTreeSet<u32> {
    let mut callers = BTreeSet::from([0, 1]);
    let mut pid = std::process::id();
    while callers.insert(pid) {
        pid = all.iter().find(|process| process.pid == pid).map_or(1, |process| process.parent);
    }
    callers
}

fn read(pid: u32, tag: &str) -> Option<Process> {
    // None for a zombie too: nothing but its parent can remove it.
    let started = tag::started(pid)?;
    let dir = PathBuf::from(format!("/proc/{pid}"));
    let stat = fs::read_to_string(dir.join("stat")).ok()?;
    let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let command = fs::read(dir.join("cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
    let environment = fs::read(dir.join("environ")).unwrap_or_default();
    let named = command.contains(tag)
        || String::from_utf8_lossy(&environment).contains(tag)
        || fs::read_link(dir.join("cwd")).is_ok_and(|path| path.to_string_lossy().contains(tag))
        || fs::read_to_string(dir.join("cgroup")).is_ok_and(|text| text.contains(tag));
    Some(Process { pid, started, parent, command, named })
}

impl Process {
    /// Kills it, if it is still the one that was listed.
    pub(crate) fn kill(&self) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        if tag::started(self.pid) == Some(self.started) {
            // It may have ended meanwhile, which is as good.
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
    }
}
