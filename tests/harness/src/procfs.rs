//! A process as /proc shows it, for tests that look at one from the host.
//!
//! # Panics
//! Each function that asks for a property, if there is no such process.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::tag;

/// A file or folder of a process's.
pub fn file(pid: u32, name: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(name)
}

fn text(pid: u32, name: &str) -> String {
    let path = file(pid, name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Parses `/proc/PID/status` by its keys.
pub fn status(pid: u32) -> BTreeMap<String, String> {
    let lines = text(pid, "status");
    lines.lines().filter_map(|l| l.split_once(":\t")).map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect()
}

/// Whether there is such a process, even a zombie.
pub fn is_there(pid: u32) -> bool {
    file(pid, "stat").exists()
}

/// Whether there is such a process, and it is no zombie.
pub fn runs(pid: u32) -> bool {
    tag::started(pid).is_some()
}

/// Its parent.
pub fn parent(pid: u32) -> u32 {
    status(pid)["PPid"].parse().unwrap()
}

/// The children of its first thread.
pub fn children(pid: u32) -> Vec<u32> {
    let all = text(pid, &format!("task/{pid}/children"));
    all.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

/// Its processor time, in user and kernel mode, in ticks of a hundredth of a second.
pub fn ticks(pid: u32) -> u64 {
    let stat = text(pid, "stat");
    // The second field, the name in parentheses, may itself hold blanks and parentheses.
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// How often its first thread has stopped running, to wait or to let others run.
pub fn switches(pid: u32) -> u64 {
    let status = status(pid);
    let number = |key: &str| status[key].parse::<u64>().unwrap();
    number("voluntary_ctxt_switches") + number("nonvoluntary_ctxt_switches")
}

/// Columns and rows of the terminal that is a process's standard input.
///
/// # Panics
/// When it is no terminal.
pub fn window(pid: u32) -> (u16, u16) {
    // NOCTTY, so that the terminal does not become this process's own.
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let terminal = rustix::fs::open(file(pid, "fd/0"), flags, rustix::fs::Mode::empty()).expect("no standard input");
    let size = rustix::termios::tcgetwinsize(&terminal).expect("no terminal");
    (size.ws_col, size.ws_row)
}
