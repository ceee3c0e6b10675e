//! An idle process's memory and activity, from /proc.

use std::fs;
use std::path::Path;
use std::str::FromStr;

/// Memory of one process, in MB of a million bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Its own pages, and its share of those that it shares with others.
    pub(crate) pss: f64,
    /// Its private dirty pages: the certain cost of one more process of its kind.
    pub(crate) dirty: f64,
}

/// A process's activity so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deeds {
    /// Time on a CPU, in nanoseconds, of all present threads. `utime` and `stime` count in ticks of 10 ms, too coarse to tell apart 20
    /// processes that together use less than one tick in a window.
    pub(crate) nanoseconds: u64,
    /// The number of times that a thread went to sleep by itself, and so was woken.
    pub(crate) wake_ups: u64,
    pub(crate) threads: usize,
}

/// # Panics
/// When the process is gone: an idle container's should not be.
pub(crate) fn memory(pid: u32) -> Memory {
    let text = read(format!("/proc/{pid}/smaps_rollup"));
    let megabytes = |name| number::<f64>(&text, name) * 1024.0 / 1e6;
    Memory { pss: megabytes("Pss:"), dirty: megabytes("Private_Dirty:") }
}

/// # Panics
/// As [`memory`].
pub(crate) fn deeds(pid: u32) -> Deeds {
    let mut deeds = Deeds::default();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap_or_else(|error| panic!("process {pid}: {error}"));
    for task in tasks {
        let task = task.expect("cannot list threads").path();
        // The first of three figures is the time on a CPU.
        let schedule = read(task.join("schedstat"));
        let ran = schedule.split(' ').next().expect("a figure");
        deeds.nanoseconds += ran.parse::<u64>().expect("a number");
        deeds.wake_ups += number::<u64>(&read(task.join("status")), "voluntary_ctxt_switches:");
        deeds.threads += 1;
    }
    deeds
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.as_ref().display()))
}

/// The number after a name at the beginning of a line.
fn number<T: FromStr>(text: &str, name: &str) -> T {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text:?}"))
}
