//! All that an installer does to a node besides writing files. Tests use a node of files alone (`fake`), and the command the real one
//! (`real`).

use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::handler::Options;
use crate::process::Process;
use crate::state::Known;

/// The order to roll back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rollback<'a> {
    /// The id of `State::pending`.
    pub(crate) id: &'a str,
    /// The program that rolls back, on the host because the installer's container may be gone by then.
    pub(crate) program: &'a Path,
    pub(crate) after: Duration,
}

/// A pod or container of a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pod {
    /// `namespace/name`.
    pub(crate) name: String,
}

/// A node.
pub(crate) trait Node {
    /// The host's processes.
    fn processes(&self) -> Vec<Process>;

    /// When a process was started, in the kernel's clock ticks.
    fn started(&self, pid: u32) -> Option<u64>;

    /// The service manager's unit that a process belongs to.
    fn unit_of(&self, pid: u32) -> Option<String>;

    /// The output of `containerd --version`.
    fn version(&self, program: &Path) -> Result<String>;

    /// containerd's `config dump` of a root file. An error says why it would not start with this file.
    fn dump(&self, program: &Path, config: &Path) -> Result<String>;

    /// Returns an error that says why, if this node's containerd cannot be restarted.
    fn can_restart(&self, unit: Option<&str>) -> Result<()>;

    /// Restarts containerd, and waits until the service manager says that it runs.
    fn restart(&self, unit: Option<&str>) -> Result<()>;

    /// Schedules a rollback in another process, which takes place even if this process ends.
    fn arm(&self, rollback: &Rollback<'_>) -> Result<()>;

    /// Cancels that rollback. One that was never armed or has elapsed is no error.
    fn disarm(&self, id: &str) -> Result<()>;

    /// The handlers that the CRI lists. Waits for the answer as long as a start may take.
    fn handlers(&self, socket: &Path) -> Result<Vec<String>>;

    /// The pods that run on a handler.
    fn pods(&self, socket: &Path, handler: &str) -> Result<Vec<Pod>>;

    /// Runs a program on an engine through containerd and that shim, with the handler's options, and checks its exit code.
    fn canary(&self, containerd: &Known, shim: &Path, engine: &str, options: &Options) -> Result<()>;

    /// Marks a step; tests end the process at one.
    fn step(&self, name: &'static str);
}
