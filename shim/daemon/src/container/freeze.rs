//! A container whose processes are stopped where they are, and go on later.
//!
//! ```text
//!              Off --Pause--> Coming --all have stopped--> On --Resume--> Off
//!               ^               |                          |
//!               '--a SIGKILL----'                          '--a SIGKILL: let go, to die; paused until then
//! ```

use log::warn;

use super::{Container, Phase};
use crate::error::{Error, Result};

/// Where a container that runs is with its freezer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freeze {
    #[default]
    Off,
    /// Being stopped.
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
    /// Stops its processes, and waits until they have. Not to be dropped before its end: who would let them go?
    pub(crate) async fn pause(&self) -> Result<()> {
        if self.phase() != Phase::Running {
            return Err(self.refuse("paused"));
        }
        // On cgroup v1 it would be stopped before it has died.
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
            // Killed meanwhile, or it has ended by itself: what is stopped then is nobody, or is to die.
            Ok(_) => Err(self.ending("paused")),
            Err(e) => {
                inner.freeze = Freeze::Off;
                Err(if ends { self.ending("paused") } else { e.into() })
            }
        }
    }

    /// Lets its processes go on.
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

    /// After a SIGKILL: on cgroup v1 a process that is stopped dies when it goes on. What is just being stopped is not, any more.
    pub(super) fn let_die(&self) {
        let mut inner = self.inner();
        if inner.freeze == Freeze::Off {
            return;
        }
        if inner.freeze == Freeze::Coming {
            inner.freeze = Freeze::Off;
        }
        drop(inner);
        self.thaw_what_is_left();
    }

    /// When the worker has ended: who else is in the cgroup may be waited for, and is not to be stopped.
    pub(super) fn thaw_after_end(&self) {
        if std::mem::take(&mut self.inner().freeze) != Freeze::Off {
            self.thaw_what_is_left();
        }
    }

    fn thaw_what_is_left(&self) {
        match self.cgroup.freezer().and_then(|freezer| freezer.thaw()) {
            Err(e) if !self.ends() => warn!("container {}: letting go what was paused: {e}", self.id()),
            _ => {}
        }
    }

    /// Whether its process has ended, told or not yet.
    pub(super) fn ends(&self) -> bool {
        self.process.ends()
    }

    pub(super) fn ending(&self, wanted: &'static str) -> Error {
        Error::Transition { id: self.id().to_owned(), state: "ending", wanted }
    }
}
