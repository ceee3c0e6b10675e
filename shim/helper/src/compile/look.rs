//! What the cache has for an order, each time that the driver looks.

use std::fs::File;
use std::ops::ControlFlow;

use catamaran_cache::counters::Counter;
use catamaran_cache::engine::Engine;
use catamaran_cache::order::Wish;
use catamaran_cache::places::Part;
use catamaran_cache::store::Known;
use catamaran_worker::compiler::Tier;

use super::driver::Driver;
use super::given::Given;
use super::served::{Look, Served};
use crate::error::{Error, Result};

impl Driver {
    /// Looks for what there is of the module by now, and serves the order with it if that is enough.
    pub(super) fn look(&mut self, part: &mut Part, given: Given, look: Look) -> Result<ControlFlow<Served, Given>> {
        let engine = part.engine;
        let known = self.there(part, given.digest())?;
        let served = match (known, look) {
            (Known::OtherEngine(reason), _) => Served::Declined(reason, given),
            (Known::Artifact(artifact, tier), Look::First) => self.found(engine, artifact, tier, given),
            (Known::Artifact(artifact, tier), _) => Served::shared(engine, artifact, tier, &given),
            (Known::Nothing | Known::Refused(_), Look::First) => {
                self.count_miss(part, &given);
                return Ok(ControlFlow::Continue(given));
            }
            (Known::Unverified(tier), Look::Locked) => match self.verified(part, given.digest(), tier)? {
                Some(artifact) => self.found(engine, artifact, tier, given),
                None => return Ok(ControlFlow::Continue(given)),
            },
            (known, Look::Unlocked(why)) => match known {
                Known::Unverified(tier) if let Ok(Some(artifact)) = self.verified(part, given.digest(), tier) => {
                    self.found(engine, artifact, tier, given)
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

    /// An artifact from before, counted.
    fn found(&self, engine: Engine, artifact: File, tier: Tier, given: Given) -> Served {
        self.count(engine, Counter::Hits);
        Served::found(engine, artifact, tier, given)
    }

    /// The first use of an artifact since the machine was started. None where the disk has damaged it.
    fn verified(&mut self, part: &Part, digest: &str, tier: Tier) -> Result<Option<File>> {
        let Some(store) = &part.store else { return Ok(None) };
        let verified = store.verified(digest, tier)?;
        if verified.is_none() {
            let name = &self.order.name;
            self.warnings
                .push(format!("the artifact of {name} is not what was published, or gone: it is compiled anew"));
        }
        Ok(verified)
    }

    /// What the shim itself does for a file: it cannot know a layer's digest.
    fn count_miss(&mut self, part: &Part, given: &Given) {
        if matches!(given, Given::Layer(_)) && self.order.wish == Wish::Any && !self.missed {
            self.count(part.engine, Counter::Misses);
            self.missed = true;
        }
    }

    /// What is known of a module, for an order that takes an artifact from before; an error if no engine runs it.
    fn there(&self, part: &Part, digest: &str) -> Result<Known> {
        if self.order.wish == Wish::Again {
            return Ok(Known::Nothing);
        }
        match part.look_up(digest) {
            Known::Refused(reason) => Err(Error::Module { module: self.order.name.clone(), reason }),
            known => Ok(known),
        }
    }
}
