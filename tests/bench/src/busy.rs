//! Load: twice as many busy processes as there are processors, in one cgroup.
//!
//! It is an ordinary cgroup beside that of the node (containerd, shims, containers) and that of compiles, with the weight that every new
//! cgroup has: 1024 shares (v1), 100 (v2). So it takes as much of the processors as a pod that asked for nothing, however many processes
//! it has.

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use catamaran_harness::{die_with_parent, spawn};

use crate::account::Account;

/// The argument that makes this program one of the busy processes.
pub(crate) const WORD: &str = "busy";
/// The time until all of them run.
const START: Duration = Duration::from_millis(500);

/// The load, until it is dropped.
pub(crate) struct Busy {
    cgroup: PathBuf,
    processes: Vec<Child>,
}

impl Busy {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no cgroup for it.
    pub(crate) fn start(account: &Account<'_>) -> Self {
        let cgroup = account.beside("load");
        fs::create_dir_all(&cgroup).unwrap_or_else(|error| panic!("cannot make {}: {error}", cgroup.display()));
        let mut load = Self { cgroup, processes: Vec::new() };
        let processors = std::thread::available_parallelism().expect("the number of processors").get();
        let program = std::env::current_exe().expect("this program has a path");
        for _ in 0..2 * processors {
            let mut command = die_with_parent(&program);
            command.arg(WORD);
            let child = spawn(command).expect("cannot start a busy process");
            let pid = child.id();
            load.processes.push(child);
            fs::write(load.cgroup.join("cgroup.procs"), pid.to_string()).expect("cannot move a busy process");
        }
        sleep(START);
        load
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Both fail only for a process that was already reaped.
            let _ = process.kill();
            let _ = process.wait();
        }
        if let Err(error) = fs::remove_dir(&self.cgroup) {
            eprintln!("cannot remove {}: {error}", self.cgroup.display());
        }
    }
}

/// Runs until it is killed.
pub(crate) fn run() -> ! {
    loop {
        std::hint::spin_loop();
    }
}
