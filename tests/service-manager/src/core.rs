//! Units and jobs, and the signals about them.
//!
//! The lock of `inner` is held only for look-ups and changes: nothing waits while it is held. A job runs in a thread of its own; jobs of
//! one unit take turns.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zbus::Connection;
use zbus::zvariant::OwnedObjectPath;

use crate::error::{Refused, Result};
use crate::job::{Job, JobRecord, Work};
use crate::objects;
use crate::unit::{self, Kind, State, Unit, UnitState};

pub(crate) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(crate) const MANAGER_PATH: &str = "/org/freedesktop/systemd1";

#[derive(Default)]
struct Inner {
    units: BTreeMap<String, Unit>,
    running: BTreeMap<u32, Arc<Job>>,
    records: Vec<JobRecord>,
    turns: BTreeMap<String, Arc<Mutex<()>>>,
    stopped: bool,
}

pub(crate) struct Core {
    folder: PathBuf,
    inner: Mutex<Inner>,
    /// Notified with each change of `inner`.
    changed: Condvar,
    connections: Mutex<Vec<Connection>>,
}

impl Core {
    pub(crate) fn new(folder: &Path) -> Arc<Self> {
        let journal = folder.join("journal");
        fs::create_dir_all(&journal).unwrap_or_else(|error| panic!("cannot make {}: {error}", journal.display()));
        Arc::new(Self {
            folder: folder.to_owned(),
            inner: Mutex::default(),
            changed: Condvar::new(),
            connections: Mutex::default(),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn journal_path(&self, unit: &str) -> PathBuf {
        self.folder.join("journal").join(unit.replace('/', "-"))
    }

    /// The present state of a loaded unit.
    pub(crate) fn get(&self, name: &str) -> Option<Unit> {
        self.inner().units.get(name).cloned()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.inner().units.keys().cloned().collect()
    }

    pub(crate) fn unit(&self, name: &str) -> Option<UnitState> {
        let unit = self.get(name).filter(|unit| !matches!(unit.kind, Kind::NotFound))?;
        Some(UnitState {
            active: unit.state.0.to_owned(),
            sub: unit.state.1.to_owned(),
            result: unit.result.to_owned(),
            main_pid: unit.main_pid(),
            starts: unit.starts,
        })
    }

    pub(crate) fn jobs(&self) -> Vec<JobRecord> {
        self.inner().records.clone()
    }

    /// The unfinished job of a unit.
    pub(crate) fn job_of(&self, name: &str) -> Option<Arc<Job>> {
        self.inner().running.values().find(|job| job.unit == name && !job.is_cancelled()).cloned()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.inner().stopped
    }

    /// Waits until `until` returns true, at most until `end`; returns whether it did. False too when the service manager stops.
    pub(crate) fn wait(&self, end: Option<Instant>, mut until: impl FnMut(&Self) -> bool) -> bool {
        loop {
            if self.is_stopped() || end.is_some_and(|end| Instant::now() >= end) {
                return false;
            }
            if until(self) {
                return true;
            }
            let inner = self.inner();
            // Briefly, because `until` ran without the lock.
            let pause = Duration::from_millis(20);
            drop(self.changed.wait_timeout(inner, pause).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Changes a unit, if it is still loaded, and signals its state if that has changed.
    pub(crate) fn change(self: &Arc<Self>, name: &str, change: impl FnOnce(&mut Unit)) {
        let told = {
            let mut inner = self.inner();
            let Some(unit) = inner.units.get_mut(name) else { return };
            let before = unit.state;
            change(unit);
            (unit.state != before).then_some(unit.state)
        };
        self.changed.notify_all();
        if let Some(state) = told {
            zbus::block_on(objects::tell_state(&self.connections(), name, state));
        }
    }

    pub(crate) fn set_state(self: &Arc<Self>, name: &str, state: State) {
        self.change(name, |unit| unit.state = state);
    }

    /// Loads a unit and makes its objects.
    pub(crate) async fn load(self: &Arc<Self>, name: &str, unit: Unit) {
        self.inner().units.insert(name.to_owned(), unit.clone());
        for connection in self.connections() {
            objects::publish(&connection, self, name, &unit).await;
        }
        let path = OwnedObjectPath::try_from(unit::path(name)).expect("a path");
        self.tell(MANAGER_PATH, MANAGER, "UnitNew", &(name, path)).await;
    }

    /// Unloads a transient unit that nothing needs any more.
    pub(crate) fn collect(self: &Arc<Self>, name: &str) {
        let unloaded = {
            let mut inner = self.inner();
            let Some(unit) = inner.units.get(name) else { return };
            let over = match (&unit.kind, unit.state) {
                (Kind::Service(_) | Kind::Timer(_), State::DEAD) => true,
                (Kind::Service(service), State::FAILED) => service.is_collected_when_failed(),
                (Kind::Timer(timer), State::ELAPSED) => !timer.remains,
                _ => false,
            };
            let wanted = inner.running.values().any(|job| job.unit == name)
                || inner.units.values().any(|unit| match &unit.kind {
                    Kind::Timer(timer) => timer.unit == name && unit.state == State::WAITING,
                    _ => false,
                });
            if over && !wanted { inner.units.remove(name) } else { None }
        };
        let Some(unit) = unloaded else { return };
        self.changed.notify_all();
        zbus::block_on(async {
            for connection in self.connections() {
                objects::withdraw(&connection, name).await;
            }
            let path = OwnedObjectPath::try_from(unit::path(name)).expect("a path");
            self.tell(MANAGER_PATH, MANAGER, "UnitRemoved", &(name, path)).await;
        });
        // Also unloads the service that the timer would have started.
        if let Kind::Timer(timer) = &unit.kind {
            self.collect(&timer.unit);
        }
    }

    /// Makes a failed unit inactive, and unloads it if it is transient.
    pub(crate) fn reset_failed(self: &Arc<Self>, name: &str) -> Result<()> {
        self.get(name).ok_or_else(|| Refused::not_loaded(name))?;
        self.change(name, |unit| {
            if unit.state == State::FAILED {
                unit.state = State::DEAD;
                unit.result = "success";
            }
        });
        self.collect(name);
        Ok(())
    }

    /// Queues a job and signals it; [`Core::go`] begins it.
    pub(crate) async fn enqueue(self: &Arc<Self>, name: &str, work: Work, mode: &str) -> Result<Arc<Job>> {
        let job = self.new_job(name, work, mode)?;
        objects::publish_job(&self.connections(), &job).await;
        let path = OwnedObjectPath::try_from(job.path()).expect("a path");
        self.tell(MANAGER_PATH, MANAGER, "JobNew", &(job.id, path, name)).await;
        Ok(job)
    }

    /// Begins a job when `replied` is done, which means that the reply with the job's name has been sent.
    pub(crate) fn go(self: &Arc<Self>, job: Arc<Job>, replied: impl Future<Output = ()> + Send + 'static) {
        let core = Arc::clone(self);
        std::thread::spawn(move || {
            zbus::block_on(replied);
            core.run(&job);
        });
    }

    /// Starts a unit without a call. Refused in the mode `fail` if another job was requested.
    pub(crate) fn start_by_itself(self: &Arc<Self>, name: &str, mode: &str) -> Result<()> {
        let job = zbus::block_on(self.enqueue(name, Work::Start, mode))?;
        self.go(job, std::future::ready(()));
        Ok(())
    }

    fn new_job(&self, name: &str, work: Work, mode: &str) -> Result<Arc<Job>> {
        if !["replace", "fail", "replace-irreversibly", "ignore-dependencies"].contains(&mode) {
            return Err(Refused::of_bus("InvalidArgs", format!("Job mode {mode} invalid")));
        }
        let mut inner = self.inner();
        let earlier: Vec<_> = inner.running.values().filter(|job| job.unit == name).cloned().collect();
        let id = u32::try_from(inner.records.len()).expect("few jobs") + 1;
        let unit = match inner.units.get_mut(name) {
            Some(unit) if !matches!(unit.kind, Kind::NotFound) => unit,
            _ if work == Work::Stop => return Err(Refused::not_loaded(name)),
            _ => return Err(Refused::own("NoSuchUnit", format!("Unit {name} not found."))),
        };
        if mode == "fail" && !earlier.is_empty() {
            let text = format!("Transaction for {name}/{} is destructive (a job is already queued).", work.name());
            return Err(Refused::own("TransactionIsDestructive", text));
        }
        unit.generation += 1;
        earlier.iter().for_each(|job| job.cancelled.store(true, Ordering::SeqCst));
        let job = Arc::new(Job { id, unit: name.to_owned(), work, cancelled: AtomicBool::new(false) });
        inner.running.insert(id, Arc::clone(&job));
        inner.records.push(JobRecord { id, unit: name.to_owned(), kind: work.name().to_owned(), result: None });
        Ok(job)
    }

    fn run(self: &Arc<Self>, job: &Job) {
        let others =
            |core: &Self| core.inner().running.values().any(|other| other.unit == job.unit && other.id < job.id);
        if others(self)
            && let Some(unit) = self.get(&job.unit)
        {
            // Ends the wait of the cancelled job, whose event will not come any more.
            unit.kind.stop();
        }
        let turn = Arc::clone(self.inner().turns.entry(job.unit.clone()).or_default());
        let result = {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            match self.get(&job.unit) {
                Some(unit) if !job.is_cancelled() => unit.kind.perform(self, job, unit.state),
                _ => "canceled",
            }
        };
        let result = if job.is_cancelled() { "canceled" } else { result };
        self.finish(job, result);
        self.collect(&job.unit);
    }

    fn finish(self: &Arc<Self>, job: &Job, result: &str) {
        {
            let mut inner = self.inner();
            inner.running.remove(&job.id);
            if let Some(record) = inner.records.iter_mut().find(|record| record.id == job.id) {
                record.result = Some(result.to_owned());
            }
        }
        self.changed.notify_all();
        zbus::block_on(async {
            objects::withdraw_job(&self.connections(), job).await;
            let path = OwnedObjectPath::try_from(job.path()).expect("a path");
            self.tell(MANAGER_PATH, MANAGER, "JobRemoved", &(job.id, path, job.unit.as_str(), result)).await;
        });
    }

    pub(crate) fn connections(&self) -> Vec<Connection> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| !connection.is_closed());
        connections.clone()
    }

    pub(crate) fn connect(&self, connection: Connection) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    /// Sends a signal to all clients.
    pub(crate) async fn tell<B>(&self, path: &str, interface: &str, name: &str, body: &B)
    where
        B: zbus::export::serde::Serialize + zbus::zvariant::DynamicType + Sync,
    {
        for connection in self.connections() {
            // A client may have gone away meanwhile.
            let _ = connection.emit_signal(None::<&str>, path, interface, name, body).await;
        }
    }

    /// Ends everything but containerd.
    pub(crate) fn stop(&self) {
        let units: Vec<Unit> = {
            let mut inner = self.inner();
            inner.stopped = true;
            inner.units.values().cloned().collect()
        };
        self.changed.notify_all();
        for unit in units {
            if let Kind::Service(service) = &unit.kind {
                service.stop();
            }
        }
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Kind {
    /// Ends the unit's processes, even while a job waits for them.
    fn stop(&self) {
        match self {
            Self::Containerd(service) => service.stop(),
            Self::Service(service) => service.stop(),
            Self::Timer(_) | Self::NotFound => {}
        }
    }

    /// Does a job's work, and returns the job's result.
    fn perform(&self, core: &Arc<Core>, job: &Job, state: State) -> &'static str {
        match self {
            Self::Containerd(service) => crate::containerd::perform(core, job, service),
            Self::Service(service) => crate::transient::perform_service(core, job, service, state),
            Self::Timer(timer) => crate::transient::perform_timer(core, job, timer, state),
            Self::NotFound => "failed",
        }
    }
}
