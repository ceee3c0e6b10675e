//! The node's containerd as a process that the test, or a stand-in for a service manager, starts and stops.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::deadline::{self, PATIENCE};
use crate::grpc::Address;
use crate::keeper;

/// How many lines of containerd's log a failing test shows.
const LOG_LINES: usize = 150;
/// How long containerd has to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// Why containerd is not up after it was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartFailure {
    /// It ended: its exit status, and its log.
    Ended(String),
    /// It runs without answering: its log.
    Silent(String),
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(text) => write!(f, "containerd ended at its start with {text}"),
            Self::Silent(log) => write!(f, "containerd did not answer within {PATIENCE:?}; its log:\n{log}"),
        }
    }
}

/// One containerd, with its arguments and environment.
#[derive(Debug)]
pub struct Service {
    program: PathBuf,
    dir: PathBuf,
    env: Vec<(String, String)>,
    address: Address,
    /// The call that shows, by its answer, that containerd is up.
    call: &'static str,
    child: Mutex<Option<Child>>,
}

impl Service {
    /// A service that does not run yet. `dir` holds `config.toml` and gets the log; `cri` says whether it serves CRI.
    pub(crate) fn new(program: &Path, dir: &Path, env: Vec<(String, String)>, address: Address, cri: bool) -> Self {
        // The CRI's service answers later than containerd's own.
        let call = match cri {
            true => "runtime.v1.RuntimeService/Status",
            false => "containerd.services.version.v1.Version/Version",
        };
        let (program, dir) = (program.to_owned(), dir.to_owned());
        Self { program, dir, env, address, call, child: Mutex::default() }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts containerd and waits until it answers.
    ///
    /// # Errors
    /// When it ends instead, or does not answer in time.
    ///
    /// # Panics
    /// When the program cannot be started at all.
    pub fn start(&self) -> Result<(), StartFailure> {
        self.start_program(&self.program)
    }

    /// As [`Service::start`], with another containerd.
    pub(crate) fn start_program(&self, containerd: &Path) -> Result<(), StartFailure> {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("cannot open the log");
        let mut command = keeper::die_with_parent(containerd);
        command.arg("--config").arg(self.dir.join("config.toml"));
        command.envs(self.env.iter().map(|(name, value)| (name, value))).current_dir(&self.dir).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("cannot duplicate the log")).stderr(log);
        let child = keeper::spawn(command)
            .unwrap_or_else(|error| panic!("cannot start {} by setpriv: {error}", containerd.display()));
        *self.child() = Some(child);
        let mut ended = None;
        let ready = deadline::poll(PATIENCE, || {
            // A containerd that was stopped meanwhile has ended too.
            let status = self.child().as_mut().map(|child| child.try_wait().expect("cannot wait for containerd"));
            ended = status.map_or(Some("a signal".to_owned()), |status| Some(status?.to_string()));
            let answers = || self.address.call::<()>(self.call, &(), Duration::from_secs(5)).is_ok();
            (ended.is_some() || answers()).then_some(())
        });
        match (ended, ready) {
            (Some(status), _) => {
                *self.child() = None;
                Err(StartFailure::Ended(format!("{status}; its log:\n{}", self.log_tail())))
            }
            (None, None) => Err(StartFailure::Silent(self.log_tail())),
            (None, Some(())) => Ok(()),
        }
    }

    /// Stops containerd with SIGTERM, and with SIGKILL if that takes too long. Shims and containers go on.
    pub fn stop(&self) {
        let Some(mut child) = self.child().take() else { return };
        if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if deadline::poll(GRACE, || child.try_wait().ok().flatten()).is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Kills containerd as a crash would, and returns whether it ran. Shims and containers go on.
    pub fn kill(&self) -> bool {
        let Some(mut child) = self.child().take() else { return false };
        let _ = child.kill();
        let _ = child.wait();
        true
    }

    /// The pid of containerd, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let mut child = self.child();
        let running = child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
        child.as_ref().filter(|_| running).map(Child::id)
    }

    /// Where containerd's log is.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.join("containerd.log")
    }

    /// containerd's log, the shims' lines among it.
    pub(crate) fn log(&self) -> String {
        fs::read(self.log_path()).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// The end of the log.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}
