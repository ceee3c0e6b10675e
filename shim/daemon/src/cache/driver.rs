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
use std::path::PathBuf;
use std::time::{Duration, Instant};

use catamaran_worker::compiler::Tier;
use catamaran_worker::control;

use super::given::Given;
use super::locks::{self, Held};
use super::make::Outcome;
use super::order::{Answer, Order, Wish};
use super::places::{Part, Places};
use super::queue::Queue;
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
    if let (Wish::Best, Some(engine)) = (driver.order.wish, driver.order.engines.first().copied()) {
        let improved = driver.improve(engine, given);
        return driver.report(&control, engine, improved);
    }
    match driver.serve(given) {
        Ok(made) => {
            let engine = made.engine;
            let words = Answer::Made {
                module: driver.order.name.clone(),
                engine,
                digest: made.digest,
                layer: driver.order.layer.clone(),
                tier: made.tier,
                origin: made.origin,
                later: made.later.is_some(),
                warnings: std::mem::take(&mut driver.warnings),
            };
            // A shim that gave up finds the artifact at the next start.
            let _ = answer(&control, &words, Some(&made.artifact));
            drop(made.artifact);
            let Some(given) = made.later else { return Ok(()) };
            let improved = driver.improve(engine, given);
            driver.report(&control, engine, improved)
        }
        Err(e) => {
            driver.count_failure(&e);
            answer(&control, &refusal(e), None)
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

fn answer(control: &OwnedFd, words: &Answer, artifact: Option<&File>) -> Result<()> {
    let artifact = artifact.map(AsFd::as_fd);
    control::send_with(control.as_fd(), words, artifact.as_slice()).doing(|| "answering the shim".to_owned())
}

pub(super) struct Driver {
    pub(super) order: Order,
    pub(super) places: Places,
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
    fn new(order: Order, warnings: Vec<String>) -> Result<Self> {
        Ok(Self { order, places: Places::find()?, cgroup: None, warnings, missed: false })
    }

    /// Tells what came of the better code, for which nobody waits: to a line in the shim's log, if there still is one, and
    /// to the counters.
    fn report(&self, control: &OwnedFd, engine: Engine, improved: Result<()>) -> Result<()> {
        let mut warnings = self.warnings.clone();
        if let Err(e) = improved {
            self.count_failure(&e);
            warnings
                .push(format!("there is no better code of {} for {engine} than the fast one: {e}", self.order.name));
        }
        // The shim may be gone, with its pod.
        let _ = answer(control, &Answer::Improved { warnings }, None);
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
            (None, Some(file)) => Ok(Ok(Given::File { file, digest: self.order.digest.clone() })),
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
                    declined.push((engine, missing));
                    continue;
                }
            };
            match self.serve_on(&mut part, given, index > 0)? {
                Served::Made(made) => return Ok(*made),
                Served::Declined(reason, back) => {
                    declined.push((engine, reason));
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
        // Without a cache there is nothing to wait for.
        let locked = match &part.store {
            Some(_) => self.lock(engine, &given).map(Some),
            None => Ok(None),
        };
        let _lock = match locked {
            Ok(Some(None)) => {
                return Err(self.failed(format!("others compile it since {LONGEST_QUEUE:?}: try again")));
            }
            Ok(held) => held.flatten(),
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
    fn compile_given(&mut self, part: &mut Part, given: Given) -> Result<Served> {
        let engine = part.engine;
        if self.cgroup.is_none() {
            self.cgroup = Compilers::join()
                .inspect_err(|e| self.warnings.push(format!("compiles have no cgroup of their own: {e}")))
                .ok();
        }
        let slot = match self.slot(part, self.places.slots.clone(), slots()) {
            Err(e @ Error::Compiler { .. }) => return Err(e),
            Err(e) => {
                self.uncached(&e.to_string());
                part.store = None;
                None
            }
            Ok(slot) => slot,
        };
        // Another owner's order for it may have had its turn meanwhile.
        match self.there(part, given.digest())? {
            Known::Artifact(artifact, tier) => return Ok(Served::shared(engine, artifact, tier, &given)),
            Known::OtherEngine(reason) => return Ok(Served::Declined(reason, given)),
            Known::Unverified(_) | Known::Nothing | Known::Refused(_) => {}
        }
        let module = self.read(part, given)?;
        let size = module.bytes.metadata().on("the module's bytes")?.len();
        let fast = self.order.wish == Wish::Any && size >= WORTH_TWO && part.store.is_some();
        let tier = if fast { Tier::Fast } else { Tier::Best };
        let begin = Instant::now();
        let artifact = match self.compile(part, &module, tier)? {
            Outcome::Made(artifact) => artifact,
            Outcome::Declined(reason) => return Ok(Served::Declined(reason, Given::Bytes(module))),
        };
        drop(slot);
        let origin = Origin::Compiled(begin.elapsed().as_millis() as u64);
        let digest = module.digest.clone();
        let later = fast.then_some(Given::Bytes(module));
        Ok(Served::made(Made { artifact, engine, digest, tier, origin, later }))
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

    /// The module's lock, which is one of each owner's.
    fn lock(&self, engine: Engine, given: &Given) -> Result<Option<Held>> {
        locks::module(&self.places.locks, engine, given.digest(), &self.order.owner, LONGEST_QUEUE)
    }

    /// A place among those that compile; without a cache there are no files to tell of it.
    fn slot(&self, part: &Part, folder: PathBuf, count: usize) -> Result<Option<Held>> {
        if part.store.is_none() {
            return Ok(None);
        }
        match Queue::new(folder, count, &self.order.owner).slot(LONGEST_QUEUE)? {
            None => Err(self.failed(format!("the node compiled others for {LONGEST_QUEUE:?}: try again"))),
            held => Ok(held),
        }
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

    /// Compiles the module again for the best code, with what the others leave; unless somebody is at it. Not under the lock
    /// that a start takes: if the fast code is evicted meanwhile, the next start makes its own and waits for nobody here.
    fn improve(&mut self, engine: Engine, given: Given) -> Result<()> {
        let Ok(part) = self.part(engine)? else { return Ok(()) };
        // One that has the usual weight is a compile all the same.
        self.cgroup = Compilers::join_later().ok().or(self.cgroup.take());
        let (locks, owner) = (&self.places.locks, &self.order.owner);
        let Some(_lock) = locks::later(locks, engine, given.digest(), owner)? else { return Ok(()) };
        // Not one that a start waits for.
        let _slot = self.slot(&part, self.places.slots.join("later"), 1)?;
        match part.look_up(given.digest()) {
            Known::Artifact(_, Tier::Best) | Known::Refused(_) | Known::OtherEngine(_) => return Ok(()),
            Known::Artifact(_, Tier::Fast) | Known::Unverified(_) | Known::Nothing => {}
        }
        let module = self.read(&part, given)?;
        match self.compile(&part, &module, Tier::Best)? {
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
        Self::made(Made { artifact, engine, digest, tier, origin: Origin::Shared, later: None })
    }

    /// An artifact from before, counted.
    fn found(driver: &Driver, engine: Engine, artifact: File, tier: Tier, given: Given) -> Self {
        driver.count(engine, Counter::Hits);
        let digest = given.digest().to_owned();
        let later = (tier == Tier::Fast).then_some(given);
        Self::made(Made { artifact, engine, digest, tier, origin: Origin::Hit, later })
    }
}

/// As many compiles at a time as leave half of the processors to the pods; each uses all that it gets.
fn slots() -> usize {
    std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1))
}
