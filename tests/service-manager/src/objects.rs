//! The objects of units and jobs.

use std::collections::HashMap;
use std::sync::Arc;

use zbus::Connection;
use zbus::connection::Builder;
use zbus::object_server::ResponseDispatchNotifier;
use zbus::zvariant::{OwnedObjectPath, Value};

use crate::core::Core;
use crate::error::Result;
use crate::job::{Job, Work};
use crate::manager::begin;
use crate::unit::{self, Kind, State, Unit};

const UNIT: &str = "org.freedesktop.systemd1.Unit";

/// The interface that every unit has.
pub(crate) struct UnitObject {
    core: Arc<Core>,
    name: String,
}

/// The interface of services.
pub(crate) struct ServiceObject {
    core: Arc<Core>,
    name: String,
}

/// The interface of timers.
pub(crate) struct TimerObject {
    core: Arc<Core>,
    name: String,
}

pub(crate) struct JobObject {
    job: Arc<Job>,
}

type Reply = ResponseDispatchNotifier<OwnedObjectPath>;

fn object(path: &str) -> OwnedObjectPath {
    OwnedObjectPath::try_from(path).expect("a path")
}

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl UnitObject {
    async fn start(&self, mode: &str) -> Result<Reply> {
        begin(&self.core, &self.name, Work::Start, mode).await
    }

    async fn stop(&self, mode: &str) -> Result<Reply> {
        begin(&self.core, &self.name, Work::Stop, mode).await
    }

    async fn restart(&self, mode: &str) -> Result<Reply> {
        begin(&self.core, &self.name, Work::Restart, mode).await
    }

    fn reset_failed(&self) -> Result<()> {
        let (core, name) = (Arc::clone(&self.core), self.name.clone());
        std::thread::spawn(move || core.reset_failed(&name)).join().expect("it does not panic")
    }

    #[zbus(property)]
    fn id(&self) -> String {
        self.name.clone()
    }

    #[zbus(property)]
    fn description(&self) -> String {
        self.now(|unit| unit.description.clone())
    }

    #[zbus(property)]
    fn load_state(&self) -> String {
        self.now(|unit| unit.load_state().to_owned())
    }

    #[zbus(property)]
    fn active_state(&self) -> String {
        self.now(|unit| unit.state.0.to_owned())
    }

    #[zbus(property)]
    fn sub_state(&self) -> String {
        self.now(|unit| unit.state.1.to_owned())
    }

    /// There are no unit files.
    #[zbus(property)]
    fn fragment_path(&self) -> String {
        String::new()
    }

    #[zbus(property)]
    fn transient(&self) -> bool {
        self.now(Unit::is_transient)
    }

    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        let job = self.core.job_of(&self.name);
        job.map_or((0, object("/")), |job| (job.id, object(&job.path())))
    }
}

impl UnitObject {
    /// Asks the unit, or an unknown one if the unit was just unloaded.
    fn now<T>(&self, ask: impl FnOnce(&Unit) -> T) -> T {
        ask(&self.core.get(&self.name).unwrap_or_else(|| Unit::new(Kind::NotFound, &self.name)))
    }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Service")]
impl ServiceObject {
    #[zbus(property, name = "Type")]
    fn kind(&self) -> String {
        let kind = self.now(|unit| match &unit.kind {
            Kind::Service(service) => service.type_name(),
            _ => "notify",
        });
        kind.to_owned()
    }

    #[zbus(property, name = "MainPID")]
    fn main_pid(&self) -> u32 {
        self.now(Unit::main_pid)
    }

    #[zbus(property, name = "ExecMainPID")]
    fn exec_main_pid(&self) -> u32 {
        self.now(Unit::main_pid)
    }

    #[zbus(property)]
    fn exec_main_status(&self) -> i32 {
        self.now(|unit| unit.status)
    }

    #[zbus(property)]
    fn result(&self) -> String {
        self.now(|unit| unit.result.to_owned())
    }

    #[zbus(property, name = "NRestarts")]
    fn restarts(&self) -> u32 {
        self.now(|unit| unit.restarts)
    }
}

impl ServiceObject {
    fn now<T>(&self, ask: impl FnOnce(&Unit) -> T) -> T {
        ask(&self.core.get(&self.name).unwrap_or_else(|| Unit::new(Kind::NotFound, &self.name)))
    }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Timer")]
impl TimerObject {
    #[zbus(property)]
    fn unit(&self) -> String {
        match self.core.get(&self.name).map(|unit| unit.kind) {
            Some(Kind::Timer(timer)) => timer.unit.clone(),
            _ => String::new(),
        }
    }

    #[zbus(property)]
    fn remain_after_elapse(&self) -> bool {
        matches!(self.core.get(&self.name).map(|unit| unit.kind), Some(Kind::Timer(timer)) if timer.remains)
    }

    #[zbus(property)]
    fn result(&self) -> String {
        self.core.get(&self.name).map_or("success", |unit| unit.result).to_owned()
    }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Job")]
impl JobObject {
    #[zbus(property)]
    fn id(&self) -> u32 {
        self.job.id
    }

    #[zbus(property)]
    fn unit(&self) -> (String, OwnedObjectPath) {
        (self.job.unit.clone(), object(&unit::path(&self.job.unit)))
    }

    #[zbus(property)]
    fn job_type(&self) -> String {
        self.job.work.name().to_owned()
    }

    #[zbus(property)]
    fn state(&self) -> String {
        "running".to_owned()
    }
}

fn unit_object(core: &Arc<Core>, name: &str) -> UnitObject {
    UnitObject { core: Arc::clone(core), name: name.to_owned() }
}

fn service_object(core: &Arc<Core>, name: &str) -> ServiceObject {
    ServiceObject { core: Arc::clone(core), name: name.to_owned() }
}

fn timer_object(core: &Arc<Core>, name: &str) -> TimerObject {
    TimerObject { core: Arc::clone(core), name: name.to_owned() }
}

/// Adds the objects of all units to a connection that is about to be made, because a client may call at once.
pub(crate) fn serve_all<'b>(mut builder: Builder<'b>, core: &Arc<Core>) -> zbus::Result<Builder<'b>> {
    for name in core.names() {
        let path = unit::path(&name);
        builder = builder.serve_at(path.clone(), unit_object(core, &name))?;
        builder = match name.ends_with(".timer") {
            true => builder.serve_at(path, timer_object(core, &name))?,
            false => builder.serve_at(path, service_object(core, &name))?,
        };
    }
    Ok(builder)
}

/// Makes a unit's object on a connection. That fails on a closed connection, and does not matter then.
pub(crate) async fn publish(connection: &Connection, core: &Arc<Core>, name: &str, unit: &Unit) {
    let (server, path) = (connection.object_server(), unit::path(name));
    let _ = server.at(path.as_str(), unit_object(core, name)).await;
    let _ = match &unit.kind {
        Kind::Timer(_) => server.at(path.as_str(), timer_object(core, name)).await,
        _ => server.at(path.as_str(), service_object(core, name)).await,
    };
}

pub(crate) async fn withdraw(connection: &Connection, name: &str) {
    let (server, path) = (connection.object_server(), unit::path(name));
    let _ = server.remove::<UnitObject, _>(path.as_str()).await;
    let _ = match name.ends_with(".timer") {
        true => server.remove::<TimerObject, _>(path.as_str()).await,
        false => server.remove::<ServiceObject, _>(path.as_str()).await,
    };
}

pub(crate) async fn publish_job(connections: &[Connection], job: &Arc<Job>) {
    for connection in connections {
        let _ = connection.object_server().at(job.path(), JobObject { job: Arc::clone(job) }).await;
    }
}

pub(crate) async fn withdraw_job(connections: &[Connection], job: &Job) {
    for connection in connections {
        let _ = connection.object_server().remove::<JobObject, _>(job.path()).await;
    }
}

/// Signals that a unit's state has changed.
pub(crate) async fn tell_state(connections: &[Connection], name: &str, state: State) {
    let changed = HashMap::from([("ActiveState", Value::from(state.0)), ("SubState", Value::from(state.1))]);
    let body = (UNIT, changed, ["Job"].as_slice());
    for connection in connections {
        let path = unit::path(name);
        let interface = "org.freedesktop.DBus.Properties";
        let _ = connection.emit_signal(None::<&str>, path.as_str(), interface, "PropertiesChanged", &body).await;
    }
}
