//! Execs: further processes in a container. The call Exec only adds an exec, the call Start starts it (containerd's api/runtime/task/v3).

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

/// An exec that containerd asks to be added to a container.
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
    /// The JSON of `spec` with all its keys, for runc.
    pub(super) text: Vec<u8>,
    /// Held while the exec is started.
    turn: tokio::sync::Mutex<()>,
    /// The exit of an exec that never ran.
    never_ran: OnceLock<Exit>,
    /// The signal that ended the exec during its start.
    ended_by: OnceLock<u32>,
    /// Notified when an exec that is being started is no longer wanted.
    pub(super) given_up: Notify,
}

impl Exec {
    /// Take this before [`Container::start_exec`], and keep it until that returns.
    pub(crate) async fn turn_to_start(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Waits for the end of the exec. The pod calls this once, after the start event, and then [`Exec::make_known`].
    pub(crate) async fn ended(&self) -> Exit {
        // An exec that never ran has its exit already, but the client may not have read its output yet.
        let exit = match self.never_ran.get() {
            Some(exit) => exit.clone(),
            None => {
                let exit = self.process.ended().await;
                // Reaped at once, because the end of a pid namespace waits until each process in it is reaped.
                self.process.reap();
                exit
            }
        };
        self.process.finish_output().await;
        exit
    }

    /// Ends the exec's logger, if there is one. Its time limit has run since the end of the logger's input.
    pub(crate) async fn end_logger(&self) {
        if let Some((logger, ended)) = self.process.take_logger() {
            logger.end(ended).await;
        }
    }

    /// Records that the exec never runs, with its exit. `streams` are those that the reason was written to.
    pub(super) fn never_runs(&self, exit: Exit, streams: Kept) {
        self.process.never_lives(streams);
        // Set only once, because an exec is started only once.
        let _ = self.never_ran.set(exit);
    }

    /// Returns the signal that ended the exec before its process existed.
    pub(super) fn ended_by(&self) -> Option<u32> {
        self.ended_by.get().copied()
    }

    /// Whether the exec is being started.
    fn is_starting(&self) -> bool {
        self.process.pid() == 0 && self.process.phase() == Phase::Created && self.turn.try_lock().is_err()
    }

    /// Makes the exit known to the callers that wait for it.
    pub(crate) fn make_known(&self, exit: Exit) {
        self.process.make_known(exit);
    }
}

impl Container {
    fn execs(&self) -> MutexGuard<'_, std::collections::HashMap<String, Arc<Exec>>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the exec `id`, or NotFound.
    pub(crate) fn exec(&self, id: &str) -> Result<Arc<Exec>> {
        let found = self.execs().get(id).cloned();
        found.ok_or_else(|| Error::NotFound(format!("process {id} of container {}", self.id())))
    }

    /// Returns the ids and pids of the running execs.
    pub(crate) fn running_execs(&self) -> Vec<(String, u32)> {
        let execs = self.execs();
        let running = execs.values().filter(|exec| exec.process.phase() == Phase::Running);
        running.map(|exec| (exec.id.clone(), exec.process.pid())).collect()
    }

    /// Adds an exec, which is not started yet.
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
            return Err(Error::Exists(format!("process {id} of container {}", self.id())));
        }
        let process = Process::new(format!("{}/{id}", self.id()), request.stdio);
        let exec = Exec {
            id: id.clone(),
            process,
            spec,
            text: request.spec.value,
            turn: tokio::sync::Mutex::default(),
            never_ran: OnceLock::new(),
            ended_by: OnceLock::new(),
            given_up: Notify::new(),
        };
        execs.insert(id, Arc::new(exec));
        Ok(())
    }

    /// Starts an exec. If its program cannot be found or cannot run in this container, the exec ends with 127 or 126 and the
    /// reason on its standard error, as in a shell.
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

    /// Sends a signal to an exec. If the exec is still being started, perhaps compiled, the signal ends it before it runs.
    pub(crate) fn kill_exec(&self, exec: &Exec, signal: u32) -> Result<()> {
        match self.body {
            Body::Wasm if exec.is_starting() && signal <= libc::SIGRTMAX() as u32 => {
                // The first signal gives the exit code.
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

    /// Forgets an exec that has ended or was never started, and returns its exit, if it has one.
    pub(crate) fn delete_exec(&self, exec: &Arc<Exec>) -> Result<Option<Exit>> {
        let not_found = || Error::NotFound(format!("process {} of container {}", exec.id, self.id()));
        let mut execs = self.execs();
        match exec.process.phase() {
            Phase::Running | Phase::Pausing | Phase::Paused => return Err(exec.process.refuse("deleted")),
            // Breaks off a start that is under way, because its client has gone.
            Phase::Created if exec.is_starting() => {
                exec.process.doom();
                exec.given_up.notify_one();
            }
            Phase::Created => exec.process.doom(),
            Phase::Stopped => {}
        }
        let own = execs.get(&exec.id).is_some_and(|there| Arc::ptr_eq(there, exec));
        if !own || execs.remove(&exec.id).is_none() {
            return Err(not_found());
        }
        Ok(exec.process.exit())
    }

    /// Records the logger of an exec in the state file, so that `delete` can end it if this shim is killed.
    pub(super) fn record_logger(&self, logger: Option<Record>) -> Result<()> {
        let Some(logger) = logger else { return Ok(()) };
        let mut inner = self.inner();
        inner.state.exec_loggers.retain(Record::is_there);
        inner.state.exec_loggers.push(logger);
        self.request.state.write(self.id(), &inner.state)
    }

    /// Ends the loggers of all execs that no client has deleted.
    pub(super) async fn end_exec_loggers(&self) {
        let all: Vec<_> = self.execs().values().cloned().collect();
        for exec in all {
            exec.end_logger().await;
        }
    }

    /// Ends the execs that are left when the container's own process has ended, because their exits must be reported before its exit. In a
    /// pid namespace of the container's the kernel has killed them already.
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

/// Whether the default action of a signal ends a process (signal(7)).
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
