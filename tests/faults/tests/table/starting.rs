//! A shim that is just being started: containerd runs a program, which forks the server. Both live for milliseconds before
//! anybody could follow them, so that they are looked for, and killed after a time.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cells::Who;
use crate::trial::At;

/// How long a new server is watched: until containerd has connected, and Create has begun.
const NEW: Duration = Duration::from_millis(12);

/// What became of it.
pub(crate) struct Seen {
    pub(crate) killed: bool,
    /// From when it was seen.
    pub(crate) lived: Duration,
}

/// Somebody who looks for it.
pub(crate) struct Starting {
    thread: JoinHandle<Seen>,
    stop: Arc<AtomicBool>,
}

impl Starting {
    /// Looks for the shim of the container `id` from now on, which this containerd starts.
    pub(crate) fn watch(id: &str, containerd: u32, who: Who, at: At) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let words = format!("\0-id\0{id}\0");
        let others = pids();
        let thread = std::thread::spawn(move || look(&told, &words, containerd, others, who, at));
        Self { thread, stop }
    }

    pub(crate) fn end(self) -> Seen {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

fn look(stop: &AtomicBool, words: &str, containerd: u32, mut known: BTreeSet<i32>, who: Who, at: At) -> Seen {
    while !stop.load(Ordering::SeqCst) {
        for pid in pids().difference(&known.clone()) {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).into_owned();
            if !command.contains(words) || !command.ends_with("\0start\0") {
                // It may still be on its way to its exec.
                continue;
            }
            known.insert(*pid);
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
            let starts = parent == Some(containerd.to_string().as_str());
            if (who == Who::Starter) == starts {
                return end(*pid, who, at);
            }
        }
    }
    Seen { killed: false, lived: Duration::ZERO }
}

fn end(pid: i32, who: Who, at: At) -> Seen {
    let begin = Instant::now();
    let is_there = || fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| !words.is_empty());
    match at {
        At::Time(delay) => {
            while begin.elapsed() < delay {
                std::hint::spin_loop();
            }
            let killed = is_there() && kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok();
            Seen { killed, lived: begin.elapsed() }
        }
        _ => {
            while is_there() && (who == Who::Starter || begin.elapsed() < NEW) {
                std::thread::yield_now();
            }
            Seen { killed: false, lived: begin.elapsed() }
        }
    }
}

fn pids() -> BTreeSet<i32> {
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).collect()
}
