//! Looks up an order's module in the cache.

use std::fs::File;
use std::ops::ControlFlow;

use catamaran_cache::order::{Wish, awaited};
use catamaran_cache::places::Part;
use catamaran_cache::store::{Kind, Known};
use catamaran_worker::compiler::Tier;

use super::driver::Driver;
use super::given::Given;
use super::served::{Look, Served};
use crate::error::{Error, Result};

impl Driver {
    /// Looks up the module in the cache, and serves the order if the cache has enough.
    pub(super) fn look(&mut self, part: &mut Part, given: Given, look: Look) -> Result<ControlFlow<Served, Given>> {
        let target = part.target;
        let known = self.there(part, &given)?;
        let served = match (known, look) {
            (Known::OtherEngine(reason), _) => Served::Declined(reason, given),
            (Known::OtherWorld(world, reason), _) => Served::OtherWorld(world, reason, given),
            (Known::Artifact(artifact, kind), Look::First) => Served::found(target, artifact, kind, given),
            (Known::Artifact(artifact, kind), _) => Served::shared(target, artifact, kind, &given),
            (Known::Unverified(kind), Look::Locked) => match self.verified(part, given.digest(), kind)? {
                Some(artifact) => Served::found(target, artifact, kind, given),
                None => return Ok(ControlFlow::Continue(given)),
            },
            (known, Look::Unlocked(why)) => match known {
                Known::Unverified(kind) if let Ok(Some(artifact)) = self.verified(part, given.digest(), kind) => {
                    Served::found(target, artifact, kind, given)
                }
                _ => {
                    self.uncached(&why);
                    part.store = None;
                    return Ok(ControlFlow::Continue(given));
                }
            },
            _ => return Ok(ControlFlow::Continue(given)),
        };
        Ok(ControlFlow::Break(served))
    }

    /// Verifies an artifact at its first use since the machine was started. Returns None if it is damaged or gone.
    fn verified(&mut self, part: &Part, digest: &str, kind: Kind) -> Result<Option<File>> {
        let Some(store) = &part.store else { return Ok(None) };
        let verified = store.verified(digest, kind)?;
        if verified.is_none() {
            let name = &self.order.name;
            self.warnings.push(format!("the cached artifact of {name} is damaged or gone: it is compiled anew"));
        }
        Ok(verified)
    }

    /// Returns what the cache knows of the module: nothing for an order that wants a new artifact. Fails if the cache has a refusal.
    /// Ignores fast code if the order waits for the best.
    fn there(&self, part: &Part, given: &Given) -> Result<Known> {
        if self.order.wish == Wish::Again {
            return Ok(Known::Nothing);
        }
        match part.look_up(given.digest()) {
            Known::Refused(reason) => Err(Error::Module { module: self.order.name.clone(), reason }),
            Known::Artifact(_, kind) | Known::Unverified(kind)
                if kind.tier == Tier::Fast && awaited(self.order.tier, part.target, given.bytes()?) == Tier::Best =>
            {
                Ok(Known::Nothing)
            }
            known => Ok(known),
        }
    }
}
