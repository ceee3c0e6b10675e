//! The compile driver: the shim's executable, run for one order, so that a compile outlives the pod that asked for it and
//! nothing of it is in a shim's memory.
//!
//! ```text
//! order -> the module's lock -> (there by now?) -> own cgroup -> a slot -> sealed memory -> compile -> publish -> answer
//!                                                             again, for the best code, if the first was fast <-'
//! ```
//!
//! A module that is a layer of the container's image is looked for here, and read only when it holds the lock and is to be
//! compiled; one whose artifact is there is answered at once.
//!
//! It has no rights to give up that it does not need: it makes the cache's files, root's own. What meets the module's
//! bytes is the compile process.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use catamaran_worker::compiler::Tier;
use catamaran_worker::control;
use rustix::fs::MemfdFlags;

use super::compile::{self, Verdict};
use super::given::{Given, Sealed};
use super::locks::Held;
use super::order::{Answer, Order, Wish};
use super::store::{Lasting, New, Store};
use super::{Counter, Origin, Places, counters, evict, locks, module};
use crate::cgroup::Compilers;
use crate::error::{Doing, Error, Result};
use crate::image::{Found, Layer};

/// What the shim's executable is to do to be a driver.
pub(crate) const ACTION: &str = "compile";
/// So long an order waits for a slot.
const LONGEST_QUEUE: Duration = Duration::from_secs(600);
/// A module that is smaller is compiled by the optimiser at once: it takes less than a tenth of a second.
const WORTH_TWO: u64 = 512 << 10;

/// The `compile` action: serves the order on standard input.
pub(crate) fn run() -> Result<()> {
    let doing = || "receiving an order for the compile driver".to_owned();
    // Whoever opens an entry that is looked at by a lease would end this process by a signal.
    nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGIO).thread_block().doing(doing)?;
    // Its own: what ends the shim's session or group does not end a compile.
    let _ = nix::unistd::setsid();
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).doing(doing)?;
    let (order, mut files) = control::receive_with::<Order>(control.as_fd()).doing(doing)?;
    let mut warnings = Vec::new();
    if let Err(e) = std::fs::write("/proc/self/oom_score_adj", "1000") {
        warnings.push(format!("oom_score_adj of a compile stays as it is: {e}"));
    }
    let mut driver = match Driver::new(order, warnings) {
        Ok(driver) => driver,
        Err(e) => return answer(&control, &Answer::Failed(e.to_string()), None),
    };
    let given = match driver.given(files.pop().map(File::from)) {
        Ok(Ok(given)) => given,
        Ok(Err(none)) => return answer(&control, &Answer::NoLayer(none), None),
        Err(e) => return answer(&control, &refusal(e), None),
    };
    if driver.order.wish == Wish::Best {
        drop(control);
        return driver.best(given);
    }
    match driver.serve(given) {
        Ok(made) => {
            let words = Answer::Made {
                module: driver.order.name.clone(),
                digest: made.digest,
                tier: made.tier,
                origin: made.origin,
                warnings: std::mem::take(&mut driver.warnings),
            };
            // A shim that gave up finds the artifact at the next start.
            let _ = answer(&control, &words, Some(&made.artifact));
            drop((control, made.artifact));
            match made.later {
                None => Ok(()),
                // Its fast code was found: whoever made that is at it, or was killed since.
                Some(given) if made.origin == Origin::Hit => driver.best(given),
                Some(given) => driver.improve(given),
            }
        }
        Err(e) => answer(&control, &refusal(e), None),
    }
}

fn refusal(e: Error) -> Answer {
    match e {
        Error::Module { module, reason } => Answer::Refused { module, reason },
        Error::Compiler { reason, .. } => Answer::Failed(reason),
        e => Answer::Failed(e.to_string()),
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
    /// From the first compile on.
    cgroup: Option<Compilers>,
    warnings: Vec<String>,
}

struct Made {
    artifact: File,
    digest: String,
    tier: Tier,
    origin: Origin,
    /// The module, where better code is to be made of it.
    later: Option<Given>,
}

impl Driver {
    fn new(order: Order, mut warnings: Vec<String>) -> Result<Self> {
        let places = Places::of(&order.engine)?;
        let store = Store::open(places.entries.clone())
            .inspect_err(|e| warnings.push(format!("the artifact cache cannot be used: {e}")))
            .ok();
        Ok(Self { order, places, store, cgroup: None, warnings })
    }

    /// The module of the order; why there is none, in the inner error.
    fn given(&mut self, file: Option<File>) -> Result<std::result::Result<Given, String>> {
        match (&self.order.image, file) {
            (None, Some(file)) => Ok(Ok(Given::File { file, digest: self.order.digest.clone() })),
            (None, None) => Err(Error::refused("the order", "no module", "the descriptor of one")),
            (Some(image), _) => Ok(match image.find()? {
                Found::Nothing(why) => Err(why),
                Found::Layer(layer) => {
                    self.order.name = layer.name();
                    Ok(Given::Layer(layer))
                }
            }),
        }
    }

    fn serve(&mut self, given: Given) -> Result<Made> {
        let given = match given {
            Given::Layer(layer) => match self.look_up(layer)? {
                Ok(made) => return Ok(made),
                Err(layer) => Given::Layer(layer),
            },
            // Whoever sends the bytes has looked.
            bytes => bytes,
        };
        // Without a cache there is nothing to wait for.
        let locked = match &self.store {
            Some(_) => locks::module(&self.places.locks, given.digest(), LONGEST_QUEUE).map(Some),
            None => Ok(None),
        };
        let _lock = match locked {
            Ok(Some(None)) => {
                return Err(self.failed(format!("others compile it since {LONGEST_QUEUE:?}: try again")));
            }
            Ok(held) => held.flatten(),
            Err(e) => {
                // Read-only, or full: there is nobody to wait for.
                self.uncached(&e.to_string());
                self.store = None;
                None
            }
        };
        if let Some((artifact, tier)) = self.there(given.digest())? {
            let digest = given.digest().to_owned();
            return Ok(Made { artifact, digest, tier, origin: Origin::Shared, later: None });
        }
        if self.cgroup.is_none() {
            self.cgroup = Compilers::join()
                .inspect_err(|e| self.warnings.push(format!("compiles have no cgroup of their own: {e}")))
                .ok();
        }
        let slot = match self.slot(&self.places.slots, slots()) {
            Err(e @ Error::Compiler { .. }) => return Err(e),
            Err(e) => {
                self.uncached(&e.to_string());
                self.store = None;
                None
            }
            Ok(slot) => slot,
        };
        let module = given.read(&self.order.name, &mut self.warnings)?;
        let size = module.bytes.metadata().on("the module's bytes")?.len();
        let fast = self.order.wish == Wish::Any && size >= WORTH_TWO && self.store.is_some();
        let tier = if fast { Tier::Fast } else { Tier::Best };
        let begin = Instant::now();
        let artifact = self.compile(&module, tier)?;
        drop(slot);
        let origin = Origin::Compiled(begin.elapsed().as_millis() as u64);
        let digest = module.digest.clone();
        Ok(Made { artifact, digest, tier, origin, later: fast.then_some(Given::Bytes(module)) })
    }

    /// A place among those that compile; without a cache there are no files to tell of it.
    fn slot(&self, folder: &Path, count: usize) -> Result<Option<Held>> {
        if self.store.is_none() {
            return Ok(None);
        }
        match locks::slot(folder, count, LONGEST_QUEUE)? {
            None => Err(self.failed(format!("the node compiled others for {LONGEST_QUEUE:?}: try again"))),
            held => Ok(held),
        }
    }

    /// What the shim itself does for a file: it cannot know a layer's digest.
    fn look_up(&self, layer: Box<Layer>) -> Result<std::result::Result<Made, Box<Layer>>> {
        let digest = layer.digest().to_owned();
        match self.there(&digest)? {
            Some((artifact, tier)) => {
                counters::add(&self.places.root, Counter::Hits);
                let later = (tier == Tier::Fast).then_some(Given::Layer(layer));
                Ok(Ok(Made { artifact, digest, tier, origin: Origin::Hit, later }))
            }
            None => {
                if self.order.wish == Wish::Any {
                    counters::add(&self.places.root, Counter::Misses);
                }
                Ok(Err(layer))
            }
        }
    }

    /// The artifact that there is, for an order that takes one from before.
    fn there(&self, digest: &str) -> Result<Option<(File, Tier)>> {
        let Some(store) = &self.store else { return Ok(None) };
        if self.order.wish == Wish::Again {
            return Ok(None);
        }
        match (store.artifact(digest), store.refusal(digest)) {
            (None, Some(reason)) => Err(Error::Module { module: self.order.name.clone(), reason }),
            (there, _) => Ok(there),
        }
    }

    /// Serves an order for the best code, for which nobody waits; unless somebody is at it.
    fn best(&mut self, given: Given) -> Result<()> {
        match locks::module(&self.places.locks, given.digest(), Duration::ZERO)? {
            Some(free) => drop(free),
            None => return Ok(()),
        }
        self.improve(given)
    }

    /// Compiles the module again for the best code, with what the others leave. Nobody is told.
    fn improve(&mut self, given: Given) -> Result<()> {
        // One that has the usual weight is a compile all the same.
        self.cgroup = Compilers::join_later().ok().or(self.cgroup.take());
        let Some(_lock) = locks::module(&self.places.locks, given.digest(), LONGEST_QUEUE)? else { return Ok(()) };
        let there = self.store.as_ref().and_then(|store| store.artifact(given.digest()));
        let refused = self.store.as_ref().and_then(|store| store.refusal(given.digest()));
        if matches!(there, Some((_, Tier::Best))) || refused.is_some() {
            return Ok(());
        }
        // Not one that a start waits for.
        let _slot = self.slot(&self.places.slots.join("later"), 1)?;
        let module = given.read(&self.order.name, &mut self.warnings)?;
        self.compile(&module, Tier::Best).map(drop)
    }

    fn compile(&mut self, module: &Sealed, tier: Tier) -> Result<File> {
        if let Some(store) = &self.store {
            store.sweep();
            let new = store.create();
            match new {
                Ok(new) => match self.verdict(module, &new.file, tier)? {
                    Verdict::Output(reason) => self.uncached(&reason),
                    verdict => {
                        self.made(module, verdict)?;
                        match self.publish(new, module, tier) {
                            Ok(artifact) => return Ok(artifact),
                            Err(e) => self.uncached(&e.to_string()),
                        }
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
            // For its own memory or another compile's: nothing to remember of this module.
            Verdict::Failed(_) if killed() > before => {
                Verdict::Failed("the node ran out of the memory that it gives to compiles: try again".to_owned())
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
