//! What a driver makes of a module that it holds, for one engine: an artifact in the cache, or in memory where the cache cannot
//! be used.

use std::fs::File;

use catamaran_worker::compiler::Tier;
use rustix::fs::MemfdFlags;

use super::compile::{self, Verdict};
use super::driver::Driver;
use super::given::{Given, Read, Sealed};
use super::places::Part;
use super::store::{Lasting, New};
use super::{Counter, counters, evict, locks, module};
use crate::cgroup::Compilers;
use crate::engine::Engine;
use crate::error::{Doing, Error, Result};

/// What a compile came to that nothing went wrong with.
pub(super) enum Outcome {
    Made(File),
    /// The module is another engine's: why.
    Declined(String),
}

impl Driver {
    pub(super) fn compile(&mut self, part: &Part, module: &Sealed, tier: Tier) -> Result<Outcome> {
        if let Some(store) = &part.store {
            store.sweep();
            locks::sweep(&self.places.locks);
            match store.create() {
                Ok(new) => match self.verdict(part, module, &new.file, tier)? {
                    Verdict::Output(reason) => self.uncached(&reason),
                    verdict => {
                        if let Some(declined) = self.judge(part, module, verdict)? {
                            return Ok(declined);
                        }
                        match self.publish(part, new, module, tier) {
                            Ok(artifact) => return Ok(Outcome::Made(artifact)),
                            Err(e) => self.uncached(&e.to_string()),
                        }
                    }
                },
                Err(e) => self.uncached(&e.to_string()),
            }
        }
        self.compile_into_memory(part, module, tier)
    }

    pub(super) fn uncached(&mut self, reason: &str) {
        self.warnings.push(format!("{} runs uncached: {reason}", self.order.name));
    }

    fn verdict(&self, part: &Part, module: &Sealed, output: &File, tier: Tier) -> Result<Verdict> {
        self.count(part.engine, Counter::Compiles);
        let killed = || self.cgroup.as_ref().map_or(0, Compilers::killed);
        let before = killed();
        let verdict = compile::run(&part.compiler, &self.order.name, &module.bytes, output, tier)?;
        Ok(match verdict {
            // For its own memory or another compile's: nothing to remember of this module.
            Verdict::Failed(_) if killed() > before => {
                Verdict::Failed("the node ran out of the memory that it gives to compiles: try again".to_owned())
            }
            verdict => verdict,
        })
    }

    /// None where an artifact was made; what the module itself is the reason of is remembered.
    fn judge(&self, part: &Part, module: &Sealed, verdict: Verdict) -> Result<Option<Outcome>> {
        let (lasting, reason) = match verdict {
            Verdict::Made => return Ok(None),
            Verdict::Refused(reason) => (Lasting::Always, reason),
            Verdict::OtherEngine(reason) => (Lasting::OtherEngine, reason),
            Verdict::Limit(reason) => (Lasting::ForAWhile, reason),
            Verdict::Output(reason) | Verdict::Failed(reason) => return Err(self.failed(reason)),
        };
        if lasting == Lasting::OtherEngine {
            self.remember(part, &module.digest, lasting, &reason);
            return Ok(Some(Outcome::Declined(reason)));
        }
        Err(self.refused(part, &module.digest, lasting, reason))
    }

    fn remember(&self, part: &Part, digest: &str, lasting: Lasting, reason: &str) {
        if let Some(store) = &part.store {
            store.refuse(digest, lasting, reason);
            self.evict(part);
        }
    }

    /// Remembers that the module is at fault.
    fn refused(&self, part: &Part, digest: &str, lasting: Lasting, reason: String) -> Error {
        self.remember(part, digest, lasting, &reason);
        self.count(part.engine, Counter::Refusals);
        Error::Module { module: self.order.name.clone(), reason }
    }

    /// The module's bytes. A layer that is no Wasm is remembered: it has been read whole, and verified.
    pub(super) fn read(&mut self, part: &Part, given: Given) -> Result<Sealed> {
        match given.read(&self.order.name, &mut self.warnings)? {
            Read::Sealed(module) => Ok(module),
            Read::Refused { digest, reason } => Err(self.refused(part, &digest, Lasting::Always, reason)),
        }
    }

    pub(super) fn failed(&self, reason: String) -> Error {
        Error::Compiler { module: self.order.name.clone(), reason }
    }

    pub(super) fn count(&self, engine: Engine, counter: Counter) {
        counters::add(&self.places.root, engine, counter);
    }

    fn publish(&self, part: &Part, new: New, module: &Sealed, tier: Tier) -> Result<File> {
        let Some(store) = &part.store else { return Err(self.failed("there is no cache".to_owned())) };
        let artifact = store.publish(new, &module.digest, tier)?;
        self.evict(part);
        Ok(artifact)
    }

    fn evict(&self, part: &Part) {
        for engine in evict::evict(&self.places.entries, self.places.most_bytes) {
            self.count(engine.unwrap_or(part.engine), Counter::Evictions);
        }
    }

    /// For one start: the cache is full, read-only or gone.
    fn compile_into_memory(&self, part: &Part, module: &Sealed, tier: Tier) -> Result<Outcome> {
        let doing = || format!("compiling {}", self.order.name);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let output = File::from(rustix::fs::memfd_create("artifact", flags).doing(doing)?);
        let verdict = self.verdict(part, module, &output, tier)?;
        if let Some(declined) = self.judge(part, module, verdict)? {
            return Ok(declined);
        }
        // Sealing fails where somebody could still write to it by a mapping.
        module::seal(&output).doing(doing)?;
        Ok(Outcome::Made(output))
    }
}
