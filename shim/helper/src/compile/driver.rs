//! The compile driver: a process for one order, so that a compile outlives the pod that asked for it and uses none of the shim's memory.
//!
//! ```text
//! order -> lock the module -> in the cache by now? -> cgroup -> slot of its lane -> read the module -> compile -> publish -> answer
//!                                             the same again for the best code, if the first code was fast <-'
//! ```
//!
//! If the module is a layer of the container's image, the driver looks up the layer, but reads it only once it holds the lock and compiles.
//! It answers at once if the cache has the artifact.
//!
//! The driver keeps root's rights, because only root owns the cache's files. Only the compile process parses the module's bytes.

use std::fs::File;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use catamaran_cache::counters::Counter;
use catamaran_cache::order::{Answer, Order, Origin, Wish, awaited};
use catamaran_cache::places::{Installed, Part, Places};
use catamaran_cache::store::{Kind, Known};
use catamaran_cache::target::{Target, Untried};
use catamaran_cgroup::Compilers;
use catamaran_host::programs::Program;
use catamaran_worker::compiler::Tier;

use super::asker::Asker;
use super::given::Given;
use super::lane::Lane;
use super::locks::{self, Lock, Turn, Until};
use super::outcome::{Fresh, Outcome};
use super::queue::Queue;
use super::served::{Look, Made, Served, Sought};
use super::shares::{self, Bounds, Full, Share};
use crate::error::{Doing, Error, Result};
use crate::image::{self, Found};

/// The longest time that an order waits, for the module's lock and for a slot each.
const LONGEST_QUEUE: Duration = Duration::from_secs(600);
/// The error of an order whose asker is gone. Nobody reads it.
const UNWANTED: &str = "the start that asked for it is gone";

/// The bounds on orders that starts wait for; each has a driver process of a megabyte. One namespace may have as many as a node has pods,
/// because all of these may have one new image.
const ORDERS: Bounds = Bounds { own: 256, total: 768, least: 4 };
/// The bounds on drivers that make better code or wait for their turn.
const IMPROVEMENTS: Bounds = Bounds { own: 64, total: 256, least: 4 };
/// How long the driver waits at a time for the shim to take over uncached code. The shim's close wakes it earlier.
const LONG: Duration = Duration::from_secs(3600);

/// The `compile` action: serves the order on standard input.
pub(crate) fn run() -> Result<()> {
    let doing = || "receiving an order for the compile driver".to_owned();
    // A process that opens an entry while this one has a lease on it would kill this one by a signal otherwise.
    nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGIO).thread_block().doing(doing)?;
    // A session of its own, so that a signal to the shim's session or group ends no compile.
    let _ = nix::unistd::setsid();
    let asker = Asker::from_stdin()?;
    let (order, mut files) = match asker.order() {
        Ok(received) => received,
        // The order is another version's. Its shim reads only the version of this answer, and reports that.
        Err(e) => return asker.answer(&Answer::Failed(e.to_string()), None),
    };
    let given = order.programs.len().min(files.len());
    for ((name, path), descriptor) in order.programs.iter().zip(files.drain(..given)) {
        Program::give(name, path.clone(), descriptor)?;
    }
    let mut warnings = Vec::new();
    if let Err(e) = std::fs::write("/proc/self/oom_score_adj", "1000") {
        warnings.push(format!("oom_score_adj of a compile cannot be set to 1000: {e}"));
    }
    let places = match Places::find() {
        Ok(places) => places,
        Err(e) => return asker.answer(&Answer::Failed(e.to_string()), None),
    };
    let mut driver = Driver { order, asker, places, counted: None, cgroup: None, warnings };
    if let (Wish::Best, Some(target)) = (driver.order.wish, driver.order.targets.first().copied()) {
        let improved = match driver.given(files.pop().map(File::from)) {
            Ok(Sought::Module(given)) => driver.improve(target, given),
            Ok(Sought::Nothing(why)) => Err(driver.failed(why)),
            Err(e) => Err(e),
        };
        return driver.report(target, improved);
    }
    let given = match driver.given(files.pop().map(File::from)) {
        Ok(Sought::Module(given)) => given,
        Ok(Sought::Nothing(why)) => return driver.asker.answer(&Answer::NoLayer(why), None),
        Err(e) => return driver.asker.answer(&refusal(e), None),
    };
    match driver.serve(given) {
        Ok(made) => driver.deliver(made),
        // An order whose asker is gone does not count as failed.
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
    /// The order's share of [`ORDERS`], held from before the first wait until the answer.
    counted: Option<Lock>,
    /// Set before the first compile, if the driver could join.
    pub(super) cgroup: Option<Compilers>,
    pub(super) warnings: Vec<String>,
}

impl Driver {
    /// Takes a share of [`ORDERS`]. Fails if they are used up.
    fn be_counted(&mut self) -> Result<()> {
        if self.counted.is_some() {
            return Ok(());
        }
        match shares::take(&self.places.orders, &self.order.tenant, 1, &ORDERS) {
            Ok(Share::Taken(held)) => self.counted = Some(held),
            Ok(Share::Full(full)) => {
                let (whose, most) = match full {
                    Full::Own => ("of this namespace", ORDERS.own),
                    Full::Total => ("on this node", ORDERS.total),
                };
                return Err(self.failed(format!("{most} other starts {whose} wait for the compiler: try again")));
            }
            // The disk is read-only or full, so orders are neither counted nor queued.
            Err(e) => self.warnings.push(format!("orders are not counted: {e}")),
        }
        Ok(())
    }

    /// Answers, and then makes better code if the answer was fast code.
    fn deliver(&mut self, made: Made) -> Result<()> {
        let Made { artifact, target, digest, kind, origin, uncached, functions, later } = made;
        let words = Answer::Made {
            module: self.order.name.clone(),
            target,
            digest: digest.clone(),
            layer: self.order.layer.clone(),
            tier: kind.tier,
            origin,
            later: later.is_some(),
            uncached: uncached.is_some(),
            warnings: std::mem::take(&mut self.warnings),
        };
        // If the shim has given up, the next start finds the artifact.
        let answered = self.asker.answer(&words, Some(&artifact));
        drop(self.counted.take());
        if matches!(origin, Origin::Compiled(_))
            && let Installed::Part(part) = self.part(target)?
        {
            if let Err(e) = self.sync(&part, &artifact, &digest, kind) {
                self.count_failure(&e);
                self.warnings.push(format!(
                    "the disk refused the artifact of {}, so the next start compiles it again: {e}",
                    self.order.name
                ));
            }
            if let Some(functions) = functions
                && let Err(e) = self.keep_functions(&part, functions, &digest, kind.tier)
            {
                self.warnings.push(format!("the functions of {} were not kept: {e}", self.order.name));
            }
        }
        drop(artifact);
        if let (Ok(()), Some(_uncached)) = (answered, &uncached) {
            while !self.asker.leaves_within(LONG) {}
        }
        let Some(given) = later else { return Ok(()) };
        let improved = self.improve(target, given);
        self.report(target, improved)
    }

    /// Reports the result of making better code, for which nobody waits: to the counters, and to the shim's log if the shim still runs.
    fn report(&self, target: Target, improved: Result<()>) -> Result<()> {
        let mut warnings = self.warnings.clone();
        if let Err(e) = improved {
            self.count_failure(&e);
            warnings.push(format!(
                "better code of {} for {target} was not made, the fast code stays: {e}",
                self.order.name
            ));
        }
        // The shim may be gone with its pod.
        let _ = self.asker.answer(&Answer::Improved { warnings }, None);
        Ok(())
    }

    /// Counts a failure that is not the module's fault.
    fn count_failure(&self, e: &Error) {
        let fault = matches!(e, Error::Module { .. } | Error::Declined { .. });
        if let (false, Some(target)) = (fault, self.order.targets.first()) {
            self.count(target.engine(), Counter::Failures);
        }
    }

    /// Returns the order's module, or the reason why the image has none.
    fn given(&mut self, file: Option<File>) -> Result<Sought> {
        match (&self.order.image, file) {
            (None, Some(file)) => {
                Ok(Sought::Module(Given::File { file, digest: self.order.digest.clone(), read: false }))
            }
            (None, None) => Err(Error::refused(
                "the order to compile",
                "neither a module nor an image",
                "send the module's descriptor with it",
            )),
            (Some(image), _) => Ok(match image::find(image)? {
                Found::Nothing(why) => Sought::Nothing(why),
                Found::Layer(layer) => {
                    self.order.name = layer.name();
                    self.order.layer = Some(layer.chosen());
                    Sought::Module(Given::Layer(layer))
                }
            }),
        }
    }

    fn part(&mut self, target: Target) -> Result<Installed> {
        let warnings = &mut self.warnings;
        Ok(Part::open(&self.places, target, &self.order.tenant, |warning| warnings.push(warning))?)
    }

    /// Tries one target after the other.
    fn serve(&mut self, mut given: Given) -> Result<Made> {
        let mut untried = Untried::new(&self.order.targets);
        let first = untried.next();
        let mut declined = Vec::new();
        while let Some(target) = untried.next() {
            let mut part = match self.part(target)? {
                Installed::Part(part) => part,
                Installed::Missing(missing) => {
                    declined.push((target.engine().word().to_owned(), missing));
                    untried.decline();
                    continue;
                }
            };
            match self.serve_on(&mut part, given, Some(target) != first)? {
                Served::Made(made) => return Ok(*made),
                Served::Declined(reason, back) => {
                    declined.push((target.engine().word().to_owned(), reason));
                    untried.decline();
                    given = back;
                }
                Served::OtherWorld(world, reason, back) => {
                    if !untried.keep(world) {
                        return Err(Error::Module { module: self.order.name.clone(), reason });
                    }
                    given = back;
                }
            }
        }
        Err(Error::Declined { module: self.order.name.clone(), declined })
    }

    /// Serves the order for one target. `further` is true after the first target.
    fn serve_on(&mut self, part: &mut Part, given: Given, further: bool) -> Result<Served> {
        // A shim that sends a file has already looked up the first target.
        let given = match further || matches!(given, Given::Layer(_)) {
            true => match self.look(part, given, Look::First)? {
                ControlFlow::Break(served) => return Ok(served),
                ControlFlow::Continue(given) => given,
            },
            false => given,
        };
        self.be_counted()?;
        // Without a cache no lock is needed: another driver's artifact could not be shared.
        let locked = match &part.store {
            Some(_) => self.lock(part.target, &given).map(Some),
            None => Ok(None),
        };
        let (_lock, look) = match locked {
            Ok(Some(Turn::TooLate)) => {
                return Err(
                    self.failed(format!("another start has been compiling it for {LONGEST_QUEUE:?}: try again"))
                );
            }
            Ok(Some(Turn::Unwanted)) => return Err(self.failed(UNWANTED.to_owned())),
            Ok(Some(Turn::Came(held))) => (Some(held), Look::Locked),
            Ok(None) => (None, Look::Locked),
            // The disk is read-only or full, so there are no locks.
            Err(e) => (None, Look::Unlocked(e.to_string())),
        };
        let given = match self.look(part, given, look)? {
            ControlFlow::Break(served) => return Ok(served),
            ControlFlow::Continue(given) => given,
        };
        self.compile_given(part, given)
    }

    /// Compiles the module when its turn comes. The caller holds the module's lock.
    fn compile_given(&mut self, part: &mut Part, given: Given) -> Result<Served> {
        self.join();
        let bytes = given.bytes()?;
        let lane = Lane::awaited(self.tier(part, bytes), bytes);
        let slot = match self.slot(part, lane, &given) {
            Err(e) => {
                self.uncached(&e.to_string());
                part.store = None;
                None
            }
            Ok(None) => None,
            Ok(Some(Turn::Came(slot))) => Some(slot),
            Ok(Some(Turn::TooLate)) => {
                return Err(self.failed(format!(
                    "the node compiled other modules for {LONGEST_QUEUE:?} before its turn: try again"
                )));
            }
            Ok(Some(Turn::Unwanted)) => return Err(self.failed(UNWANTED.to_owned())),
        };
        // Another tenant's order for the module may have had its turn meanwhile.
        let mut given = match self.look(part, given, Look::Turned)? {
            ControlFlow::Break(served) => return Ok(served),
            ControlFlow::Continue(given) => given,
        };
        let module = self.read(part, &mut given)?;
        let size = module.bytes.metadata().on("the module's bytes")?.len();
        let tier = self.tier(part, size);
        if slot.is_some() && Lane::awaited(tier, size) > lane {
            return Err(self.failed(format!(
                "the file changed from {bytes} to {size} bytes while it waited for the compiler: try again"
            )));
        }
        let cached = part.store.is_some();
        let begin = Instant::now();
        let Fresh { artifact, kind, functions, uncached } = match self.compile(part, &module, tier, true)? {
            Outcome::Made(fresh) => fresh,
            // Returning drops the module's bytes, because the next target may have to wait.
            Outcome::Declined(reason) => return Ok(Served::Declined(reason, given)),
            Outcome::OtherWorld(world, reason) => return Ok(Served::OtherWorld(world, reason, given)),
        };
        drop(slot);
        let origin = Origin::Compiled(begin.elapsed().as_millis() as u64);
        let later = (tier == Tier::Fast && cached && uncached.is_none()).then_some(given);
        let (target, digest) = (part.target, module.digest);
        Ok(Served::made(Made { artifact, target, digest, kind, origin, uncached, functions, later }))
    }

    /// Moves this process into the cgroup of compiles that starts wait for, once.
    fn join(&mut self) {
        if self.cgroup.is_none() {
            self.cgroup = Compilers::join()
                .inspect_err(|e| self.warnings.push(format!("compiles have no cgroup of their own: {e}")))
                .ok();
        }
    }

    /// Returns the tier to compile for a start, for a module of `bytes` bytes.
    fn tier(&self, part: &Part, bytes: u64) -> Tier {
        match awaited(self.order.tier, part.target, bytes) {
            // `Wish::Again` gets the best code. Without a cache the best code is made too, unless the pod asks for a tier: fast code would
            // serve one start alone.
            Tier::Fast if self.order.wish == Wish::Any && (part.store.is_some() || self.order.tier.is_some()) => {
                Tier::Fast
            }
            _ => Tier::Best,
        }
    }

    fn until(&self) -> Until<'_> {
        Until { limit: LONGEST_QUEUE, asker: &self.asker }
    }

    /// Takes this tenant's lock for the module.
    fn lock(&self, target: Target, given: &Given) -> Result<Turn> {
        locks::module(&self.places.locks, target, given.digest(), &self.order.tenant, self.until())
    }

    /// Takes a slot of this lane. Returns None without a cache, because slots are files in it.
    fn slot(&self, part: &Part, lane: Lane, given: &Given) -> Result<Option<Turn>> {
        if part.store.is_none() {
            return Ok(None);
        }
        let folder = lane.folder(&self.places.slots);
        Queue::new(folder, lane.slots(), &self.order.tenant, given.digest()).slot(self.until()).map(Some)
    }

    /// Compiles the module again for the best code, in a process of the lowest weight. Returns early if another driver makes that code, or
    /// too many drivers make better code. Does not take the lock that a start takes: if the fast code is evicted meanwhile, the next start
    /// compiles without waiting for this. After a failure, the next start that uses the fast code orders better code again.
    fn improve(&mut self, target: Target, mut given: Given) -> Result<()> {
        let Installed::Part(part) = self.part(target)? else { return Ok(()) };
        // Joined before any lock of the cache is taken: what started this driver may have too low a weight to hold one.
        self.join();
        let (places, tenant) = (&self.places, &self.order.tenant);
        let Share::Taken(_counted) = shares::take(&places.improvements, tenant, 1, &IMPROVEMENTS)? else {
            return Ok(());
        };
        let Some(_lock) = locks::later(&places.locks, target, given.digest(), tenant)? else { return Ok(()) };
        // A slot of the lane that no start waits for.
        let _slot = match self.slot(&part, Lane::Later, &given)? {
            Some(Turn::Came(slot)) => slot,
            Some(Turn::TooLate) => {
                return Err(
                    self.failed(format!("the node compiled other modules for {LONGEST_QUEUE:?} before its turn"))
                );
            }
            Some(Turn::Unwanted) | None => return Ok(()),
        };
        match part.look_up(given.digest()) {
            Known::Artifact(_, Kind { tier: Tier::Best, .. })
            | Known::Refused(_)
            | Known::OtherEngine(_)
            | Known::OtherWorld(..) => return Ok(()),
            Known::Artifact(..) | Known::Unverified(_) | Known::Nothing => {}
        }
        let module = self.read(&part, &mut given)?;
        match self.compile(&part, &module, Tier::Best, false)? {
            Outcome::Made(made) => self.sync(&part, &made.artifact, &module.digest, made.kind),
            Outcome::Declined(reason) | Outcome::OtherWorld(_, reason) => {
                Err(self.failed(format!("the compiler for {target} declines it: {reason}")))
            }
        }
    }
}
