//! A job: what was asked of a unit, until it is done.

use std::sync::atomic::{AtomicBool, Ordering};

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Start,
    Stop,
    Restart,
}

impl Work {
    /// The property `JobType`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

/// A job that is not done yet.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: u32,
    pub(crate) unit: String,
    pub(crate) work: Work,
    pub(crate) cancelled: AtomicBool,
}

impl Job {
    pub(crate) fn path(&self) -> String {
        path(self.id)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }
}

pub(crate) fn path(id: u32) -> String {
    format!("/org/freedesktop/systemd1/job/{id}")
}

/// What a test may know of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRecord {
    /// Its number.
    pub id: u32,
    /// The unit's name.
    pub unit: String,
    /// `start`, `stop` or `restart`.
    pub kind: String,
    /// How it ended: `done`, `failed`, `timeout`, `canceled`; none while it goes on.
    pub result: Option<String>,
}
