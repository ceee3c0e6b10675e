//! The results of an order, for one target and for all.

use std::fs::File;

use catamaran_cache::order::Origin;
use catamaran_cache::store::{Kind, New};
use catamaran_cache::target::Target;
use catamaran_worker::compiler::{Tier, World};

use super::given::Given;
use super::locks::Lock;

/// The artifact that answers an order.
pub(super) struct Made {
    pub(super) artifact: File,
    pub(super) target: Target,
    pub(super) digest: String,
    pub(super) kind: Kind,
    pub(super) origin: Origin,
    pub(super) uncached: Option<Lock>,
    /// The module's functions, for the tenant's next modules.
    pub(super) functions: Option<New>,
    /// The module, if better code is to be made later.
    pub(super) later: Option<Given>,
}

/// The result of an order for one target.
pub(super) enum Served {
    Made(Box<Made>),
    /// The module needs the other engine: the reason, and the module.
    Declined(String, Given),
    /// The module is no plain command but of this world: the reason, and the module.
    OtherWorld(World, String, Given),
}

/// The module of an order.
pub(super) enum Sought {
    Module(Given),
    /// The image has no layer to run, for this reason.
    Nothing(String),
}

/// When the driver looks up a module's artifact.
pub(super) enum Look {
    /// Before the driver waits for anything.
    First,
    /// When it has the module's lock, or there is no cache.
    Locked,
    /// When the lock could not be taken, for this reason.
    Unlocked(String),
    /// When the turn to compile has come.
    Turned,
}

impl Served {
    pub(super) fn made(made: Made) -> Self {
        Served::Made(Box::new(made))
    }

    /// Serves an artifact that another order has just made.
    pub(super) fn shared(target: Target, artifact: File, kind: Kind, given: &Given) -> Self {
        let digest = given.digest().to_owned();
        let origin = Origin::Shared;
        Self::made(Made { artifact, target, digest, kind, origin, uncached: None, functions: None, later: None })
    }

    /// Serves an artifact that was in the cache before.
    pub(super) fn found(target: Target, artifact: File, kind: Kind, given: Given) -> Self {
        let digest = given.digest().to_owned();
        let later = (kind.tier == Tier::Fast).then_some(given);
        Self::made(Made { artifact, target, digest, kind, origin: Origin::Hit, uncached: None, functions: None, later })
    }
}
