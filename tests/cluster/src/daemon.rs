//! A process of the cluster that runs until it is stopped, and its log.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use catamaran_harness::{die_with_parent, spawn, wait_until};
use rustix::process::{Pid, Signal, kill_process};

/// How many lines of a log a failure shows.
const LOG_LINES: usize = 40;
/// How long a process has to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(20);

/// A process with its command, so that it can be started again.
pub(crate) struct Daemon {
    name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    /// An empty working directory: the kubelet looks for logs relative to it.
    folder: PathBuf,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Daemon {
    /// Starts it. `dir` is the node's folder.
    pub(crate) fn start(name: &'static str, program: &Path, dir: &Path, args: Vec<String>) -> Self {
        let folder = dir.join("run").join(name);
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        let log = dir.join(format!("{name}.log"));
        let daemon = Self { name, program: program.to_owned(), args, folder, log, child: Mutex::default() };
        daemon.launch();
        daemon
    }

    /// Starts it again, after [`Daemon::stop`] or [`Daemon::kill`].
    pub(crate) fn launch(&self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("cannot open a log");
        let mut command = die_with_parent(&self.program);
        command.args(&self.args).current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("cannot duplicate a descriptor")).stderr(log);
        let child = spawn(command).unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        *self.child.lock().unwrap() = Some(child);
    }

    /// Ends it with SIGTERM.
    pub(crate) fn stop(&self) {
        let Some(mut child) = self.child.lock().unwrap().take() else { return };
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a pid");
        kill_process(pid, Signal::TERM).expect("cannot signal a child");
        wait_until(GRACE, self.name, || child.try_wait().expect("cannot wait for a child"));
    }

    /// Ends it with SIGKILL, as a crash would.
    pub(crate) fn kill(&self) {
        let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let _ = child.kill();
        let _ = child.wait();
    }

    /// # Panics
    /// When it has ended by itself, with its log.
    pub(crate) fn expect_alive(&self) {
        let ended = self.child.lock().unwrap().as_mut().and_then(|child| child.try_wait().expect("cannot wait"));
        if let Some(status) = ended {
            panic!("{} ended with {status}; its log:\n{}", self.name, self.log_tail());
        }
    }

    pub(crate) fn log_tail(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- log of {} ----\n{}\n----", self.name, self.log_tail());
        }
        self.kill();
    }
}
