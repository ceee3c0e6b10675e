//! What a compile came to.

use std::fs::File;

use catamaran_worker::compiler::World;

use super::locks::Lock;

/// Machine code that was made here.
pub(super) struct Fresh {
    pub(super) artifact: File,
    /// Where it is in memory alone: its part of what may be, until it is the container's own.
    pub(super) uncached: Option<Lock>,
}

/// What a compile came to that nothing went wrong with.
pub(super) enum Outcome {
    Made(Fresh),
    /// The module is another engine's: why.
    Declined(String),
    /// It is no plain command but of that world: why.
    OtherWorld(World, String),
}
