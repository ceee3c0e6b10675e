//! The server's answers, written by the working thread.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Serialize, Serializer};

use super::mode::Mode;

/// The state of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// An installation or an uninstallation is under way.
    Working,
    /// Installed and proven.
    Ready,
    /// A step failed.
    Failed,
    /// Nothing was changed, and the message says why.
    Refused,
    Uninstalled,
}

/// The body of `/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Told {
    #[serde(serialize_with = "word")]
    pub(crate) mode: Option<Mode>,
    pub(crate) state: State,
    /// The finding and its remedy.
    pub(crate) message: String,
    pub(crate) handler: String,
    pub(crate) version: String,
    pub(crate) node_ready: bool,
}

fn word<S: Serializer>(mode: &Option<Mode>, serializer: S) -> Result<S::Ok, S::Error> {
    mode.map(Mode::word).serialize(serializer)
}

/// The number of passes, by the metric's name and the result.
pub(crate) type Passes = BTreeMap<(&'static str, &'static str), u64>;

pub(crate) struct Board {
    told: Mutex<(Told, Passes)>,
}

impl Board {
    pub(crate) fn new(handler: &str, version: &str) -> Self {
        let told = Told {
            mode: None,
            state: State::Working,
            message: "the node was not looked at yet".to_owned(),
            handler: handler.to_owned(),
            version: version.to_owned(),
            node_ready: false,
        };
        Self { told: Mutex::new((told, Passes::new())) }
    }

    fn lock(&self) -> MutexGuard<'_, (Told, Passes)> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn told(&self) -> Told {
        self.lock().0.clone()
    }

    pub(crate) fn passes(&self) -> Passes {
        self.lock().1.clone()
    }

    pub(crate) fn count(&self, metric: &'static str, result: &'static str) {
        *self.lock().1.entry((metric, result)).or_default() += 1;
    }

    /// Publishes the state of the node.
    pub(crate) fn tell(&self, mode: Option<Mode>, state: State, message: &str) {
        let told = &mut self.lock().0;
        told.mode = mode;
        told.state = state;
        message.clone_into(&mut told.message);
        told.node_ready = mode == Some(Mode::Install) && state == State::Ready;
    }
}
