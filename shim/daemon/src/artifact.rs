//! Looks up a module's machine code by the digest of the module's bytes, and has new modules compiled.
//!
//! ```text
//! shim                                   compile driver (one process an order)      compile process
//! module -> digest (memo, or hashed)
//!    |-- entry there ---> artifact
//!    '-- order, file -------------------> sealed copy, hashed, locks -------------> no rights: module in,
//!        artifact <---------------------- published, or kept in memory <----------- artifact or refusal out
//!
//! image --- order -----------------------> its layer's digest, asked of containerd; for an exec the digest from Create
//!        artifact <----------------------- entry there, or the layer read and all of the above
//! ```
//!
//! If a module is not for the first target (but for another engine, or a server), the next target is tried. The compile process finds that
//! out, and the cache keeps it like a refusal.
//!
//! The shim itself only reads digests and opens files. A cache that cannot be used costs time and a line in the log, and never refuses a
//! container.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use catamaran_cache::counters::{self, Count, Counter};
use catamaran_cache::error::Declined;
use catamaran_cache::image::{Chosen, Image};
use catamaran_cache::module::{Largest, Module, Wanted};
use catamaran_cache::order::{Answer, Order, Origin, Purpose, Wish, awaited};
use catamaran_cache::places::{Installed, Part, Places, environment};
use catamaran_cache::store::Known;
use catamaran_cache::target::{self, Target, Untried};
use catamaran_files::search::nowhere;
use catamaran_host::child;
use catamaran_host::errand::{self, Conversation};
use catamaran_host::programs::{self, Program};
use catamaran_host::readable::readable;
use catamaran_worker::compiler::Tier;
use catamaran_worker::{control, version};
use log::warn;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::{Doing, Error, Result};

/// The longest wait for a driver's answer, longer than all limits of the driver's own: a slower driver was stopped by a signal, or hangs
/// in a dead volume.
const LONGEST_ORDER: Duration = Duration::from_secs(1800);
/// The name of a module in a layer, until the driver has found the layer.
const LAYER: &str = "the image's layer";

/// Machine code for a worker.
pub(crate) struct Artifact {
    pub(crate) file: File,
    pub(crate) code: Code,
    /// Kept until the worker has the code: until then the driver counts an artifact that is not in the cache.
    pub(crate) counted: Option<Counted>,
}

/// The socket whose closing tells a driver that a worker has taken over its artifact.
pub(crate) struct Counted {
    _control: AsyncFd<OwnedFd>,
}

/// Describes an artifact: its module and its kind of machine code.
pub(crate) struct Code {
    /// The engine that runs the code, and the kind of its program.
    pub(crate) target: Target,
    /// The module's name: its path in the container, or which layer of the image it is.
    pub(crate) module: String,
    /// sha256 of the module, in hexadecimal.
    pub(crate) digest: String,
    /// The layer of the container's image that the module is, if it is one.
    pub(crate) layer: Option<Chosen>,
    pub(crate) tier: Tier,
    pub(crate) origin: Origin,
    /// Whether the artifact is only in memory.
    pub(crate) uncached: bool,
}

/// Finds artifacts for one container. Tries its targets in their order.
pub(crate) struct Cache {
    targets: Vec<Target>,
    /// The tier of code that the container waits for, if the pod names one.
    tier: Option<Tier>,
    /// The container's tenant, for the order in which modules are compiled.
    tenant: String,
    largest: Largest,
    places: Places,
}

impl Cache {
    pub(crate) fn open(purpose: Purpose) -> Result<Self> {
        let Purpose { targets, tier, tenant, largest } = purpose;
        let places = Places::find()?;
        Ok(Self { targets, tier, tenant, largest, places })
    }

    /// Returns the module's machine code, from the cache or compiled now.
    pub(crate) async fn artifact(&self, wanted: &Wanted) -> Result<Artifact> {
        let Wanted::Module(module) = wanted else { return self.order(wanted, &self.targets, Wish::Any).await };
        let mut untried = Untried::new(&self.targets);
        let mut declined = Vec::new();
        while let Some(target) = untried.next() {
            let part = match Part::open(&self.places, target, &self.tenant, |warning| warn!("{warning}"))? {
                Installed::Part(part) => part,
                Installed::Missing(missing) => {
                    declined.push((target.engine().word().to_owned(), missing));
                    untried.decline();
                    continue;
                }
            };
            match part.look_up(&module.digest) {
                Known::Artifact(file, kind) if kind.tier == Tier::Best || !self.waits_for_best(target, module)? => {
                    if kind.tier == Tier::Fast {
                        self.improve(target, module);
                    }
                    let (name, digest) = (module.name.clone(), module.digest.clone());
                    return Ok(Artifact {
                        file,
                        code: Code {
                            target,
                            module: name,
                            digest,
                            layer: None,
                            tier: kind.tier,
                            origin: Origin::Hit,
                            uncached: false,
                        },
                        counted: None,
                    });
                }
                Known::Refused(reason) => return Err(Error::Module { module: module.name.clone(), reason }),
                Known::OtherEngine(reason) => {
                    declined.push((target.engine().word().to_owned(), reason));
                    untried.decline();
                }
                Known::OtherWorld(world, reason) => {
                    if !untried.keep(world) {
                        return Err(Error::Module { module: module.name.clone(), reason });
                    }
                }
                Known::Artifact(..) | Known::Unverified(_) | Known::Nothing => {
                    let made = self.order(wanted, &untried.targets(), Wish::Any).await;
                    return made.map_err(|e| with_earlier(declined, e));
                }
            }
        }
        Err(Error::Declined { module: module.name.clone(), declined })
    }

    /// Compiles the module again, because its artifact does not fit the engine.
    pub(crate) async fn compile(&self, wanted: &Wanted, target: Target) -> Result<Artifact> {
        self.order(wanted, &[target], Wish::Again).await
    }

    /// Whether the container waits for the module's best code.
    fn waits_for_best(&self, target: Target, module: &Module) -> Result<bool> {
        let bytes = module.file.metadata().on(&module.name)?.len();
        Ok(awaited(self.tier, target, bytes) == Tier::Best)
    }

    /// Counts a start whose worker is ready. Writes all counters at once, because this is the shim's only thread.
    pub(crate) fn count_start(&self, code: &Code) {
        let Code { target, tier, uncached, .. } = *code;
        let engine = target.engine();
        let counter = if code.origin == Origin::Hit { Counter::Hits } else { Counter::Misses };
        let start = Count::Start { target, tier, uncached };
        counters::add(&self.places.root, &[Count::Cache(engine, counter), start]);
    }

    /// Orders the best code, in case that the driver which made the fast code was killed since. Does nothing if that driver still works.
    fn improve(&self, target: Target, module: &Module) {
        match self.drive(&[target], Wish::Best, Some(module), None) {
            Ok(control) => match receiver(control, &module.name) {
                Ok(control) => log_better_code(control),
                Err(e) => warn!("{e}"),
            },
            Err(e) => warn!("{}: {e}", module.name),
        }
    }

    /// Starts a driver for a module, or for the layer of an image. Returns the socket on which the driver answers.
    fn drive(&self, targets: &[Target], wish: Wish, module: Option<&Module>, image: Option<&Image>) -> Result<OwnedFd> {
        let (name, digest) = module.map_or((LAYER, ""), |module| (&module.name, &module.digest));
        let doing = || format!("ordering the compilation of {name}");
        let Conversation { control, pidfd, .. } = errand::converse(programs::COMPILE, environment(), doing)?;
        // Reaped whenever it ends: the driver may run on after its answer, and longer than this shim.
        child::reap(pidfd);
        let names = target::programs(targets).into_iter();
        let programs: Vec<_> = names.filter_map(|name| Some((name, Program::open(name).ok()?))).collect();
        let order = Order {
            targets: targets.to_vec(),
            tier: self.tier,
            tenant: self.tenant.clone(),
            name: name.to_owned(),
            digest: digest.to_owned(),
            wish,
            largest: self.largest,
            image: image.cloned(),
            programs: programs.iter().map(|(name, program)| ((*name).to_owned(), program.path().to_owned())).collect(),
            layer: None,
        };
        let file = module.map(|module| module.file.as_fd());
        let descriptors: Vec<_> = programs.iter().map(|(_, program)| program.as_fd()).chain(file).collect();
        control::send_with(control.as_fd(), &order, &descriptors).doing(doing)?;
        Ok(control)
    }

    async fn order(&self, wanted: &Wanted, targets: &[Target], wish: Wish) -> Result<Artifact> {
        let (name, module, image) = match wanted {
            Wanted::Module(module) => (module.name.as_str(), Some(module), None),
            Wanted::Layer { image, .. } => (LAYER, None, Some(image)),
        };
        let failed = |reason: String| Error::Compiler { module: name.to_owned(), reason };
        let control = self.drive(targets, wish, module, image)?;
        let control = receiver(control, name)?;
        let answer = control.async_io(Interest::READABLE, |socket| control::receive_with::<Answer>(socket.as_fd()));
        let answer = tokio::time::timeout(LONGEST_ORDER, answer)
            .await
            .map_err(|_| failed(format!("the compile driver did not answer in {LONGEST_ORDER:?}")))?
            .map_err(|e| match version::other(&e) {
                Some(other) => failed(other.to_string()),
                None => failed(format!("the compile driver ended without an answer: {e}")),
            })?;
        match (answer, wanted) {
            (
                (Answer::Made { module, target, digest, layer, tier, origin, later, uncached, warnings }, mut files),
                _,
            ) if files.len() == 1 => {
                warnings.iter().for_each(|warning| warn!("{warning}"));
                let counted = match (uncached, later) {
                    (true, _) => Some(Counted { _control: control }),
                    (false, true) => {
                        log_better_code(control);
                        None
                    }
                    (false, false) => None,
                };
                let code = Code { target, module, digest, layer, tier, origin, uncached };
                Ok(Artifact { file: files.remove(0).into(), code, counted })
            }
            ((Answer::Made { .. } | Answer::Improved { .. }, _), _) => {
                Err(failed("the compile driver sent no artifact".to_owned()))
            }
            ((Answer::Refused { module, reason }, _), _) => Err(Error::Module { module, reason }),
            ((Answer::Declined { module, declined }, _), _) => Err(Error::Declined { module, declined }),
            ((Answer::NoLayer(why), _), Wanted::Layer { looked, .. }) => Err(nowhere(looked, &why).into()),
            ((Answer::Failed(reason) | Answer::NoLayer(reason), _), _) => Err(failed(reason)),
        }
    }
}

fn receiver(control: OwnedFd, name: &str) -> Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&control, true).on(name)?;
    readable(control).on(name)
}

/// Logs the answer of a driver that makes better code.
fn log_better_code(control: AsyncFd<OwnedFd>) {
    tokio::spawn(async move {
        let answer = control.async_io(Interest::READABLE, |socket| control::receive_with::<Answer>(socket.as_fd()));
        match tokio::time::timeout(LONGEST_ORDER, answer).await {
            Ok(Ok((Answer::Improved { warnings }, _))) => warnings.iter().for_each(|warning| warn!("{warning}")),
            Ok(Ok((Answer::Failed(reason) | Answer::NoLayer(reason), _))) => {
                warn!("better code was not made: {reason}")
            }
            Ok(Ok((other, _))) => warn!("better code was not made: {other:?}"),
            Ok(Err(e)) => warn!("better code was not made, its compile driver ended without an answer: {e}"),
            Err(_) => warn!("better code was not made in {LONGEST_ORDER:?}"),
        }
    });
}

/// Adds to the error the engines that were not tried now, because the cache knows that they decline the module.
fn with_earlier(before: Declined, e: Error) -> Error {
    match e {
        Error::Declined { module, declined } => {
            Error::Declined { module, declined: before.into_iter().chain(declined).collect() }
        }
        e => e,
    }
}
