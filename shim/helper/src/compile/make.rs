//! Makes an artifact of a module that the driver holds, for one target: in the cache, or in memory if the cache cannot be
//! used.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use catamaran_cache::counters::{Count, Counter};
use catamaran_cache::engine::Engine;
use catamaran_cache::places::Part;
use catamaran_cache::store::{Lasting, New};
use catamaran_cache::{counters, module, tenant};
use catamaran_cgroup::Compilers;
use catamaran_worker::compiler::Tier;
use log::debug;
use rustix::fs::MemfdFlags;

use super::driver::Driver;
use super::given::{Given, Read, Sealed};
use super::locks::Lock;
use super::outcome::{Fresh, Outcome};
use super::process::{self, Task, Verdict};
use super::shares::{Bounds, Full, Share};
use super::{evict, locks, shares};
use crate::error::{Doing, Error, Result};

/// The result of putting an artifact into the cache.
enum Published {
    Entry(File),
    NoRoom(Unfit),
}

/// An artifact that has no room in the cache, and why.
struct Unfit {
    new: New,
    reason: String,
}

/// Uncached code that is on its way to containers may take this part (a quarter) of the memory of the compiles that starts wait for.
const UNCACHED_PART: u64 = 4;

impl Driver {
    /// Compiles the module. `waited` says that a start waits for the artifact, and so takes one that is not in the cache, too.
    pub(super) fn compile(&mut self, part: &Part, module: &Sealed, tier: Tier, waited: bool) -> Result<Outcome> {
        let mut lacking = "there is no cache".to_owned();
        if let Some(store) = &part.store {
            store.sweep();
            locks::sweep(&self.places.locks);
            match store.create() {
                Ok(new) => match self.verdict(part, module, &new.file, tier, waited)? {
                    Verdict::Output(reason) => lacking = reason,
                    verdict => {
                        if let Some(declined) = self.judge(part, module, verdict)? {
                            return Ok(declined);
                        }
                        match self.publish(part, new, module, tier) {
                            Ok(Published::Entry(artifact)) => {
                                return Ok(Outcome::Made(Fresh { artifact, uncached: None }));
                            }
                            Ok(Published::NoRoom(unfit)) if waited => return self.hand_over(unfit).map(Outcome::Made),
                            Ok(Published::NoRoom(unfit)) => return Err(self.failed(unfit.reason)),
                            Err(e) => lacking = e.to_string(),
                        }
                    }
                },
                Err(e) => lacking = e.to_string(),
            }
        }
        if !waited {
            return Err(self.failed(lacking));
        }
        self.compile_into_memory(part, module, tier, &lacking)
    }

    pub(super) fn uncached(&mut self, reason: &str) {
        self.warnings.push(format!("{} runs uncached: {reason}", self.order.name));
    }

    fn verdict(&self, part: &Part, module: &Sealed, output: &File, tier: Tier, waited: bool) -> Result<Verdict> {
        let target = part.target;
        self.count(target.engine(), Counter::Compiles);
        let later = if waited { None } else { Compilers::later().ok() };
        let cgroup = later.as_ref().or(self.cgroup.as_ref());
        let killed = || cgroup.map_or(0, Compilers::killed);
        // A compile with the usual weight is a compile all the same.
        let born = |pid| {
            if let Some(Err(e)) = later.as_ref().map(|later| later.admit(pid)) {
                debug!("a compile that nobody waits for keeps the weight of the others: {e}");
            }
        };
        let before = killed();
        let begin = Instant::now();
        let verdict = process::run(
            &mut part.compiler.command(),
            part.compiler.path(),
            &self.order.name,
            &module.bytes,
            output,
            Task::Artifact(tier, target.world()),
            born,
        )?;
        let compiled = Count::Compiled { engine: target.engine(), tier, took: begin.elapsed() };
        counters::add(&self.places.root, &[compiled]);
        Ok(match verdict {
            // An OOM kill, perhaps because of another compile: nothing is remembered of this module.
            Verdict::Failed(_) if killed() > before => {
                Verdict::Failed("the node ran out of the memory that it gives to compiles: try again".to_owned())
            }
            verdict => verdict,
        })
    }

    /// Returns None if an artifact was made. Verdicts that are the module's own doing are cached.
    fn judge(&self, part: &Part, module: &Sealed, verdict: Verdict) -> Result<Option<Outcome>> {
        let (lasting, reason) = match verdict {
            Verdict::Made => return Ok(None),
            Verdict::Refused(reason) => (Lasting::Always, reason),
            Verdict::OtherEngine(reason) => (Lasting::OtherEngine, reason),
            Verdict::OtherWorld(world, reason) => (Lasting::OtherWorld(world), reason),
            Verdict::Limit(reason) => (Lasting::ForAWhile, reason),
            Verdict::Output(reason) | Verdict::Failed(reason) => return Err(self.failed(reason)),
        };
        let outcome = match lasting {
            Lasting::OtherEngine => Outcome::Declined(reason.clone()),
            Lasting::OtherWorld(world) => Outcome::OtherWorld(world, reason.clone()),
            Lasting::Always | Lasting::ForAWhile => return Err(self.refused(part, &module.digest, lasting, reason)),
        };
        self.remember(part, &module.digest, lasting, &reason);
        Ok(Some(outcome))
    }

    fn remember(&self, part: &Part, digest: &str, lasting: Lasting, reason: &str) {
        let Some(store) = &part.store else { return };
        // Without the lock, the next start finds it out again.
        let Ok(Some(_lock)) = locks::room(&self.places.root) else { return };
        store.refuse(digest, lasting, reason, &self.order.tenant);
        self.make_room(part, None);
    }

    /// Remembers that the module is at fault, and returns the error.
    fn refused(&self, part: &Part, digest: &str, lasting: Lasting, reason: String) -> Error {
        self.remember(part, digest, lasting, &reason);
        self.count(part.target.engine(), Counter::Refusals);
        Error::Module { module: self.order.name.clone(), reason }
    }

    /// Reads the module's bytes. Remembers a layer that is not Wasm, because it has been read whole, and verified.
    pub(super) fn read(&mut self, part: &Part, given: &mut Given) -> Result<Sealed> {
        match given.read(&self.order.name, self.order.largest, &mut self.warnings)? {
            Read::Sealed(module) => Ok(module),
            Read::Refused { digest, reason } => Err(self.refused(part, &digest, Lasting::Always, reason)),
        }
    }

    pub(super) fn failed(&self, reason: String) -> Error {
        Error::Compiler { module: self.order.name.clone(), reason }
    }

    pub(super) fn count(&self, engine: Engine, counter: Counter) {
        counters::add(&self.places.root, &[Count::Cache(engine, counter)]);
    }

    /// Puts the artifact into the cache, if there is room.
    fn publish(&self, part: &Part, new: New, module: &Sealed, tier: Tier) -> Result<Published> {
        let Some(store) = &part.store else { return Err(self.failed("there is no cache".to_owned())) };
        let Some(_lock) = locks::room(&self.places.root)? else {
            return Err(self.failed("others put their entries into the cache all the time".to_owned()));
        };
        if let Some(reason) = self.make_room(part, Some(new.path())) {
            return Ok(Published::NoRoom(Unfit { new, reason }));
        }
        Ok(Published::Entry(store.publish(new, &module.digest, tier, &self.order.tenant)?))
    }

    /// Waits until the disk has an artifact that was published, or removes it from the cache if the disk refuses it. No start waits for
    /// this: the code runs from the page cache, and what a crash damages is found by its checksum.
    pub(super) fn sync(&self, part: &Part, artifact: &File, digest: &str, tier: Tier) -> Result<()> {
        let Some(store) = &part.store else { return Ok(()) };
        let synced = store.sync(artifact, digest, tier);
        if synced.is_err() {
            // Without the lock the count of the cache's bytes may be wrong for a moment, which is better than damaged code.
            let _lock = locks::room(&self.places.root);
            store.discard(digest, tier);
        }
        Ok(synced?)
    }

    /// Evicts entries for a new one, and returns why there is no room, if there is none. The caller holds the lock.
    fn make_room(&self, part: &Part, new: Option<&Path>) -> Option<String> {
        let tenant = tenant::name(&self.order.tenant);
        let room = evict::make_room(&self.places.entries, self.places.bounds, &tenant, new);
        for engine in room.removed {
            self.count(engine.unwrap_or(part.target.engine()), Counter::Evictions);
        }
        room.lacking
    }

    /// Copies an artifact that has no room in the cache into memory, for one start.
    fn hand_over(&mut self, unfit: Unfit) -> Result<Fresh> {
        let size = unfit.new.file.metadata().on(unfit.new.path())?.len();
        // Asked before the copy takes any memory.
        let uncached = self.may_be_uncached(size, &unfit.reason)?;
        let mut written = File::open(unfit.new.path()).on(unfit.new.path())?;
        let (artifact, _) = module::sealed_memory(&self.order.name, |bytes| {
            std::io::copy(&mut written, bytes).doing(|| format!("copying the artifact of {}", self.order.name))
        })?;
        Ok(Fresh { artifact, uncached })
    }

    /// Takes an artifact's part of the memory for artifacts that are handed over uncached, which no pod is charged for until the
    /// container has a copy of its own. Fails if that is too much.
    fn may_be_uncached(&mut self, size: u64, reason: &str) -> Result<Option<Lock>> {
        let memory = Compilers::most_memory()?;
        if size > memory / 2 {
            let most = memory / 2;
            return Err(self.failed(format!(
                "it has no room in the cache ({reason}), and {size} bytes of machine code: at most {most} run uncached"
            )));
        }
        let total = memory / UNCACHED_PART;
        let bounds = Bounds { own: total / 2, total, least: 0 };
        match shares::take(&self.places.uncached, &self.order.tenant, size, &bounds) {
            Ok(Share::Taken(held)) => {
                self.uncached(reason);
                Ok(Some(held))
            }
            Ok(Share::Full(full)) => {
                let whose = match full {
                    Full::Own => "its namespace's",
                    Full::Total => "the node's",
                };
                Err(self.failed(format!(
                    "it has no room in the cache ({reason}), and {whose} other starts have as much uncached code in memory as \
                     they may: try again"
                )))
            }
            // The disk is read-only or full, which is the node's fault and no tenant's.
            Err(e) => {
                self.uncached(reason);
                self.warnings.push(format!("uncached code is not counted: {e}"));
                Ok(None)
            }
        }
    }

    /// Compiles for one start, because the cache is full, read-only or gone.
    fn compile_into_memory(&mut self, part: &Part, module: &Sealed, tier: Tier, reason: &str) -> Result<Outcome> {
        let doing = || format!("compiling {}", self.order.name);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let output = File::from(rustix::fs::memfd_create("artifact", flags).doing(doing)?);
        let verdict = self.verdict(part, module, &output, tier, true)?;
        if let Some(declined) = self.judge(part, module, verdict)? {
            return Ok(declined);
        }
        // Sealing fails if somebody could still write to it by a mapping.
        module::seal(&output).doing(doing)?;
        let uncached = self.may_be_uncached(output.metadata().doing(doing)?.len(), reason)?;
        Ok(Outcome::Made(Fresh { artifact: output, uncached }))
    }
}
