//! A stand-in for a node's service manager on machines without systemd: it answers the calls of org.freedesktop.systemd1(5) that an
//! installer makes, and starts and stops a node's containerd as the unit `containerd.service`.
//!
//! ```text
//! ServiceManager::start(&node)
//!    |- bus_address()      a bus (dbus-daemon) of its own, as DBUS_SYSTEM_BUS_ADDRESS: unix:path=.../bus
//!    |- private_socket()   the same without a bus, as /run/systemd/private
//!    |- unit(name)         ActiveState, SubState, MainPID, the number of its starts
//!    |- jobs()             every requested job, and its result
//!    `- journal(name)      the output of a transient unit's processes
//! ```
//!
//! | object | its answers |
//! |---|---|
//! | `/org/freedesktop/systemd1`, `...Manager` | `GetUnit`, `LoadUnit`, `GetUnitByPID`, `ListUnits`, `ListUnitsByNames`, `StartUnit`, `StopUnit`, `RestartUnit`, `TryRestartUnit`, `KillUnit`, `ResetFailedUnit`, `StartTransientUnit`, `Subscribe`, `Unsubscribe`, `Reload`; `Version`; the signals `JobNew`, `JobRemoved`, `UnitNew`, `UnitRemoved` |
//! | a unit, `...Unit` | `Id`, `Description`, `LoadState`, `ActiveState`, `SubState`, `FragmentPath`, `Transient`, `Job`; `Start`, `Stop`, `Restart`, `ResetFailed`; the signal `PropertiesChanged` |
//! | a service, `...Service` | `Type`, `MainPID`, `ExecMainPID`, `ExecMainStatus`, `Result`, `NRestarts` |
//! | a timer, `...Timer` | `Unit`, `RemainAfterElapse`, `Result` |
//! | a job, `...Job` | `Id`, `Unit`, `JobType`, `State` |
//!
//! As with systemd:
//! - A method returns the job at once; the job's end is the signal `JobRemoved`, with `done`, `failed`, `timeout` or `canceled`.
//! - `containerd.service` is of the type `notify`: a job to start it is done when containerd answers. If containerd ends at its
//!   start, the job has failed, the unit is `activating`, `auto-restart`, and containerd is restarted every five seconds.
//!   The same holds when containerd is killed.
//! - A second job on a unit cancels the first in the mode `replace`, and is refused in the mode `fail`.
//! - Transient services run as root in `/` with a clean environment, apart from their caller, and go on when
//!   the caller ends. A service that succeeded is gone; one that failed stays until `ResetFailedUnit`, and its name is taken
//!   (`UnitExists`). A transient timer starts its service after `OnActiveSec`; stopping the timer disarms it.
//! - An unknown property of a transient unit is refused, and so is a relative path in `ExecStart`.
//! - On the private socket there is no `Hello`, and the sender of each message is the well-known name: clients that accept only
//!   unique names fail here as they do with systemd.
//!
//! Unlike systemd: signals come without `Subscribe` too, timers know only `OnActiveSec`, `After` and its like order nothing, resource
//! limits and slices do nothing, and there are no unit files, so `Reload` does nothing.
//!
//! Needs dbus-daemon. While it lives, it alone starts the node's containerd: a containerd that a test kills comes back. Dropping it ends
//! the bus and the transient units' processes, and leaves containerd running.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says that it failed"
)]

mod bus;
mod containerd;
mod core;
mod error;
mod job;
mod manager;
mod objects;
mod relay;
mod transient;
mod unit;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use catamaran_harness::Node;

use crate::bus::Bus;
use crate::core::Core;
pub use crate::job::JobRecord;
pub use crate::unit::UnitState;

/// The name of the unit of the node's containerd.
pub const CONTAINERD: &str = "containerd.service";

/// A running service manager.
pub struct ServiceManager {
    core: Arc<Core>,
    bus: Bus,
    folder: PathBuf,
}

impl ServiceManager {
    /// Starts one whose only unit is the node's containerd, which already runs.
    ///
    /// # Panics
    /// When dbus-daemon cannot be started.
    pub fn start(node: &Node) -> Self {
        let folder = catamaran_harness::scratch();
        let core = Core::new(&folder);
        containerd::add(&core, node.service());
        let bus = Bus::start(&folder, &core);
        Self { core, bus, folder }
    }

    /// The address of its bus, for `DBUS_SYSTEM_BUS_ADDRESS`.
    pub fn bus_address(&self) -> String {
        self.bus.address()
    }

    /// The socket of its private protocol, in place of `/run/systemd/private`.
    pub fn private_socket(&self) -> PathBuf {
        self.bus.private_socket()
    }

    /// Returns a unit's state; None if it is not loaded.
    pub fn unit(&self, name: &str) -> Option<UnitState> {
        self.core.unit(name)
    }

    /// Returns all jobs so far, in their order, including those of containerd's restarts by itself.
    pub fn jobs(&self) -> Vec<JobRecord> {
        self.core.jobs()
    }

    /// Returns the standard output and standard error of a transient unit's processes.
    pub fn journal(&self, name: &str) -> String {
        fs::read(self.core.journal_path(name))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for ServiceManager {
    fn drop(&mut self) {
        self.bus.stop();
        self.core.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
