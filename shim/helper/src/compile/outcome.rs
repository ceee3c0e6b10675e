//! The results of a compile.

use std::fs::File;

use catamaran_cache::store::{Kind, New};
use catamaran_worker::compiler::World;

use super::locks::Lock;

/// New machine code.
pub(super) struct Fresh {
    pub(super) artifact: File,
    pub(super) kind: Kind,
    /// The module's functions, for the tenant's next modules.
    pub(super) functions: Option<New>,
    /// The share of the memory for uncached code, held until the container has its own copy. None for cached code, and if shares cannot be
    /// counted.
    pub(super) uncached: Option<Lock>,
}

/// The result of a compile that did not fail.
pub(super) enum Outcome {
    Made(Fresh),
    /// The module needs the other engine, for this reason.
    Declined(String),
    /// The module is no plain command but of this world, for this reason.
    OtherWorld(World, String),
}
