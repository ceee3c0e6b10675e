//! What an order came to, for one target or in all.

use std::fs::File;

use catamaran_cache::order::Origin;
use catamaran_cache::target::Target;
use catamaran_worker::compiler::{Tier, World};

use super::given::Given;
use super::locks::Lock;

/// The artifact that answers an order.
pub(super) struct Made {
    pub(super) artifact: File,
    pub(super) target: Target,
    pub(super) digest: String,
    pub(super) tier: Tier,
    pub(super) origin: Origin,
    pub(super) uncached: Option<Lock>,
    /// The module, where better code is to be made of it.
    pub(super) later: Option<Given>,
}

/// What an order came to for one target.
pub(super) enum Served {
    Made(Box<Made>),
    /// The module is another engine's: why, and the module.
    Declined(String, Given),
    /// It is no plain command but of that world: the same.
    OtherWorld(World, String, Given),
}

/// What an order is about.
pub(super) enum Sought {
    Module(Given),
    /// The image has no layer to run: why.
    Nothing(String),
}

/// When it is looked for what there is of a module.
pub(super) enum Look {
    /// Before anything is waited for.
    First,
    /// Under the module's lock, or without a cache.
    Locked,
    /// Without the lock, which cannot be had: why.
    Unlocked(String),
    /// When the turn to compile has come.
    Turned,
}

impl Served {
    pub(super) fn made(made: Made) -> Self {
        Served::Made(Box::new(made))
    }

    /// What another order has made meanwhile.
    pub(super) fn shared(target: Target, artifact: File, tier: Tier, given: &Given) -> Self {
        let digest = given.digest().to_owned();
        Self::made(Made { artifact, target, digest, tier, origin: Origin::Shared, uncached: None, later: None })
    }

    /// An artifact from before.
    pub(super) fn found(target: Target, artifact: File, tier: Tier, given: Given) -> Self {
        let digest = given.digest().to_owned();
        let later = (tier == Tier::Fast).then_some(given);
        Self::made(Made { artifact, target, digest, tier, origin: Origin::Hit, uncached: None, later })
    }
}
