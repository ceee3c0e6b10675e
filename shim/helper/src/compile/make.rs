//! Compiles a module that the driver has read, for one target: into the cache, or into memory if the cache cannot be used.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use catamaran_cache::counters::{Count, Counter};
use catamaran_cache::engine::Engine;
use catamaran_cache::magic::FIRST;
use catamaran_cache::order::Wish;
use catamaran_cache::places::Part;
use catamaran_cache::store::{Kind, Lasting, New, Store};
use catamaran_cache::{counters, entry, module, tenant};
use catamaran_cgroup::Compilers;
use catamaran_worker::compiler::Tier;
use catamaran_worker::form::{self, Form};
use log::debug;
use rustix::fs::MemfdFlags;

use super::driver::Driver;
use super::given::{Given, Read, Sealed};
use super::locks::{LONGEST_ROOM, Lock};
use super::outcome::{Fresh, Outcome};
use super::process::{self, FunctionFiles, Task, Verdict};
use super::shares::{Bounds, Full, Share};
use super::{evict, locks, shares};
use crate::error::{Doing, Error, Result};

/// The result of putting an artifact into the cache.
enum Published {
    Entry(File),
    NoRoom(Unfit),
}

/// The end of a compile into the cache.
struct Attempt {
    verdict: Verdict,
    new: New,
    kind: Kind,
    /// The module's functions, if they are to be kept.
    functions: Option<New>,
}

/// An artifact without room in the cache, and the reason.
struct Unfit {
    new: New,
    reason: String,
}

/// A component of fewer bytes is compiled without functions of others, because all of it takes less than a second.
const WORTH_SHARING: u64 = 4 << 20;
/// The divisor for uncached code on its way to containers: it may take a quarter of the memory limit of awaited compiles.
const UNCACHED_PART: u64 = 4;

impl Driver {
    /// Compiles the module. `waited` is true if a start waits for the artifact; it then takes an uncached one, too.
    pub(super) fn compile(&mut self, part: &Part, module: &Sealed, tier: Tier, waited: bool) -> Result<Outcome> {
        let mut lacking = "there is no cache".to_owned();
        if let Some(store) = &part.store {
            store.sweep();
            locks::sweep(&self.places.locks);
            match store.create() {
                Ok(new) => match self.attempt(part, store, new, module, tier, waited)? {
                    Attempt { verdict: Verdict::Output(reason), .. } => lacking = reason,
                    Attempt { verdict, new, kind, functions } => {
                        if let Some(declined) = self.judge(part, module, verdict)? {
                            return Ok(declined);
                        }
                        match self.publish(part, new, module, kind) {
                            Ok(Published::Entry(artifact)) => {
                                return Ok(Outcome::Made(Fresh { artifact, kind, functions, uncached: None }));
                            }
                            Ok(Published::NoRoom(unfit)) if waited => {
                                return self.hand_over(unfit, kind).map(Outcome::Made);
                            }
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

    /// Compiles into `new`, with functions of the tenant's other modules if they may help. With these only machine code counts: any other
    /// verdict may be their fault, so the module is then compiled again, from its own bytes alone.
    fn attempt(
        &mut self,
        part: &Part,
        store: &Store,
        new: New,
        module: &Sealed,
        tier: Tier,
        waited: bool,
    ) -> Result<Attempt> {
        let alone = Kind { tier, own: false };
        let Some((fresh, known)) = self.functions(part, store, module, tier, waited) else {
            let verdict = self.verdict(part, module, &new.file, tier, waited, None)?;
            return Ok(Attempt { verdict, new, kind: alone, functions: None });
        };
        let functions = FunctionFiles { new: &fresh.file, known: known.iter().map(|(_, file)| file).collect() };
        let verdict = self.verdict(part, module, &new.file, tier, waited, Some(&functions))?;
        if known.is_empty() || matches!(verdict, Verdict::Made) {
            let kind = Kind { tier, own: !known.is_empty() };
            let functions = (fresh.file.metadata().on(fresh.path())?.len() > 0).then_some(fresh);
            return Ok(Attempt { verdict, new, kind, functions });
        }
        let new = match store.create() {
            Ok(again) => again,
            Err(e) => {
                let verdict = Verdict::Output(e.to_string());
                return Ok(Attempt { verdict, new, kind: alone, functions: None });
            }
        };
        let verdict = self.verdict(part, module, &new.file, tier, waited, None)?;
        if matches!(verdict, Verdict::Made) {
            let name = &self.order.name;
            self.warnings.push(format!("{name} did not compile with functions of other modules: these are removed"));
            let _lock = locks::room(&self.places.root);
            for (path, _) in known {
                // It may have been evicted.
                let _ = entry::remove(&path);
            }
        }
        Ok(Attempt { verdict, new, kind: alone, functions: None })
    }

    /// Returns a file for a component's functions, and those of the tenant's other components. Returns None for code that no start waits
    /// for, which is made from the module alone because all tenants share it; for an artifact that is made again, because functions may be
    /// what did not fit; and for modules and small components, where the README has the figures.
    fn functions(
        &self,
        part: &Part,
        store: &Store,
        module: &Sealed,
        tier: Tier,
        waited: bool,
    ) -> Option<(New, Vec<(PathBuf, File)>)> {
        let wanted = waited && self.places.functions && self.order.wish == Wish::Any;
        let takes = part.target.engine() == Engine::Wasmtime && is_component(&module.bytes);
        let worth = module.bytes.metadata().is_ok_and(|meta| meta.len() >= WORTH_SHARING);
        // If the file cannot be made, the artifact's cannot either.
        if wanted && takes && worth { Some((store.create().ok()?, store.functions(tier))) } else { None }
    }

    /// Keeps the functions of a module that was compiled, for the tenant's next modules.
    pub(super) fn keep_functions(&self, part: &Part, new: New, digest: &str, tier: Tier) -> Result<()> {
        let Some(store) = &part.store else { return Ok(()) };
        // Before the lock, for which starts wait. Functions that the disk refuses are not kept.
        new.file.sync_all().on(new.path())?;
        let _lock = self.room()?;
        match self.make_room(part, Some(new.path())) {
            Some(reason) => Err(self.failed(reason)),
            None => Ok(store.publish_functions(new, digest, tier)?),
        }
    }

    pub(super) fn uncached(&mut self, reason: &str) {
        self.warnings.push(format!("{} runs uncached: {reason}", self.order.name));
    }

    fn verdict(
        &self,
        part: &Part,
        module: &Sealed,
        output: &File,
        tier: Tier,
        waited: bool,
        functions: Option<&FunctionFiles<'_>>,
    ) -> Result<Verdict> {
        let target = part.target;
        self.count(target.engine(), Counter::Compiles);
        let later = if waited { None } else { Compilers::later().ok() };
        let cgroup = later.as_ref().or(self.cgroup.as_ref());
        let killed = || cgroup.map_or(0, Compilers::killed);
        // If the move fails, the compile runs with the usual weight.
        let born = |pid| {
            if let Some(Err(e)) = later.as_ref().map(|later| later.admit(pid)) {
                debug!("a compile that no start waits for has the weight of those that starts wait for: {e}");
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
            Task::Artifact(tier, target.world(), functions),
            born,
        )?;
        let compiled = Count::Compiled { engine: target.engine(), tier, took: begin.elapsed() };
        counters::add(&self.places.root, &[compiled]);
        Ok(match verdict {
            // An OOM kill may be another compile's fault, so nothing is cached about this module.
            Verdict::Failed(_) if killed() > before => {
                Verdict::Failed("the node ran out of the memory that it gives to compiles: try again".to_owned())
            }
            verdict => verdict,
        })
    }

    /// Returns None if an artifact was made. Caches verdicts that depend on the module alone.
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
        // Without the lock nothing is cached, and the next start asks the compiler again.
        let Ok(Some(_lock)) = locks::room(&self.places.root) else { return };
        store.refuse(digest, lasting, reason);
        self.make_room(part, None);
    }

    /// Caches the refusal of a module that is at fault, and returns the error.
    fn refused(&self, part: &Part, digest: &str, lasting: Lasting, reason: String) -> Error {
        self.remember(part, digest, lasting, &reason);
        self.count(part.target.engine(), Counter::Refusals);
        Error::Module { module: self.order.name.clone(), reason }
    }

    /// Reads the module's bytes. Caches the refusal of a layer that is not Wasm: the whole layer was read and its digest verified.
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

    /// Takes the lock of the cache's room.
    fn room(&self) -> Result<Lock> {
        let held = locks::room(&self.places.root)?;
        held.ok_or_else(|| self.failed(format!("other compiles kept the cache locked for {LONGEST_ROOM:?}")))
    }

    /// Puts the artifact into the cache if there is room.
    fn publish(&self, part: &Part, new: New, module: &Sealed, kind: Kind) -> Result<Published> {
        let Some(store) = &part.store else { return Err(self.failed("there is no cache".to_owned())) };
        let _lock = self.room()?;
        if let Some(reason) = self.make_room(part, Some(new.path())) {
            return Ok(Published::NoRoom(Unfit { new, reason }));
        }
        Ok(Published::Entry(store.publish(new, &module.digest, kind)?))
    }

    /// Waits until a published artifact is on the disk, or removes it from the cache if the disk refuses it. No start waits for this: code
    /// runs from the page cache, and the checksum finds what a crash damages.
    pub(super) fn sync(&self, part: &Part, artifact: &File, digest: &str, kind: Kind) -> Result<()> {
        let Some(store) = &part.store else { return Ok(()) };
        let synced = store.sync(artifact, digest, kind);
        if synced.is_err() {
            // Goes on without the lock if it is not free: a wrong count of bytes for a moment is better than damaged code.
            let _lock = locks::room(&self.places.root);
            store.discard(digest, kind);
        }
        Ok(synced?)
    }

    /// Evicts entries to make room for a new one. Returns the reason if there is no room. The caller holds the room's lock.
    fn make_room(&self, part: &Part, new: Option<&Path>) -> Option<String> {
        let tenant = tenant::name(&self.order.tenant);
        let room = evict::make_room(&self.places.entries, self.places.bounds, &tenant, new);
        for engine in room.removed {
            self.count(engine.unwrap_or(part.target.engine()), Counter::Evictions);
        }
        room.lacking
    }

    /// Copies an artifact that has no room in the cache into memory, for one start.
    fn hand_over(&mut self, unfit: Unfit, kind: Kind) -> Result<Fresh> {
        let size = unfit.new.file.metadata().on(unfit.new.path())?.len();
        // Checked before the copy takes any memory.
        let uncached = self.may_be_uncached(size, &unfit.reason)?;
        let mut written = File::open(unfit.new.path()).on(unfit.new.path())?;
        let (artifact, _) = module::sealed_memory(&self.order.name, |bytes| {
            std::io::copy(&mut written, bytes).doing(|| format!("copying the artifact of {}", self.order.name))
        })?;
        Ok(Fresh { artifact, kind, functions: None, uncached })
    }

    /// Takes a share of the memory for uncached artifacts, which no pod pays for until the container has its own copy. Fails if the shares
    /// are used up.
    fn may_be_uncached(&mut self, size: u64, reason: &str) -> Result<Option<Lock>> {
        let memory = Compilers::most_memory()?;
        if size > memory / 2 {
            let most = memory / 2;
            return Err(self.failed(format!(
                "it has no room in the cache ({reason}), and its {size} bytes of machine code are too many to run uncached: at most {most}"
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
                    "it has no room in the cache ({reason}), and {whose} other starts use up the memory for uncached code: try \
                     again"
                )))
            }
            // The disk is read-only or full. That is not the tenant's fault, so the code runs uncounted.
            Err(e) => {
                self.uncached(reason);
                self.warnings.push(format!("uncached code is not counted: {e}"));
                Ok(None)
            }
        }
    }

    /// Compiles for one start, into memory: the cache is full, read-only or missing.
    fn compile_into_memory(&mut self, part: &Part, module: &Sealed, tier: Tier, reason: &str) -> Result<Outcome> {
        let doing = || format!("compiling {}", self.order.name);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let output = File::from(rustix::fs::memfd_create("artifact", flags).doing(doing)?);
        let verdict = self.verdict(part, module, &output, tier, true, None)?;
        if let Some(declined) = self.judge(part, module, verdict)? {
            return Ok(declined);
        }
        // Sealing fails if a process still has a writable mapping of the memory.
        module::seal(&output).doing(doing)?;
        let uncached = self.may_be_uncached(output.metadata().doing(doing)?.len(), reason)?;
        let kind = Kind { tier, own: false };
        Ok(Outcome::Made(Fresh { artifact: output, kind, functions: None, uncached }))
    }
}

/// Whether the first bytes are a component's.
fn is_component(bytes: &File) -> bool {
    let mut first = [0; FIRST];
    bytes.read_exact_at(&mut first, 0).is_ok() && form::parse(&first) == Ok(Form::Component)
}
