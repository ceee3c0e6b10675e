//! Processes that are started in a container beside its own: Exec adds one, Start starts it (containerd's
//! api/runtime/task/v3). Until its start it is a text.

mod wasm;

use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};

use catamaran_worker::quote::shortened;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use log::warn;
use nix::libc;
use tokio::sync::Notify;

use super::{Body, Container, EXECS_TO_END, Exit, Kept, Phase, Process, check_terminal, has_terminal};
use crate::cleanup::state;
use crate::error::{Error, Result};
use crate::spec::oci::Process as Spec;
use crate::stdio::{self, Paths, Record};

/// What containerd asks to be added to a container.
pub(crate) struct ExecRequest {
    pub(crate) id: String,
    pub(crate) stdio: Paths,
    /// A `process` of the OCI runtime spec, as JSON.
    pub(crate) spec: Any,
}

/// A process that was added to a container.
pub(crate) struct Exec {
    pub(crate) id: String,
    pub(crate) process: Process,
    pub(super) spec: Spec,
    /// The same as it came, with all keys: runc's, in a native container.
    pub(super) text: Vec<u8>,
    /// Held while it is started: that is done once.
    turn: tokio::sync::Mutex<()>,
    /// Set where it never ran: how it ended.
    unborn: OnceLock<Exit>,
    /// The signal by which it was ended while it was started.
    ended_by: OnceLock<u32>,
    /// Told when nobody wants it any more that is being started.
    pub(super) given_up: Notify,
}

impl Exec {
    /// To be had before [`Container::start_exec`], and held until the start is told.
    pub(crate) async fn turn_to_start(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Waits for its end. Called once, by the pod, when its start is told. [`Exec::make_known`] is to follow.
    pub(crate) async fn ended(&self) -> Exit {
        // One that never ran has its exit already; what it is about may not be read yet.
        let exit = match self.unborn.get() {
            Some(exit) => exit.clone(),
            None => {
                let exit = self.process.ended().await;
                // Before anything else: a pid namespace whose first process ends waits for this one to be reaped.
                self.process.reap();
                exit
            }
        };
        self.process.last_words().await;
        exit
    }

    /// Ends what reads its output, if that is a program: in the time that it has since its input ended.
    pub(crate) async fn end_logger(&self) {
        if let Some((logger, ended)) = self.process.take_logger() {
            logger.end(ended).await;
        }
    }

    /// It never runs: this is how it ended, and `streams` are those on which that was told.
    pub(super) fn never_runs(&self, exit: Exit, streams: Kept) {
        self.process.never_lives(streams);
        // It is started once.
        let _ = self.unborn.set(exit);
    }

    /// The signal that ended it before it was there.
    pub(super) fn ended_by(&self) -> Option<u32> {
        self.ended_by.get().copied()
    }

    /// Whether it is in the midst of its start.
    fn is_starting(&self) -> bool {
        self.process.pid() == 0 && self.process.phase() == Phase::Created && self.turn.try_lock().is_err()
    }

    /// Makes the end known to those who wait for it.
    pub(crate) fn make_known(&self, exit: Exit) {
        self.process.make_known(exit);
    }
}

impl Container {
    fn execs(&self) -> MutexGuard<'_, std::collections::HashMap<String, Arc<Exec>>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process `id` that was added, or NotFound.
    pub(crate) fn exec(&self, id: &str) -> Result<Arc<Exec>> {
        let found = self.execs().get(id).cloned();
        found.ok_or_else(|| Error::NotFound(format!("process {id} of container {}", self.id())))
    }

    /// The ids of those that run, with their pids.
    pub(crate) fn running_execs(&self) -> Vec<(String, u32)> {
        let execs = self.execs();
        let running = execs.values().filter(|exec| exec.process.phase() == Phase::Running);
        running.map(|exec| (exec.id.clone(), exec.process.pid())).collect()
    }

    /// Adds a process, to be started.
    pub(crate) fn add_exec(&self, request: ExecRequest) -> Result<()> {
        if matches!(self.phase(), Phase::Pausing | Phase::Paused | Phase::Stopped) {
            return Err(self.refuse("executed in"));
        }
        if self.keeps_pod() {
            let expected = "another container of the pod: there is no program in this one, which keeps its namespaces";
            return Err(Error::refused("the request's id", format!("{}, a pod's own", self.id()), expected));
        }
        let spec: Spec = serde_json::from_slice(&request.spec.value).map_err(|e| {
            Error::refused("the request's spec", shortened(&e.to_string()), "a process of the OCI runtime spec")
        })?;
        check_terminal("the request's spec: terminal", has_terminal(Some(&spec)), &request.stdio)?;
        let id = state::plain(&request.id)?.to_owned();
        let mut execs = self.execs();
        if execs.contains_key(&id) {
            return Err(Error::Exists(format!("{} with a process {id}", self.id())));
        }
        let process = Process::new(format!("{}/{id}", self.id()), request.stdio);
        let exec = Exec {
            id: id.clone(),
            process,
            spec,
            text: request.spec.value,
            turn: tokio::sync::Mutex::default(),
            unborn: OnceLock::new(),
            ended_by: OnceLock::new(),
            given_up: Notify::new(),
        };
        execs.insert(id, Arc::new(exec));
        Ok(())
    }

    /// Starts a process that was added. One that is not to be found, or that this container cannot run, has ended then, with
    /// 127 or 126 and the reason on its standard error, as a shell would tell it.
    pub(crate) async fn start_exec(&self, exec: &Exec) -> Result<()> {
        exec.process.check_startable()?;
        match self.phase() {
            Phase::Created | Phase::Running => {}
            Phase::Pausing | Phase::Paused | Phase::Stopped => return Err(self.refuse("executed in")),
        }
        let streams = stdio::open(&exec.process.stdio, &exec.id, &self.request.namespace)?;
        match &self.body {
            Body::Holder => Err(self.refuse("executed in")),
            Body::Wasm => self.start_wasm_exec(exec, streams).await,
            Body::Native(native) => Box::pin(self.start_native_exec(native, exec, streams)).await,
        }
    }

    /// Sends a signal to a process that was added. One that is being started, which may take a compilation, is ended by it
    /// before it begins.
    pub(crate) fn kill_exec(&self, exec: &Exec, signal: u32) -> Result<()> {
        match self.body {
            Body::Wasm if exec.is_starting() && signal <= libc::SIGRTMAX() as u32 => {
                // The first counts.
                if ends(signal) && exec.ended_by.set(signal).is_ok() {
                    exec.given_up.notify_one();
                }
                Ok(())
            }
            _ if exec.process.pid() == 0 && exec.process.phase() == Phase::Created => {
                Err(exec.process.refuse("signalled"))
            }
            _ => exec.process.kill(signal),
        }
    }

    /// Forgets a process that has ended, or was never started: how it ended.
    pub(crate) fn delete_exec(&self, exec: &Arc<Exec>) -> Result<Option<Exit>> {
        let gone = || Error::NotFound(format!("process {} of container {}", exec.id, self.id()));
        let mut execs = self.execs();
        match exec.process.phase() {
            Phase::Running | Phase::Pausing | Phase::Paused => return Err(exec.process.refuse("deleted")),
            // What is in the midst of its start is not started any more: a client that waited for it has gone.
            Phase::Created if exec.is_starting() => {
                exec.process.doom();
                exec.given_up.notify_one();
            }
            Phase::Created => exec.process.doom(),
            Phase::Stopped => {}
        }
        let own = execs.get(&exec.id).is_some_and(|there| Arc::ptr_eq(there, exec));
        if !own || execs.remove(&exec.id).is_none() {
            return Err(gone());
        }
        Ok(exec.process.exit())
    }

    /// Writes down what reads the output of one that is being started: nobody else could end it if this shim was killed.
    pub(super) fn record_logger(&self, logger: Option<Record>) -> Result<()> {
        let Some(logger) = logger else { return Ok(()) };
        let mut inner = self.inner();
        inner.state.exec_loggers.retain(Record::is_there);
        inner.state.exec_loggers.push(logger);
        self.request.state.write(self.id(), &inner.state)
    }

    /// Ends what reads the output of those that nobody has deleted.
    pub(super) async fn end_exec_loggers(&self) {
        let all: Vec<_> = self.execs().values().cloned().collect();
        for exec in all {
            exec.end_logger().await;
        }
    }

    /// Ends those that are left when the container's own process has ended: they are told before it is. With a pid namespace of
    /// the container's the kernel has ended them already.
    pub(super) async fn end_execs(&self) {
        let running: Vec<_> = {
            let execs = self.execs();
            execs.values().filter(|exec| exec.process.phase() == Phase::Running).cloned().collect()
        };
        let deadline = tokio::time::Instant::now() + EXECS_TO_END;
        for exec in &running {
            match exec.process.kill(libc::SIGKILL as u32) {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(e) => warn!("container {}: {e}", self.id()),
            }
        }
        for exec in running {
            if tokio::time::timeout_at(deadline, exec.process.wait()).await.is_err() {
                warn!("container {}: its process {} does not end", self.id(), exec.id);
            }
        }
    }
}

/// Whether a signal ends a process that has not said what it is to do.
fn ends(signal: u32) -> bool {
    const OTHERS: [i32; 9] = [
        0,
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGURG,
        libc::SIGWINCH,
    ];
    !OTHERS.contains(&signal.cast_signed())
}
