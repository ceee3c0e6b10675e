//! The compile driver: the shim's executable, run for one order, so that a compile outlives the pod that asked for it and
//! nothing of it is in a shim's memory.
//!
//! ```text
//! order -> own cgroup -> module into sealed memory -> its lock -> (there by now?) -> a slot -> compile -> publish -> answer
//!                                                                         again, for the best code, if the first was fast <-'
//! ```
//!
//! It has no rights to give up that it does not need: it makes the cache's files, root's own. What meets the module's
//! bytes is the compile process.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use catamaran_worker::compiler::Tier;
use catamaran_worker::control;
use rustix::fs::MemfdFlags;

use super::compile::{self, Verdict};
use super::order::{Answer, Order, Wish};
use super::store::{Lasting, New, Store};
use super::{Counter, Places, counters, evict, locks, module};
use crate::cgroup::Compilers;
use crate::error::{Doing, Error, Result};

/// What the shim's executable is to do to be a driver.
pub(crate) const ACTION: &str = "compile";
/// So long an order waits for a slot.
const LONGEST_QUEUE: Duration = Duration::from_secs(600);
/// A module that is smaller is compiled by the optimiser at once: it takes less than a tenth of a second.
const WORTH_TWO: u64 = 512 << 10;

/// The `compile` action: serves the order on standard input.
pub(crate) fn run() -> Result<()> {
    let doing = || "receiving an order for the compile driver".to_owned();
    // Its own: what ends the shim's session or group does not end a compile.
    let _ = nix::unistd::setsid();
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).doing(doing)?;
    let (order, mut files) = control::receive_with::<Order>(control.as_fd()).doing(doing)?;
    let Some(file) = files.pop() else {
        return Err(Error::refused("the order", "no module", "the descriptor of one"));
    };
    let mut warnings = Vec::new();
    if let Err(e) = std::fs::write("/proc/self/oom_score_adj", "1000") {
        warnings.push(format!("oom_score_adj of a compile stays as it is: {e}"));
    }
    // Before a byte of the module is read: what it takes is not the pod's.
    let cgroup =
        Compilers::join().inspect_err(|e| warnings.push(format!("compiles have no cgroup of their own: {e}"))).ok();
    let mut driver = match Driver::new(order, cgroup, warnings) {
        Ok(driver) => driver,
        Err(e) => return answer(&control, &Answer::Failed(e.to_string()), None),
    };
    if driver.order.wish == Wish::Best {
        drop(control);
        return driver.best(File::from(file));
    }
    match driver.serve(File::from(file)) {
        Ok(made) => {
            let later = made.later;
            let words = Answer::Made {
                tier: made.tier,
                milliseconds: made.milliseconds,
                warnings: std::mem::take(&mut driver.warnings),
            };
            // A shim that gave up finds the artifact at the next start.
            let _ = answer(&control, &words, Some(&made.artifact));
            drop((control, made.artifact));
            later.map_or(Ok(()), |bytes| driver.improve(&bytes))
        }
        Err(Error::Module { reason, .. }) => answer(&control, &Answer::Refused(reason), None),
        Err(Error::Compiler { reason, .. }) => answer(&control, &Answer::Failed(reason), None),
        Err(e) => answer(&control, &Answer::Failed(e.to_string()), None),
    }
}

fn answer(control: &OwnedFd, words: &Answer, artifact: Option<&File>) -> Result<()> {
    let artifact = artifact.map(AsFd::as_fd);
    control::send_with(control.as_fd(), words, artifact.as_slice()).doing(|| "answering the shim".to_owned())
}

struct Driver {
    order: Order,
    places: Places,
    /// None where the cache cannot be used: artifacts are then made in memory, for one start each.
    store: Option<Store>,
    cgroup: Option<Compilers>,
    warnings: Vec<String>,
}

struct Made {
    artifact: File,
    tier: Tier,
    milliseconds: Option<u64>,
    /// The module, where better code is to be made of it.
    later: Option<Sealed>,
}

/// A module that cannot change, and its digest.
struct Sealed {
    bytes: File,
    digest: String,
}

impl Driver {
    fn new(order: Order, cgroup: Option<Compilers>, mut warnings: Vec<String>) -> Result<Self> {
        let places = Places::of(&order.engine)?;
        let store = Store::open(places.entries.clone())
            .inspect_err(|e| warnings.push(format!("the artifact cache cannot be used: {e}")))
            .ok();
        Ok(Self { order, places, store, cgroup, warnings })
    }

    fn serve(&mut self, mut file: File) -> Result<Made> {
        let (bytes, digest) = module::sealed(&self.order.name, &mut file)?;
        let module = Sealed { bytes, digest };
        // Without a cache there is nothing to wait for.
        let _lock = match &self.store {
            Some(_) => Some(locks::module(&self.places.locks, &module.digest)?),
            None => None,
        };
        if let Some(made) = self.there_by_now(&module.digest)? {
            return Ok(made);
        }
        let size = module.bytes.metadata().on("the module's bytes")?.len();
        let fast = self.order.wish == Wish::Any && size >= WORTH_TWO && self.store.is_some();
        let tier = if fast { Tier::Fast } else { Tier::Best };
        let begin = Instant::now();
        let artifact = self.compile(&module, tier)?;
        let milliseconds = Some(begin.elapsed().as_millis() as u64);
        Ok(Made { artifact, tier, milliseconds, later: fast.then_some(module) })
    }

    /// What another order made while this one waited.
    fn there_by_now(&self, digest: &str) -> Result<Option<Made>> {
        let Some(store) = &self.store else { return Ok(None) };
        if self.order.wish == Wish::Again {
            return Ok(None);
        }
        if let Some(reason) = store.refusal(digest) {
            return Err(Error::Module { module: self.order.name.clone(), reason });
        }
        let there = store.artifact(digest);
        Ok(there.map(|(artifact, tier)| Made { artifact, tier, milliseconds: None, later: None }))
    }

    /// Serves an order for the best code, for which nobody waits; unless somebody is at it.
    fn best(&mut self, mut file: File) -> Result<()> {
        let (bytes, digest) = module::sealed(&self.order.name, &mut file)?;
        match locks::module_now(&self.places.locks, &digest)? {
            Some(free) => drop(free),
            None => return Ok(()),
        }
        self.improve(&Sealed { bytes, digest })
    }

    /// Compiles the module again for the best code, with what the others leave. Nobody is told.
    fn improve(&mut self, module: &Sealed) -> Result<()> {
        // One that has the usual priority is a compile all the same.
        self.cgroup = Compilers::join_later().ok().or(self.cgroup.take());
        let _lock = locks::module(&self.places.locks, &module.digest)?;
        let there = self.store.as_ref().and_then(|store| store.artifact(&module.digest));
        if matches!(there, Some((_, Tier::Best))) {
            return Ok(());
        }
        self.compile(module, Tier::Best).map(drop)
    }

    fn compile(&mut self, module: &Sealed, tier: Tier) -> Result<File> {
        let _slot = match &self.store {
            None => None,
            Some(_) => match locks::slot(&self.places.slots, slots(), LONGEST_QUEUE)? {
                None => return Err(self.failed(format!("the node compiled others for {LONGEST_QUEUE:?}: try again"))),
                held => held,
            },
        };
        if let Some(store) = &self.store {
            store.sweep();
            let new = store.create();
            match new {
                Ok(new) => match self.verdict(module, &new.file, tier)? {
                    Verdict::Output(reason) => self.uncached(&reason),
                    verdict => {
                        self.made(module, verdict)?;
                        return self.publish(new, module, tier);
                    }
                },
                Err(e) => self.uncached(&e.to_string()),
            }
        }
        self.compile_into_memory(module, tier)
    }

    fn uncached(&mut self, reason: &str) {
        self.warnings.push(format!("{} runs uncached: {reason}", self.order.name));
    }

    fn verdict(&self, module: &Sealed, output: &File, tier: Tier) -> Result<Verdict> {
        counters::add(&self.places.root, Counter::Compiles);
        let killed = || self.cgroup.as_ref().map_or(0, Compilers::killed);
        let before = killed();
        let verdict = compile::run(&self.places.compiler, &self.order.name, &module.bytes, output, tier)?;
        Ok(match verdict {
            // Its own memory or another compile's: tried again after a while.
            Verdict::Failed(_) if killed() > before => {
                Verdict::Limit("it takes more memory to compile than the node gives to compiles".to_owned())
            }
            verdict => verdict,
        })
    }

    /// An error unless an artifact was made; what is the module's fault is remembered.
    fn made(&self, module: &Sealed, verdict: Verdict) -> Result<()> {
        let (lasting, reason) = match verdict {
            Verdict::Made => return Ok(()),
            Verdict::Refused(reason) => (Lasting::Always, reason),
            Verdict::Limit(reason) => (Lasting::ForAWhile, reason),
            Verdict::Output(reason) | Verdict::Failed(reason) => return Err(self.failed(reason)),
        };
        counters::add(&self.places.root, Counter::Refusals);
        if let Some(store) = &self.store {
            store.refuse(&module.digest, lasting, &reason);
        }
        Err(Error::Module { module: self.order.name.clone(), reason })
    }

    fn failed(&self, reason: String) -> Error {
        Error::Compiler { module: self.order.name.clone(), reason }
    }

    fn publish(&mut self, new: New, module: &Sealed, tier: Tier) -> Result<File> {
        let Some(store) = &self.store else { return Err(self.failed("there is no cache".to_owned())) };
        let artifact = store.publish(new, &module.digest, tier)?;
        let removed = evict::evict(&self.places.all_entries, self.places.most_bytes);
        (0..removed).for_each(|_| counters::add(&self.places.root, Counter::Evictions));
        Ok(artifact)
    }

    /// For one start: the cache is full, read-only or gone.
    fn compile_into_memory(&self, module: &Sealed, tier: Tier) -> Result<File> {
        let doing = || format!("compiling {}", self.order.name);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let output = File::from(rustix::fs::memfd_create("artifact", flags).doing(doing)?);
        let verdict = self.verdict(module, &output, tier)?;
        self.made(module, verdict)?;
        // Sealing fails where somebody could still write to it by a mapping.
        module::seal(&output).doing(doing)?;
        Ok(output)
    }
}

/// As many compiles at a time as leave half of the processors to the pods; each uses all that it gets.
fn slots() -> usize {
    std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1))
}
