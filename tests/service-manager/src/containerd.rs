//! The node's containerd as a unit: of the type `notify`, and restarted when it ends by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use catamaran_harness::{Service, StartFailure};

use crate::CONTAINERD;
use crate::core::Core;
use crate::job::{Job, Work};
use crate::unit::{Kind, State, Unit};

/// `RestartSec` of containerd's own unit file.
const RESTART_AFTER: Duration = Duration::from_secs(5);
/// The interval of checks whether containerd still runs.
const PAUSE: Duration = Duration::from_millis(50);

/// Adds the unit of a running containerd.
pub(crate) fn add(core: &Arc<Core>, service: Arc<Service>) {
    let mut unit = Unit::new(Kind::Containerd(Arc::clone(&service)), "containerd container runtime");
    unit.state = State::RUNNING;
    unit.starts = 1;
    zbus::block_on(core.load(CONTAINERD, unit));
    let core = Arc::clone(core);
    std::thread::spawn(move || supervise(&core, &service));
}

pub(crate) fn perform(core: &Arc<Core>, job: &Job, service: &Service) -> &'static str {
    if job.work == Work::Start && service.pid().is_some() {
        core.set_state(CONTAINERD, State::RUNNING);
        return "done";
    }
    if job.work != Work::Start {
        core.set_state(CONTAINERD, State::STOPPING);
        service.stop();
        core.set_state(CONTAINERD, State::DEAD);
    }
    if job.work == Work::Stop {
        return "done";
    }
    core.change(CONTAINERD, |unit| {
        unit.state = State::STARTING;
        unit.starts += 1;
    });
    let (result, word) = match service.start() {
        Ok(()) => ("success", "done"),
        Err(StartFailure::Ended(_)) => ("exit-code", "failed"),
        Err(StartFailure::Silent(_)) => {
            service.stop();
            ("timeout", "timeout")
        }
    };
    core.change(CONTAINERD, |unit| {
        unit.result = result;
        unit.state = if result == "success" { State::RUNNING } else { State::RESTARTING };
    });
    word
}

/// Restarts containerd five seconds after it has ended by itself, for as long as the service manager lives.
fn supervise(core: &Arc<Core>, service: &Service) {
    let mut ended: Option<Instant> = None;
    while !core.is_stopped() {
        std::thread::sleep(PAUSE);
        let Some(unit) = core.get(CONTAINERD).filter(|_| core.job_of(CONTAINERD).is_none()) else {
            ended = None;
            continue;
        };
        match (unit.state, service.pid()) {
            (State::RUNNING, None) => core.change(CONTAINERD, |unit| {
                unit.state = State::RESTARTING;
                unit.result = "signal";
            }),
            // The test itself started it.
            (State::RESTARTING, Some(_)) => core.set_state(CONTAINERD, State::RUNNING),
            (State::RESTARTING, None) if ended.is_some_and(|ended| ended.elapsed() >= RESTART_AFTER) => {
                ended = None;
                core.change(CONTAINERD, |unit| unit.restarts += 1);
                // This is refused if another job was requested meanwhile.
                let _ = core.start_by_itself(CONTAINERD, "fail");
            }
            (State::RESTARTING, None) => {
                ended.get_or_insert_with(Instant::now);
            }
            _ => ended = None,
        }
    }
}
