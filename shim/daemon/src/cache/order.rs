//! What the shim and the compile driver say to each other: one order, its answer, and one more when
//! better code was made, on a socket, with descriptors beside them.

use catamaran_worker::compiler::Tier;
use serde::{Deserialize, Serialize};

use super::Origin;
use super::module::Largest;
use crate::engine::Engine;
use crate::error::Declined;
use crate::image::{Chosen, Image};

/// An artifact that the shim wants.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// Those that may run it, in the order in which they are to be tried: the next one if a module is not for the one before.
    pub(super) engines: Vec<Engine>,
    /// Whose the container is.
    pub(super) owner: String,
    /// The module's, for messages.
    pub(super) name: String,
    /// The file's sha256 as the shim saw it; empty for an image.
    pub(super) digest: String,
    pub(super) wish: Wish,
    pub(super) largest: Largest,
    /// Whose layer the module is. Without, the order carries the module's file.
    pub(super) image: Option<Image>,
    /// The image's layer, once the driver has found it.
    pub(super) layer: Option<Chosen>,
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
        /// What the module is called.
        module: String,
        /// The engine that runs it.
        engine: Engine,
        /// sha256 of the bytes that this is machine code of.
        digest: String,
        /// Which layer of the order's image they are.
        layer: Option<Chosen>,
        tier: Tier,
        origin: Origin,
        /// Whether an [`Answer::Improved`] comes when better code was made.
        later: bool,
        /// Whether the artifact is in memory alone, which the driver counts until the socket is closed.
        uncached: bool,
        /// What the node's administrator should know.
        warnings: Vec<String>,
    },
    /// To [`Wish::Best`], and behind [`Answer::Made`].
    Improved { warnings: Vec<String> },
    /// The module is at fault: what it is called, and the reason, for the user.
    Refused { module: String, reason: String },
    /// No engine of the order runs it, another one might: why, by engine.
    Declined { module: String, declined: Declined },
    /// The image has no layer to run: why.
    NoLayer(String),
    /// The compiler is, or the node.
    Failed(String),
}
