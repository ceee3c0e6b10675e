//! What an installer does to a node beside writing files. Tests have a node of files alone (`fake`), all others the real one
//! (`real`).

use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::handler::Options;
use crate::process::Process;
use crate::state::Known;

/// What a rollback is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rollback<'a> {
    /// `State::pending`'s.
    pub(crate) id: &'a str,
    /// The program that does it: one on the host, since the installer's container may be gone by then.
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

    /// When a process was started, in the kernel's count.
    fn started(&self, pid: u32) -> Option<u64>;

    /// The service manager's unit of a process.
    fn unit_of(&self, pid: u32) -> Option<String>;

    /// The words of `containerd --version`.
    fn version(&self, program: &Path) -> Result<String>;

    /// What containerd makes of a root file: the answer of `config dump`. An error says why it would not start with it.
    fn dump(&self, program: &Path, config: &Path) -> Result<String>;

    /// Whether this node's containerd can be restarted at all; why not, in the error.
    fn can_restart(&self, unit: Option<&str>) -> Result<()>;

    /// Restarts containerd, and waits until the service manager says that it runs.
    fn restart(&self, unit: Option<&str>) -> Result<()>;

    /// Has another process than this one roll back after a time, whatever becomes of this one.
    fn arm(&self, rollback: &Rollback<'_>) -> Result<()>;

    /// Takes that back; one that was never armed, or has passed, is none.
    fn disarm(&self, id: &str) -> Result<()>;

    /// The handlers that the CRI lists; waits for its answer as long as a start may take.
    fn handlers(&self, socket: &Path) -> Result<Vec<String>>;

    /// The pods that run on a handler.
    fn pods(&self, socket: &Path, handler: &str) -> Result<Vec<Pod>>;

    /// Runs a program on an engine by containerd and that shim, with the handler's options, and looks at its exit code.
    fn canary(&self, containerd: &Known, shim: &Path, engine: &str, options: &Options) -> Result<()>;

    /// Passes a step: tests end the process at one.
    fn step(&self, name: &'static str);
}
