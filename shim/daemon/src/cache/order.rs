//! What the shim and the compile driver say to each other: one order, one answer, on a socket, with descriptors beside them.

use catamaran_worker::compiler::Tier;
use serde::{Deserialize, Serialize};

/// An artifact that the shim wants. Carries the module's file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) engine: String,
    /// The module's, for messages.
    pub(super) name: String,
    pub(super) wish: Wish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wish {
    /// Any artifact, as soon as can be.
    Any,
    /// A new one: the one that there is does not fit its engine.
    Again,
    /// The best one, for later starts. Nobody waits for the answer.
    Best,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Carries the artifact's file.
    Made {
        tier: Tier,
        /// How long this compile took; none where another one's was found.
        milliseconds: Option<u64>,
        /// What the node's administrator should know.
        warnings: Vec<String>,
    },
    /// The module is at fault: the reason, for the user.
    Refused(String),
    /// The compiler is, or the node.
    Failed(String),
}
