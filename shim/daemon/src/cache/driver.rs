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
use std::path::PathBuf;
use std::time::{Duration, Instant};

use catamaran_worker::compiler::Tier;

use super::asker::Asker;
use super::given::Given;
use super::locks::{self, Held, Turn, Until};
use super::order::{Answer, Order, Wish};
use super::outcome::{Fresh, Outcome};
use super::places::{Part, Places};
use super::queue::Queue;
use super::shares::{self, Bounds, Full};
use super::store::Known;
use super::{Counter, Origin};
use crate::cgroup::Compilers;
use crate::engine::Engine;
use crate::error::{Doing, Error, Result};
use crate::image::Found;

/// What the shim's executable is to do to be a driver.
pub(crate) const ACTION: &str = "compile";
/// So long an order waits for a slot.
const LONGEST_QUEUE: Duration = Duration::from_secs(600);
/// For nobody to read.
const UNWANTED: &str = "whoever asked for it is gone";
/// A module that is smaller is compiled by the optimiser at once: it takes less than a tenth of a second.
const WORTH_TWO: u64 = 512 << 10;

/// Orders for which starts wait, each a driver of a megabyte: as many of one namespace as a node has pods, which may all be of
/// one new image.
const ORDERS: Bounds = Bounds { own: 256, total: 768, least: 4 };
/// Drivers that make better code, or wait for their turn to.
const IMPROVEMENTS: Bounds = Bounds { own: 64, total: 256, least: 4 };
/// Between two looks whether an artifact was taken over: it wakes up when it was.
const LONG: Duration = Duration::from_secs(3600);

/// The `compile` action: serves the order on standard input.
pub(crate) fn run() -> Result<()> {
    let doing = || "receiving an order for the compile driver".to_owned();
    // Whoever opens an entry that is looked at by a lease would end this process by a signal.
    nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGIO).thread_block().doing(doing)?;
    // Its own: what ends the shim's session or group does not end a compile.
    let _ = nix::unistd::setsid();
    let asker = Asker::of_this_process()?;
    let (order, mut files) = asker.order()?;
    let mut warnings = Vec::new();
    if let Err(e) = std::fs::write("/proc/self/oom_score_adj", "1000") {
        warnings.push(format!("oom_score_adj of a compile stays as it is: {e}"));
    }
    let places = match Places::find() {
        Ok(places) => places,
        Err(e) => return asker.answer(&Answer::Failed(e.to_string()), None),
    };
    let mut driver = Driver { order, asker, places, counted: None, cgroup: None, warnings, missed: false };
    if let (Wish::Best, Some(engine)) = (driver.order.wish, driver.order.engines.first().copied()) {
        let improved = match driver.given(files.pop().map(File::from)) {
            Ok(Ok(given)) => driver.improve(engine, given),
            Ok(Err(none)) => Err(driver.failed(none)),
            Err(e) => Err(e),
        };
        return driver.report(engine, improved);
    }
    let given = match driver.given(files.pop().map(File::from)) {
        Ok(Ok(given)) => given,
        Ok(Err(none)) => return driver.asker.answer(&Answer::NoLayer(none), None),
        Err(e) => return driver.asker.answer(&refusal(e), None),
    };
    match driver.serve(given) {
        Ok(made) => driver.deliver(made),
        // One that nobody waits for any more did not fail.
        Err(_) if driver.asker.leaves_within(Duration::ZERO) => Ok(()),
        Err(e) => {
            driver.count_failure(&e);
            driver.asker.answer(&refusal(e), None)
        }
    }
}

fn refusal(e: Error) -> Answer {
    match e {
        Error::Module { module, reason } => Answer::Refused { module, reason },
        Error::Declined { module, declined } => Answer::Declined { module, declined },
        Error::Compiler { reason, .. } => Answer::Failed(reason),
        e => Answer::Failed(e.to_string()),
    }
}

pub(super) struct Driver {
    pub(super) order: Order,
    asker: Asker,
    pub(super) places: Places,
    /// One of the orders that there may be, from when it may have to wait until it is answered.
    counted: Option<Held>,
    /// From the first compile on.
    pub(super) cgroup: Option<Compilers>,
    pub(super) warnings: Vec<String>,
    /// Whether it was counted that there was no artifact: once a start.
    missed: bool,
}

struct Made {
    artifact: File,
    engine: Engine,
    digest: String,
    tier: Tier,
    origin: Origin,
    uncached: Option<Held>,
    /// The module, where better code is to be made of it.
    later: Option<Given>,
}

/// What one engine came to.
enum Served {
    Made(Box<Made>),
    /// The module is another engine's: why, and the module.
    Declined(String, Given),
}

impl Driver {
    /// Becomes one of the orders that there may be, or says that there are enough.
    fn be_counted(&mut self) -> Result<()> {
        if self.counted.is_some() {
            return Ok(());
        }
        match shares::take(&self.places.orders, &self.order.owner, 1, &ORDERS) {
            Ok(Ok(held)) => self.counted = Some(held),
            Ok(Err(full)) => {
                let (whose, most) = match full {
                    Full::Own => ("of this namespace", ORDERS.own),
                    Full::Total => ("on this node", ORDERS.total),
                };
                return Err(self.failed(format!("{most} other starts {whose} wait for the compiler: try again")));
            }
            // Read-only, or full: there are no turns either.
            Err(e) => self.warnings.push(format!("orders are not counted: {e}")),
        }
        Ok(())
    }

    /// Answers, and makes better code if there is to be some.
    fn deliver(&mut self, made: Made) -> Result<()> {
        let Made { artifact, engine, digest, tier, origin, uncached, later } = made;
        let words = Answer::Made {
            module: self.order.name.clone(),
            engine,
            digest,
            layer: self.order.layer.clone(),
            tier,
            origin,
            later: later.is_some(),
            uncached: uncached.is_some(),
            warnings: std::mem::take(&mut self.warnings),
        };
        // A shim that gave up finds the artifact at the next start.
        let answered = self.asker.answer(&words, Some(&artifact));
        drop((artifact, self.counted.take()));
        if let (Ok(()), Some(_uncached)) = (answered, &uncached) {
            while !self.asker.leaves_within(LONG) {}
        }
        let Some(given) = later else { return Ok(()) };
        let improved = self.improve(engine, given);
        self.report(engine, improved)
    }

    /// Tells what came of the better code, for which nobody waits: to a line in the shim's log, if there still is one, and
    /// to the counters.
    fn report(&self, engine: Engine, improved: Result<()>) -> Result<()> {
        let mut warnings = self.warnings.clone();
        if let Err(e) = improved {
            self.count_failure(&e);
            warnings
                .push(format!("there is no better code of {} for {engine} than the fast one: {e}", self.order.name));
        }
        // The shim may be gone, with its pod.
        let _ = self.asker.answer(&Answer::Improved { warnings }, None);
        Ok(())
    }

    /// Counts what was no module's fault.
    fn count_failure(&self, e: &Error) {
        let fault = matches!(e, Error::Module { .. } | Error::Declined { .. });
        if let (false, Some(engine)) = (fault, self.order.engines.first()) {
            self.count(*engine, Counter::Failures);
        }
    }

    /// The module of the order; why there is none, in the inner error.
    fn given(&mut self, file: Option<File>) -> Result<std::result::Result<Given, String>> {
        match (&self.order.image, file) {
            (None, Some(file)) => Ok(Ok(Given::File { file, digest: self.order.digest.clone(), read: false })),
            (None, None) => Err(Error::refused("the order", "no module", "the descriptor of one")),
            (Some(image), _) => Ok(match image.find()? {
                Found::Nothing(why) => Err(why),
                Found::Layer(layer) => {
                    self.order.name = layer.name();
                    self.order.layer = Some(layer.chosen());
                    Ok(Given::Layer(layer))
                }
            }),
        }
    }

    fn part(&mut self, engine: Engine) -> Result<std::result::Result<Part, String>> {
        let warnings = &mut self.warnings;
        Part::open(&self.places, engine, |warning| warnings.push(warning))
    }

    /// Tries one engine after the other.
    fn serve(&mut self, mut given: Given) -> Result<Made> {
        let mut declined = Vec::new();
        for (index, engine) in self.order.engines.clone().into_iter().enumerate() {
            let mut part = match self.part(engine)? {
                Ok(part) => part,
                Err(missing) => {
                    declined.push((engine.word().to_owned(), missing));
                    continue;
                }
            };
            match self.serve_on(&mut part, given, index > 0)? {
                Served::Made(made) => return Ok(*made),
                Served::Declined(reason, back) => {
                    declined.push((engine.word().to_owned(), reason));
                    given = back;
                }
            }
        }
        Err(Error::Declined { module: self.order.name.clone(), declined })
    }

    /// `further` says that the module was another engine's, up to now.
    fn serve_on(&mut self, part: &mut Part, given: Given, further: bool) -> Result<Served> {
        let engine = part.engine;
        // Whoever sends a file has looked, for the first engine.
        if further || matches!(given, Given::Layer(_)) {
            match self.there(part, given.digest())? {
                Known::Artifact(artifact, tier) => {
                    return Ok(Served::found(self, engine, artifact, tier, given));
                }
                Known::OtherEngine(reason) => return Ok(Served::Declined(reason, given)),
                Known::Nothing | Known::Refused(_) => self.count_miss(part, &given),
                Known::Unverified(_) => {}
            }
        }
        self.be_counted()?;
        // Without a cache there is nothing to wait for.
        let locked = match &part.store {
            Some(_) => self.lock(engine, &given).map(Some),
            None => Ok(None),
        };
        let _lock = match locked {
            Ok(Some(Turn::TooLate)) => {
                return Err(self.failed(format!("others compile it since {LONGEST_QUEUE:?}: try again")));
            }
            Ok(Some(Turn::Unwanted)) => return Err(self.failed(UNWANTED.to_owned())),
            Ok(Some(Turn::Came(held))) => Some(held),
            Ok(None) => None,
            Err(e) => {
                // Read-only, or full: there is nobody to wait for.
                if let Known::Unverified(tier) = self.there(part, given.digest())?
                    && let Ok(Some(artifact)) = self.verified(part, given.digest(), tier)
                {
                    return Ok(Served::found(self, engine, artifact, tier, given));
                }
                self.uncached(&e.to_string());
                part.store = None;
                None
            }
        };
        match self.there(part, given.digest())? {
            Known::Artifact(artifact, tier) => {
                return Ok(Served::shared(engine, artifact, tier, &given));
            }
            Known::OtherEngine(reason) => return Ok(Served::Declined(reason, given)),
            Known::Unverified(tier) => {
                if let Some(artifact) = self.verified(part, given.digest(), tier)? {
                    return Ok(Served::found(self, engine, artifact, tier, given));
                }
            }
            Known::Nothing | Known::Refused(_) => {}
        }
        self.compile_given(part, given)
    }

    /// Compiles the module, whose lock is held, when its turn comes.
    fn compile_given(&mut self, part: &mut Part, mut given: Given) -> Result<Served> {
        let engine = part.engine;
        if self.cgroup.is_none() {
            self.cgroup = Compilers::join()
                .inspect_err(|e| self.warnings.push(format!("compiles have no cgroup of their own: {e}")))
                .ok();
        }
        let slot = match self.slot(part, self.places.slots.clone(), slots(), &given) {
            Err(e) => {
                self.uncached(&e.to_string());
                part.store = None;
                None
            }
            Ok(None) => None,
            Ok(Some(Turn::Came(slot))) => Some(slot),
            Ok(Some(Turn::TooLate)) => {
                return Err(self.failed(format!("the node compiled others for {LONGEST_QUEUE:?}: try again")));
            }
            Ok(Some(Turn::Unwanted)) => return Err(self.failed(UNWANTED.to_owned())),
        };
        // Another owner's order for it may have had its turn meanwhile.
        match self.there(part, given.digest())? {
            Known::Artifact(artifact, tier) => return Ok(Served::shared(engine, artifact, tier, &given)),
            Known::OtherEngine(reason) => return Ok(Served::Declined(reason, given)),
            Known::Unverified(_) | Known::Nothing | Known::Refused(_) => {}
        }
        let module = self.read(part, &mut given)?;
        let size = module.bytes.metadata().on("the module's bytes")?.len();
        let fast = self.order.wish == Wish::Any && size >= WORTH_TWO && part.store.is_some();
        let tier = if fast { Tier::Fast } else { Tier::Best };
        let begin = Instant::now();
        let Fresh { artifact, uncached } = match self.compile(part, &module, tier, true)? {
            Outcome::Made(fresh) => fresh,
            // The bytes go: what is done next may have to wait.
            Outcome::Declined(reason) => return Ok(Served::Declined(reason, given)),
        };
        drop(slot);
        let origin = Origin::Compiled(begin.elapsed().as_millis() as u64);
        let later = (fast && uncached.is_none()).then_some(given);
        Ok(Served::made(Made { artifact, engine, digest: module.digest, tier, origin, uncached, later }))
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

    fn until(&self) -> Until<'_> {
        Until { limit: LONGEST_QUEUE, asker: &self.asker }
    }

    /// The module's lock, which is one of each owner's.
    fn lock(&self, engine: Engine, given: &Given) -> Result<Turn> {
        locks::module(&self.places.locks, engine, given.digest(), &self.order.owner, self.until())
    }

    /// A place among those that compile; without a cache there are no files to tell of it.
    fn slot(&self, part: &Part, folder: PathBuf, count: usize, given: &Given) -> Result<Option<Turn>> {
        if part.store.is_none() {
            return Ok(None);
        }
        Queue::new(folder, count, &self.order.owner, given.digest()).slot(self.until()).map(Some)
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

    /// Compiles the module again for the best code, with what the others leave; unless somebody is at it, or there are too many.
    /// Not under the lock that a start takes: if the fast code is evicted meanwhile, the next start makes its own and waits for
    /// nobody here. What comes to nothing is ordered again by the next start that uses the fast code.
    fn improve(&mut self, engine: Engine, mut given: Given) -> Result<()> {
        let Ok(part) = self.part(engine)? else { return Ok(()) };
        // One that has the usual weight is a compile all the same.
        self.cgroup = Compilers::join_later().ok().or(self.cgroup.take());
        let (places, owner) = (&self.places, &self.order.owner);
        let Ok(_counted) = shares::take(&places.improvements, owner, 1, &IMPROVEMENTS)? else { return Ok(()) };
        let Some(_lock) = locks::later(&places.locks, engine, given.digest(), owner)? else { return Ok(()) };
        // Not one that a start waits for.
        let _slot = match self.slot(&part, places.slots.join("later"), 1, &given)? {
            Some(Turn::Came(slot)) => slot,
            Some(Turn::TooLate) => {
                return Err(self.failed(format!("the node compiled others for {LONGEST_QUEUE:?}")));
            }
            Some(Turn::Unwanted) | None => return Ok(()),
        };
        match part.look_up(given.digest()) {
            Known::Artifact(_, Tier::Best) | Known::Refused(_) | Known::OtherEngine(_) => return Ok(()),
            Known::Artifact(_, Tier::Fast) | Known::Unverified(_) | Known::Nothing => {}
        }
        let module = self.read(&part, &mut given)?;
        match self.compile(&part, &module, Tier::Best, false)? {
            Outcome::Made(_) => Ok(()),
            Outcome::Declined(reason) => Err(self.failed(format!("{engine} leaves it to another engine: {reason}"))),
        }
    }
}

impl Served {
    fn made(made: Made) -> Self {
        Served::Made(Box::new(made))
    }

    /// What another order has made meanwhile.
    fn shared(engine: Engine, artifact: File, tier: Tier, given: &Given) -> Self {
        let digest = given.digest().to_owned();
        Self::made(Made { artifact, engine, digest, tier, origin: Origin::Shared, uncached: None, later: None })
    }

    /// An artifact from before, counted.
    fn found(driver: &Driver, engine: Engine, artifact: File, tier: Tier, given: Given) -> Self {
        driver.count(engine, Counter::Hits);
        let digest = given.digest().to_owned();
        let later = (tier == Tier::Fast).then_some(given);
        Self::made(Made { artifact, engine, digest, tier, origin: Origin::Hit, uncached: None, later })
    }
}

/// As many compiles at a time as leave half of the processors to the pods; each uses all that it gets.
fn slots() -> usize {
    std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1))
}
