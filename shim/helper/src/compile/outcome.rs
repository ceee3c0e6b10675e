//! The results of a compile.

use std::fs::File;

use catamaran_worker::compiler::World;

use super::locks::Lock;

/// Machine code that was made here.
pub(super) struct Fresh {
    pub(super) artifact: File,
    /// If it is in memory alone: its part of the memory for such code, until the container has a copy of its own.
    pub(super) uncached: Option<Lock>,
}

/// The result of a compile that did not fail.
pub(super) enum Outcome {
    Made(Fresh),
    /// The module is another engine's, for this reason.
    Declined(String),
    /// The module is not a plain command but of that world, for this reason.
    OtherWorld(World, String),
}
