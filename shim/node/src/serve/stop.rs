//! Ends the work at a signal: at the next step, since every step can bear a kill, or at the end of a change that is under way.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::handler::Options;
use crate::node::{Node, Pod, Rollback};
use crate::process::Process;
use crate::state::Known;

/// Asked for once, by the thread that receives signals.
#[derive(Default)]
pub(crate) struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn ask(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits for `time`, or until the end is asked for. Returns whether it was.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(asked, time, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn is_asked(&self) -> bool {
        self.wait(Duration::ZERO)
    }
}

/// The panic payload of the last step: unwinding releases all locks and cleans up nothing else, like a kill.
pub(crate) struct Stopped;

/// A node whose steps end the work if the end was asked for.
pub(crate) struct Stoppable<'a> {
    node: &'a dyn Node,
    stop: &'a Stop,
    /// True from just before containerd's files are written until they are proven or taken back.
    in_change: Cell<bool>,
}

impl<'a> Stoppable<'a> {
    pub(crate) fn new(node: &'a dyn Node, stop: &'a Stop) -> Self {
        Self { node, stop, in_change: Cell::new(false) }
    }
}

/// The steps of a change (`change`). The work does not end between the first and the last of them.
const CHANGE: [&str; 7] = ["written-down", "armed", "file", "swapped", "restarted", "proven", "file-back"];

impl Node for Stoppable<'_> {
    fn processes(&self) -> Vec<Process> {
        self.node.processes()
    }

    fn started(&self, pid: u32) -> Option<u64> {
        self.node.started(pid)
    }

    fn unit_of(&self, pid: u32) -> Option<String> {
        self.node.unit_of(pid)
    }

    fn version(&self, program: &Path) -> Result<String> {
        self.node.version(program)
    }

    fn dump(&self, program: &Path, config: &Path) -> Result<String> {
        self.node.dump(program, config)
    }

    fn can_restart(&self, unit: Option<&str>) -> Result<()> {
        self.node.can_restart(unit)
    }

    fn restart(&self, unit: Option<&str>) -> Result<()> {
        self.node.restart(unit)
    }

    fn arm(&self, rollback: &Rollback<'_>) -> Result<()> {
        self.node.arm(rollback)
    }

    fn disarm(&self, id: &str) -> Result<()> {
        self.node.disarm(id)
    }

    fn handlers(&self, socket: &Path) -> Result<Vec<String>> {
        self.node.handlers(socket)
    }

    fn pods(&self, socket: &Path, handler: &str) -> Result<Vec<Pod>> {
        self.node.pods(socket, handler)
    }

    fn canary(&self, containerd: &Known, shim: &Path, engine: &str, options: &Options) -> Result<()> {
        self.node.canary(containerd, shim, engine, options)
    }

    fn step(&self, name: &'static str) {
        self.node.step(name);
        self.in_change.set(CHANGE.contains(&name) || (self.in_change.get() && name != "done"));
        if !self.in_change.get() && self.stop.is_asked() {
            resume_unwind(Box::new(Stopped));
        }
    }
}
