//! An exec of a Wasm container: a further worker, in the namespaces and the tree of the container's own.
//!
//! ```text
//! words of the exec --> program (`search`) --> its artifact --> worker: joins, and is confined as the first
//!                        |  no such file: 127    |  declined        |  wrong imports
//!                        '- not Wasm: 126        '- or refused: 126 '- 126      each with a line on its standard error
//! ```
//!
//! An exec that ends with such a code counts as started and ended, because that fails a probe; an error of the request would not. Errors
//! are for faults of the node, and for wrong requests.
//!
//! Each exec reads the bundle and looks for its module's file anew. Only the image's layer that a container runs is decided once, at
//! Create, and kept in the container's state.

use std::os::fd::AsFd;
use std::time::Instant;

use catamaran_cache::image::Image;
use catamaran_cache::module::{Largest, Wanted};
use catamaran_cache::order::Purpose;
use catamaran_files::handover::Handover;
use catamaran_files::search::NOT_RUN;
use catamaran_files::search::{Executable, Layers, Order};
use catamaran_host::unless::unless;
use catamaran_worker::control;
use catamaran_worker::job::{Job, World};
use catamaran_worker::quote::shortened;
use log::{info, warn};

use crate::artifact::{Artifact, Cache, Code};
use crate::container::intermediate::{Beginning, Intermediate};
use crate::container::line::{Event, Field, Line};
use crate::container::spawn::{self, Failure, Worker};
use crate::container::{Container, Exec, Exit, set_size};
use crate::engine::alias;
use crate::engine::choice::Choice;
use crate::engine::engine_variable;
use crate::engine::options::Policy;
use crate::error::{Doing, Error, Result, printable};
use crate::search::{self, Search};
use crate::spec::bundle::{self, Bundle, CheckedProcess};
use crate::stdio::Stdio;

/// The prefix of the exec's keys in an error.
const PLACE: &str = "the request's spec: ";
/// The most characters of a reason that are written. A terminal takes twice as many without a reader.
const MOST_WORDS: usize = 2048;

/// Why an exec has no worker.
enum Stop {
    /// The exec has ended before it ran, with this code. The words, if there are any, are for the caller's standard error.
    Ended(u32, String),
    /// The request fails.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        match e {
            Error::Module { module, reason } => Stop::Ended(NOT_RUN, format!("{module}: {reason}")),
            e => Stop::Failed(e),
        }
    }
}

/// The container's own bundle, read anew for one exec, and the choices for that exec.
struct Asked {
    bundle: Bundle,
    further: CheckedProcess,
    choice: Choice,
    largest: Largest,
}

impl Container {
    /// Starts an exec in a worker.
    pub(super) async fn start_wasm_exec(&self, exec: &Exec, streams: Stdio) -> Result<()> {
        let mut streams = streams.on_terminal(&exec.process.stdio)?;
        match self.exec_worker(exec, &mut streams).await {
            Ok(worker) => {
                exec.process.lives(worker.pid, worker.pidfd, None, streams.kept);
                exec.process.was_started();
                Ok(())
            }
            Err(Stop::Ended(code, words)) => {
                let line = Line::new(Event::NotRun, format_args!("{}/{}", self.id(), exec.id)).with(Field::Code, code);
                line.log_with(printable(&shortened(&words)));
                tell(&streams, &words);
                exec.never_runs(Exit::now(code), streams.kept);
                Ok(())
            }
            Err(Stop::Failed(e)) => {
                if let Some(logger) = streams.discard() {
                    tokio::spawn(logger.end(tokio::time::Instant::now()));
                }
                Err(e)
            }
        }
    }

    /// Starts a worker for the exec, and lets the guest run.
    async fn exec_worker(&self, exec: &Exec, streams: &mut Stdio) -> std::result::Result<Worker, Stop> {
        let begin = Instant::now();
        set_size(&streams.kept, Some(&exec.spec))?;
        self.record_logger(streams.kept.logger())?;
        let asked = self.asked(exec)?;
        let tenant = asked.bundle.tenant(&self.request.namespace);
        // `catamaran.wasm/compile` is for the container's own process alone: a probe does not wait for slow code.
        let purpose = Purpose { targets: asked.choice.targets_of_exec(), tier: None, tenant, largest: asked.largest };
        let cache = Cache::open(purpose.clone())?;
        // This may take minutes. The driver goes on with the compilation if this future is dropped.
        let prepared = async {
            let wanted = self.exec_wanted(&asked, purpose).await.or_else(|stop| {
                // The tree of a container that is ending has no files: then its end is the reason.
                self.check_wanted(exec)?;
                Err(stop)
            })?;
            streams.ready().await?;
            let artifact = cache.artifact(&wanted).await.map_err(|e| asked.choice.explain(e))?;
            Ok::<_, Stop>((wanted, artifact))
        };
        let Some(prepared) = unless(exec.given_up.notified(), prepared).await else {
            self.check_wanted(exec)?;
            return Err(Error::NotFound(format!("process {} of container {}", exec.id, self.id())).into());
        };
        let (wanted, mut artifact) = prepared?;
        let kills = self.cgroup.kills();
        let worker = match self.try_worker(exec, &asked, &artifact, streams).await {
            Err(Failure::Artifact(reason)) => {
                info!("compiling {} again: {reason}", artifact.code.module);
                artifact = cache.compile(&wanted, artifact.code.target).await?;
                self.try_worker(exec, &asked, &artifact, streams).await
            }
            tried => tried,
        };
        let killed = || matches!((&kills, self.cgroup.kills()), (Ok(Some(before)), Ok(Some(now))) if now > *before);
        let worker = worker.map_err(|failure| self.no_worker(exec, failure, &artifact.code, killed()))?;
        // Nothing awaits from here until others know the process, so that this check still holds then.
        let begun = self.check_wanted(exec).and_then(|()| {
            control::send_start(worker.control.as_fd()).doing(|| format!("starting {}/{}", self.id(), exec.id))?;
            Ok(())
        });
        if let Err(stop) = begun {
            worker.end();
            return Err(stop);
        }
        let engine = artifact.code.target.engine();
        Line::new(Event::Executed, format_args!("{}/{}", self.id(), exec.id))
            .with(Field::Engine, engine)
            .with_code(&artifact.code)
            .with(Field::Pid, worker.pid)
            .with(Field::Milliseconds, begin.elapsed().as_millis())
            .log();
        cache.count_start(&artifact.code);
        exec.process.runs_on(engine);
        Ok(worker)
    }

    fn asked(&self, exec: &Exec) -> Result<Asked> {
        let request = &self.request;
        let policy = Policy::parse(&request.options, alias::of_this_program())?;
        let text = bundle::text(&request.bundle)?;
        let default_cgroup = format!("/{}/{}", request.namespace, request.id);
        let bundle = Bundle::load(&request.bundle, &text, &request.id, default_cgroup)?;
        let further = bundle.further(PLACE, &exec.spec)?;
        let largest = Largest(policy.largest);
        let choice = Choice::new(&bundle.spec, policy)?;
        Ok(Asked { bundle, further, choice, largest })
    }

    /// Finds the module that the exec's arguments name, in the container's present tree.
    async fn exec_wanted(&self, asked: &Asked, cache: Purpose) -> std::result::Result<Wanted, Stop> {
        let request = &self.request;
        let (pid, process) = self.process.alive().ok_or_else(|| self.ending("executed in"))?;
        // The container's own first word means its own module: the layer that it runs, or a file that is looked for as at Create.
        let (own, further) = (&asked.bundle.guest, &asked.further.guest);
        let same = own.args.first() == further.args.first();
        let layer = self.inner().state.layer.clone();
        if let (true, Some(layer)) = (same, layer) {
            let (address, namespace) = (request.address.clone(), request.namespace.clone());
            let image = Image { address, namespace, container: request.id.clone(), chosen: Some(layer) };
            return Ok(Wanted::Layer { image, looked: String::new() });
        }
        let order = Order::Exec {
            pid,
            guest: if same { own.clone() } else { further.clone() },
            own: (!same).then(|| own.args.first().cloned().unwrap_or_default()),
            rootfs: Layers::all(&request.rootfs),
            cache,
        };
        let charge = search::Charge { cgroup: asked.bundle.cgroup.clone(), states: request.state.clone() };
        let (executable, file) = Search::start(charge)?.executable(&order, process.as_fd()).await?;
        match executable {
            Executable::Ended(code, words) => Err(Stop::Ended(code, words)),
            Executable::File { name, digest } => Ok(search::wanted(name, digest, file)?),
        }
    }

    /// Starts one worker, and waits until it is ready.
    async fn try_worker(
        &self,
        exec: &Exec,
        asked: &Asked,
        artifact: &Artifact,
        streams: &Stdio,
    ) -> std::result::Result<Worker, Failure> {
        let doing = || "handing over descriptors".to_owned();
        let (_, process) = self.process.alive().ok_or_else(|| self.ending("executed in"))?;
        let mut descriptors = Handover::default();
        let mut guest = asked.further.guest.clone();
        engine_variable::add_to(&mut guest.env, artifact.code.target.engine());
        let folder = self.cgroup.folder_of_further().map_err(Error::from)?;
        let cgroup = spawn::ways_into(&self.cgroup, folder, &mut descriptors);
        let job = Job {
            guest,
            stdin: descriptors.add(streams.stdin.try_clone().doing(doing)?),
            terminal: exec.process.terminal(),
            artifact: descriptors.add(artifact.file.try_clone().doing(doing)?.into()),
            cgroup,
            world: World::Of(descriptors.add(process.try_clone().doing(doing)?)),
            user: asked.further.user.clone(),
            rlimits: asked.further.rlimits.clone(),
            oom_score_adj: asked.bundle.spec.process().as_ref().and_then(|process| *process.oom_score_adj()),
            seccomp: asked.bundle.seccomp.clone(),
            apparmor: asked.further.apparmor.clone(),
            server: None,
            certificate: None,
            rules: asked.choice.rules(),
        };
        let (program, id) = (artifact.code.target.worker()?, format!("{}/{}", self.id(), exec.id));
        let (stdout, stderr) = (streams.stdout.as_fd(), streams.stderr.as_fd());
        let beginning = Beginning { program: &program, action: None, id: &id, stdout, stderr };
        let module = &artifact.code.module;
        let given =
            spawn::Assignment { module, job: &job, descriptors: &descriptors, cgroup: &self.cgroup, further: true };
        spawn::start_worker(Intermediate::start(&beginning)?, given).await?.ready(&id, &artifact.code.module).await
    }

    /// Turns the failure of the last try into a [`Stop`]. `killed` says that the kernel killed a process in that try because memory ran
    /// out.
    fn no_worker(&self, exec: &Exec, failure: Failure, code: &Code, killed: bool) -> Stop {
        // If the container or the exec has ended, every other failure follows from that.
        if let Err(stop) = self.check_wanted(exec) {
            return stop;
        }
        match failure {
            Failure::Final(e) if killed => spawn::explained(&self.cgroup, e).into(),
            Failure::Final(e) => e.into(),
            Failure::Artifact(reason) => Error::Compiler { module: code.module.clone(), reason }.into(),
        }
    }

    /// Returns an error if the exec must not run: it was ended or deleted meanwhile, or the container has ended.
    fn check_wanted(&self, exec: &Exec) -> std::result::Result<(), Stop> {
        if let Some(signal) = exec.ended_by() {
            return Err(Stop::Ended(128 + signal, String::new()));
        }
        exec.process.check_startable()?;
        match self.process.alive() {
            Some(_) => Ok(()),
            None => Err(self.ending("executed in").into()),
        }
    }
}

/// Writes one line to standard error, which a terminal shows too. Does not wait for a reader.
fn tell(streams: &Stdio, words: &str) {
    if words.is_empty() {
        return;
    }
    let line: String = printable(&shortened(words)).replace('\n', " ").chars().take(MOST_WORDS).collect();
    let written = rustix::io::ioctl_fionbio(&streams.stderr, true)
        .and_then(|()| rustix::io::write(&streams.stderr, format!("catamaran: {line}\n").as_bytes()));
    if let Err(e) = written {
        warn!("standard error did not take the line {line:?}: {e}");
    }
}
