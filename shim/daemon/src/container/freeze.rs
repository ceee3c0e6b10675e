//! Pauses and resumes a container.
//!
//! ```text
//!              Off --Pause--> Coming --all are frozen--> On --Resume--> Off
//!               ^               |                       |
//!               '--a SIGKILL----'                       '--a SIGKILL: thawed, to die; Paused until the exit
//! ```

use log::warn;

use super::{Container, Phase};
use crate::error::{Error, Result};

/// The state of a running container's freezer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freeze {
    #[default]
    Off,
    /// The processes are being frozen.
    Coming,
    On,
}

impl Freeze {
    /// The phase of a container that has been started.
    pub(super) fn phase(self) -> Phase {
        match self {
            Freeze::Off => Phase::Running,
            Freeze::Coming => Phase::Pausing,
            Freeze::On => Phase::Paused,
        }
    }
}

impl Container {
    /// Freezes the processes, and waits until all are frozen. Do not drop this future: they would stay frozen.
    pub(crate) async fn pause(&self) -> Result<()> {
        if self.phase() != Phase::Running {
            return Err(self.refuse("paused"));
        }
        // On cgroup v1 a pause would stop a process that is about to die.
        if self.process.kill_was_asked_for() {
            return Err(self.ending("paused"));
        }
        let freezer = self.cgroup.freezer()?;
        self.inner().freeze = Freeze::Coming;
        let frozen = freezer.freeze(|| self.phase() == Phase::Pausing).await;
        let ends = self.ends();
        let mut inner = self.inner();
        match frozen {
            Ok(true) if !ends => {
                inner.freeze = Freeze::On;
                Ok(())
            }
            // The container was killed meanwhile, or has ended by itself, so that nothing is left to pause.
            Ok(_) => Err(self.ending("paused")),
            Err(e) => {
                inner.freeze = Freeze::Off;
                Err(if ends { self.ending("paused") } else { e.into() })
            }
        }
    }

    /// Lets the processes go on.
    pub(crate) fn resume(&self) -> Result<()> {
        if self.phase() != Phase::Paused {
            return Err(self.refuse("resumed"));
        }
        match self.cgroup.freezer()?.thaw() {
            Err(_) if self.ends() => return Err(self.ending("resumed")),
            thawed => thawed?,
        }
        self.inner().freeze = Freeze::Off;
        Ok(())
    }

    /// Thaws the container after a SIGKILL, because on cgroup v1 a frozen process dies only once it is thawed. Also ends a pause that is
    /// under way.
    pub(super) fn let_die(&self) {
        let mut inner = self.inner();
        if inner.freeze == Freeze::Off {
            return;
        }
        if inner.freeze == Freeze::Coming {
            inner.freeze = Freeze::Off;
        }
        drop(inner);
        self.thaw_or_warn();
    }

    /// Thaws the container after its process has ended, because the shim may wait for the other processes in the cgroup.
    pub(super) fn thaw_after_end(&self) {
        if std::mem::take(&mut self.inner().freeze) != Freeze::Off {
            self.thaw_or_warn();
        }
    }

    fn thaw_or_warn(&self) {
        match self.cgroup.freezer().and_then(|freezer| freezer.thaw()) {
            Err(e) if !self.ends() => warn!("container {}: thawing its processes: {e}", self.id()),
            _ => {}
        }
    }

    /// Whether the container's process has ended, even if its exit is not yet known to others.
    pub(super) fn ends(&self) -> bool {
        self.process.ends()
    }

    pub(super) fn ending(&self, wanted: &'static str) -> Error {
        Error::Transition { id: self.id().to_owned(), state: "ending", wanted }
    }
}
