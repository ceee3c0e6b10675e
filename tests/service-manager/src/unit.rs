//! A unit: its kind and its state.
//!
//! ```text
//! inactive,dead --start--> activating,start --> active,running (or exited, waiting, elapsed)
//!     ^                         |                    |
//!     |                         v                    v stop
//!     |                  failed,failed         deactivating,stop-sigterm --> inactive,dead
//!     `------ containerd: activating,auto-restart, then activating,start again
//! ```

use std::sync::Arc;

use catamaran_harness::Service;

use crate::transient;

/// A state by the properties `ActiveState` and `SubState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(pub(crate) &'static str, pub(crate) &'static str);

impl State {
    pub(crate) const DEAD: Self = Self("inactive", "dead");
    pub(crate) const STARTING: Self = Self("activating", "start");
    pub(crate) const RESTARTING: Self = Self("activating", "auto-restart");
    pub(crate) const RUNNING: Self = Self("active", "running");
    pub(crate) const EXITED: Self = Self("active", "exited");
    pub(crate) const WAITING: Self = Self("active", "waiting");
    pub(crate) const ELAPSED: Self = Self("active", "elapsed");
    pub(crate) const STOPPING: Self = Self("deactivating", "stop-sigterm");
    pub(crate) const FAILED: Self = Self("failed", "failed");

    pub(crate) fn is_active(self) -> bool {
        self.0 == "active"
    }
}

/// A unit's kind, with what it starts and stops.
#[derive(Clone)]
pub(crate) enum Kind {
    /// Named in a call, but unknown.
    NotFound,
    Containerd(Arc<Service>),
    Service(Arc<transient::Service>),
    Timer(Arc<transient::Timer>),
}

/// A loaded unit.
#[derive(Clone)]
pub(crate) struct Unit {
    pub(crate) kind: Kind,
    pub(crate) description: String,
    pub(crate) state: State,
    /// The property `Result`: `success`, or the kind of failure.
    pub(crate) result: &'static str,
    /// The exit code of its last process, or the signal's number.
    pub(crate) status: i32,
    pub(crate) starts: u32,
    pub(crate) restarts: u32,
    /// Raised with each job, so that a thread that waits for the unit notices another request.
    pub(crate) generation: u64,
}

impl Unit {
    pub(crate) fn new(kind: Kind, description: &str) -> Self {
        let (description, state) = (description.to_owned(), State::DEAD);
        Self { kind, description, state, result: "success", status: 0, starts: 0, restarts: 0, generation: 0 }
    }

    pub(crate) fn load_state(&self) -> &'static str {
        if matches!(self.kind, Kind::NotFound) { "not-found" } else { "loaded" }
    }

    pub(crate) fn is_transient(&self) -> bool {
        matches!(self.kind, Kind::Service(_) | Kind::Timer(_))
    }

    pub(crate) fn main_pid(&self) -> u32 {
        let pid = match &self.kind {
            Kind::Containerd(service) => service.pid(),
            Kind::Service(service) => service.pid(),
            Kind::Timer(_) | Kind::NotFound => None,
        };
        pid.unwrap_or(0)
    }
}

/// A unit's state, for tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitState {
    /// `ActiveState`.
    pub active: String,
    /// `SubState`.
    pub sub: String,
    /// `Result`.
    pub result: String,
    /// `MainPID`; 0 if there is none.
    pub main_pid: u32,
    /// The number of its starts since the service manager's own.
    pub starts: u32,
}

/// A unit's object path: every byte except letters and digits, and a digit in front, becomes `_` and two hexadecimal digits.
pub(crate) fn path(name: &str) -> String {
    let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
    for (index, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()) {
            path.push(byte.into());
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn a_units_path_is_escaped_as_by_systemd() {
        let expected = "/org/freedesktop/systemd1/unit/containerd_2eservice";
        assert_eq!(path("containerd.service"), expected);
        assert_eq!(path("1a-b.timer"), "/org/freedesktop/systemd1/unit/_31a_2db_2etimer");
    }
}
