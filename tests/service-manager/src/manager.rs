//! The manager's object.

use std::sync::Arc;

use rustix::process::Signal;
use zbus::object_server::ResponseDispatchNotifier;
use zbus::zvariant::OwnedObjectPath;

use crate::core::Core;
use crate::error::{Refused, Result};
use crate::job::Work;
use crate::transient::{self, Property};
use crate::unit::{self, Kind, Unit};

/// A job's path, with a notice when it has been sent.
type Reply = ResponseDispatchNotifier<OwnedObjectPath>;
/// A row of `ListUnits`: name, description, load state, active state, sub state, following, path, job's number, type and path.
type Row = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

pub(crate) struct Manager {
    core: Arc<Core>,
}

impl Manager {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core) }
    }

    fn row(&self, name: &str, unit: &Unit) -> Row {
        let job = self.core.job_of(name);
        let (id, kind, path) = job.map_or((0, "", "/".to_owned()), |job| (job.id, job.work.name(), job.path()));
        (
            name.to_owned(),
            unit.description.clone(),
            unit.load_state().to_owned(),
            unit.state.0.to_owned(),
            unit.state.1.to_owned(),
            String::new(),
            object(&unit::path(name)),
            id,
            kind.to_owned(),
            object(&path),
        )
    }
}

fn object(path: &str) -> OwnedObjectPath {
    OwnedObjectPath::try_from(path).expect("a path")
}

/// Begins a job, and returns the reply that names it.
pub(crate) async fn begin(core: &Arc<Core>, name: &str, work: Work, mode: &str) -> Result<Reply> {
    let job = core.enqueue(name, work, mode).await?;
    let (reply, replied) = Reply::new(object(&job.path()));
    core.go(job, replied);
    Ok(reply)
}

/// Checks a unit's name by systemd's rule.
fn checked(name: &str) -> Result<()> {
    let good = name.rsplit_once('.').is_some_and(|(stem, kind)| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        !stem.is_empty() && name.len() < 256 && stem.bytes().all(allowed) && ["service", "timer"].contains(&kind)
    });
    if good { Ok(()) } else { Err(Refused::of_bus("InvalidArgs", format!("Unit name {name} is not valid."))) }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn get_unit(&self, name: &str) -> Result<OwnedObjectPath> {
        self.core.get(name).ok_or_else(|| Refused::not_loaded(name))?;
        Ok(object(&unit::path(name)))
    }

    async fn load_unit(&self, name: &str) -> Result<OwnedObjectPath> {
        checked(name)?;
        if self.core.get(name).is_none() {
            self.core.load(name, Unit::new(Kind::NotFound, name)).await;
        }
        Ok(object(&unit::path(name)))
    }

    #[zbus(name = "GetUnitByPID")]
    fn get_unit_by_pid(&self, pid: u32) -> Result<OwnedObjectPath> {
        let mut names = self.core.names().into_iter();
        let found = names.find(|name| self.core.get(name).is_some_and(|unit| pid != 0 && unit.main_pid() == pid));
        let missing = || Refused::own("NoUnitForPID", format!("PID {pid} does not belong to any loaded unit."));
        Ok(object(&unit::path(&found.ok_or_else(missing)?)))
    }

    fn list_units(&self) -> Vec<Row> {
        let names = self.core.names();
        names.iter().filter_map(|name| Some(self.row(name, &self.core.get(name)?))).collect()
    }

    fn list_units_by_names(&self, names: Vec<String>) -> Vec<Row> {
        let unit = |name: &String| self.core.get(name).unwrap_or_else(|| Unit::new(Kind::NotFound, name));
        names.iter().map(|name| self.row(name, &unit(name))).collect()
    }

    async fn start_unit(&self, name: &str, mode: &str) -> Result<Reply> {
        begin(&self.core, name, Work::Start, mode).await
    }

    async fn stop_unit(&self, name: &str, mode: &str) -> Result<Reply> {
        begin(&self.core, name, Work::Stop, mode).await
    }

    async fn restart_unit(&self, name: &str, mode: &str) -> Result<Reply> {
        begin(&self.core, name, Work::Restart, mode).await
    }

    async fn try_restart_unit(&self, name: &str, mode: &str) -> Result<Reply> {
        begin(&self.core, name, Work::Restart, mode).await
    }

    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> Result<()> {
        let unit = self.core.get(name).ok_or_else(|| Refused::not_loaded(name))?;
        if !["all", "main"].contains(&whom) {
            return Err(Refused::of_bus("InvalidArgs", format!("Invalid whom argument: {whom}")));
        }
        let number = Signal::from_named_raw(signal)
            .ok_or_else(|| Refused::of_bus("InvalidArgs", "Signal number out of range."))?;
        let pid = rustix::process::Pid::from_raw(unit.main_pid().cast_signed());
        let sent = match (&unit.kind, pid) {
            (Kind::Service(service), _) => service.signal(number),
            (_, Some(pid)) => rustix::process::kill_process(pid, number).is_ok(),
            (_, None) => false,
        };
        let text = "No matching processes to kill";
        if sent { Ok(()) } else { Err(Refused::own("NoSuchProcess", text)) }
    }

    fn reset_failed_unit(&self, name: &str) -> Result<()> {
        self.core.get(name).ok_or_else(|| Refused::not_loaded(name))?;
        // In another thread, because it sends signals on the connection that this call came by.
        let (core, name) = (Arc::clone(&self.core), name.to_owned());
        std::thread::spawn(move || core.reset_failed(&name)).join().expect("it does not panic")
    }

    async fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: Vec<Property>,
        others: Vec<(String, Vec<Property>)>,
    ) -> Result<Reply> {
        let mut made = Vec::new();
        for (name, properties) in std::iter::once((name.to_owned(), properties)).chain(others) {
            checked(&name)?;
            if self.core.get(&name).is_some_and(|unit| !matches!(unit.kind, Kind::NotFound)) {
                let text = format!("Unit {name} was already loaded or has a fragment file.");
                return Err(Refused::own("UnitExists", text));
            }
            let (description, kind) = if name.ends_with(".timer") {
                let (description, timer) = transient::timer(&name, properties)?;
                (description, Kind::Timer(Arc::new(timer)))
            } else {
                let (description, service) = transient::service(&name, properties)?;
                (description, Kind::Service(Arc::new(service)))
            };
            made.push((name, Unit::new(kind, &description)));
        }
        if let Some((_, Unit { kind: Kind::Timer(timer), .. })) = made.first() {
            let known = made.iter().any(|(name, _)| *name == timer.unit) || self.core.get(&timer.unit).is_some();
            if !known {
                let text = format!("Unit {name} has a bad unit file setting: {} is not loaded", timer.unit);
                return Err(Refused::own("BadUnitSetting", text));
            }
        }
        for (name, unit) in made {
            self.core.load(&name, unit).await;
        }
        begin(&self.core, name, Work::Start, mode).await
    }

    fn subscribe(&self) {}

    fn unsubscribe(&self) {}

    fn reload(&self) {}

    #[zbus(property)]
    fn version(&self) -> String {
        "252 (stand-in)".to_owned()
    }
}
