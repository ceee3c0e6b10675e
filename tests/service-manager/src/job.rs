//! A job: a request about a unit, until it is done.

use std::sync::atomic::{AtomicBool, Ordering};

/// A job's work.
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

/// An unfinished job.
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

/// A job's record, for tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRecord {
    /// Its number.
    pub id: u32,
    /// The unit's name.
    pub unit: String,
    /// `start`, `stop` or `restart`.
    pub kind: String,
    /// Its result: `done`, `failed`, `timeout`, `canceled`; None while it goes on.
    pub result: Option<String>,
}
