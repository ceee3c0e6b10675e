//! Transient units: services and timers that a call describes by properties.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use zbus::zvariant::OwnedValue;

use crate::core::Core;
use crate::error::{Refused, Result};
use crate::job::{Job, Work};
use crate::unit::State;

/// A unit's property, as the client sends it.
pub(crate) type Property = (String, OwnedValue);

/// Properties that are accepted and have no effect here, because they only order, limit or name.
const WITHOUT_EFFECT: [&str; 24] = [
    "After",
    "Before",
    "Requires",
    "Wants",
    "Conflicts",
    "PartOf",
    "BindsTo",
    "DefaultDependencies",
    "Slice",
    "KillMode",
    "SendSIGHUP",
    "SendSIGKILL",
    "TimeoutStartUSec",
    "TimeoutStopUSec",
    "Restart",
    "RestartUSec",
    "StandardOutput",
    "StandardError",
    "StandardInput",
    "SyslogIdentifier",
    "OOMScoreAdjust",
    "AccuracyUSec",
    "RandomizedDelayUSec",
    "IgnoreOnIsolate",
];
/// systemd's own PATH for a service without one.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin";
/// systemd's exit status of a program that cannot be executed.
const EXEC: i32 = 203;
/// How long a service's processes may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exec {
    program: PathBuf,
    words: Vec<String>,
    may_fail: bool,
}

/// A service's end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    result: &'static str,
    status: i32,
}

const SUCCESS: Outcome = Outcome { result: "success", status: 0 };

impl Outcome {
    fn is_good(self) -> bool {
        self.result == SUCCESS.result
    }
}

#[derive(Debug, Default)]
pub(crate) struct Service {
    commands: Vec<Exec>,
    is_oneshot: bool,
    remains: bool,
    collected_when_failed: bool,
    environment: Vec<(String, String)>,
    directory: Option<PathBuf>,
    child: Mutex<Option<Child>>,
}

#[derive(Debug)]
pub(crate) struct Timer {
    /// The unit that it starts.
    pub(crate) unit: String,
    pub(crate) after: Duration,
    /// Whether it stays loaded when it has elapsed.
    pub(crate) remains: bool,
}

/// Takes the properties with an effect out of a call's; any other is refused as systemd refuses it.
struct Properties(BTreeMap<String, OwnedValue>);

impl Properties {
    fn read(given: Vec<Property>) -> Self {
        Self(given.into_iter().collect())
    }

    fn take<T>(&mut self, name: &str) -> Result<Option<T>>
    where
        T: TryFrom<OwnedValue>,
    {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        let signature = value.value_signature().to_string();
        let text = || format!("the property {name} is of the type '{signature}'");
        T::try_from(value).map(Some).map_err(|_| Refused::of_bus("InvalidArgs", text()))
    }

    fn text(&mut self, name: &str) -> Result<Option<String>> {
        self.take(name)
    }

    fn is_set(&mut self, name: &str, default: bool) -> Result<bool> {
        Ok(self.take(name)?.unwrap_or(default))
    }

    fn texts(&mut self, name: &str) -> Result<Vec<String>> {
        Ok(self.take(name)?.unwrap_or_default())
    }

    /// Refuses the remaining properties.
    fn end(self) -> Result<()> {
        match self.0.keys().find(|name| !WITHOUT_EFFECT.contains(&name.as_str())) {
            Some(name) => {
                let text = format!("Cannot set property {name}, or unknown property.");
                Err(Refused::of_bus("PropertyReadOnly", text))
            }
            None => Ok(()),
        }
    }
}

/// Returns the description of a unit, and the unit.
pub(crate) fn service(name: &str, given: Vec<Property>) -> Result<(String, Service)> {
    let mut properties = Properties::read(given);
    let description = properties.text("Description")?.unwrap_or_else(|| name.to_owned());
    let is_oneshot = match properties.text("Type")?.as_deref() {
        None | Some("simple" | "exec") => false,
        Some("oneshot") => true,
        Some(other) => return Err(Refused::of_bus("InvalidArgs", format!("Invalid service type: {other}"))),
    };
    let mut commands = Vec::new();
    for (program, words, may_fail) in
        properties.take::<Vec<(String, Vec<String>, bool)>>("ExecStart")?.unwrap_or_default()
    {
        commands.push(exec(&program, words, may_fail)?);
    }
    for (program, words, flags) in
        properties.take::<Vec<(String, Vec<String>, Vec<String>)>>("ExecStartEx")?.unwrap_or_default()
    {
        commands.push(exec(&program, words, flags.iter().any(|flag| flag == "ignore-failure"))?);
    }
    if commands.is_empty() || (commands.len() > 1 && !is_oneshot) {
        let text =
            format!("Unit {name} has a bad unit file setting: a oneshot has programs, any other service has one");
        return Err(Refused::own("BadUnitSetting", text));
    }
    let mut environment = Vec::new();
    for entry in properties.texts("Environment")? {
        let (key, value) = entry.split_once('=').ok_or_else(|| {
            Refused::of_bus("InvalidArgs", format!("Invalid environment block: '{entry}' is no NAME=VALUE"))
        })?;
        environment.push((key.to_owned(), value.to_owned()));
    }
    let service = Service {
        commands,
        is_oneshot,
        remains: properties.is_set("RemainAfterExit", false)?,
        collected_when_failed: properties.text("CollectMode")?.as_deref() == Some("inactive-or-failed"),
        environment,
        directory: properties.text("WorkingDirectory")?.map(PathBuf::from),
        child: Mutex::default(),
    };
    properties.end()?;
    Ok((description, service))
}

fn exec(program: &str, words: Vec<String>, may_fail: bool) -> Result<Exec> {
    if !program.starts_with('/') {
        return Err(Refused::of_bus("InvalidArgs", format!("Path {program} is not absolute.")));
    }
    if words.is_empty() {
        return Err(Refused::of_bus("InvalidArgs", format!("{program} has no argv[0]")));
    }
    Ok(Exec { program: program.into(), words, may_fail })
}

pub(crate) fn timer(name: &str, given: Vec<Property>) -> Result<(String, Timer)> {
    let mut properties = Properties::read(given);
    let description = properties.text("Description")?.unwrap_or_else(|| name.to_owned());
    let mut after: Vec<u64> = properties.take("OnActiveSec")?.into_iter().collect();
    for (base, microseconds) in properties.take::<Vec<(String, u64)>>("TimersMonotonic")?.unwrap_or_default() {
        if base != "OnActiveSec" {
            return Err(Refused::of_bus(
                "InvalidArgs",
                format!("Invalid timer base: {base}; here is OnActiveSec alone"),
            ));
        }
        after.push(microseconds);
    }
    let Some(after) = after.into_iter().min() else {
        let text = format!("Unit {name} has a bad unit file setting: the timer has no OnActiveSec");
        return Err(Refused::own("BadUnitSetting", text));
    };
    let remains = properties.is_set("RemainAfterElapse", true)?;
    properties.end()?;
    let unit = format!("{}.service", name.trim_end_matches(".timer"));
    Ok((description, Timer { unit, after: Duration::from_micros(after), remains }))
}

impl Service {
    pub(crate) fn is_collected_when_failed(&self) -> bool {
        self.collected_when_failed
    }

    pub(crate) fn type_name(&self) -> &'static str {
        if self.is_oneshot { "oneshot" } else { "simple" }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let group = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        group.is_some_and(|group| kill_process_group(group, signal).is_ok())
    }

    /// Ends its processes, and returns when they have ended.
    pub(crate) fn stop(&self) {
        let end = Instant::now() + GRACE;
        let mut signal = Signal::TERM;
        while self.signal(signal) {
            std::thread::sleep(Duration::from_millis(10));
            if Instant::now() > end {
                signal = Signal::KILL;
            }
        }
    }

    /// Runs its programs one after the other, to their end; `started` is called once the first one runs.
    fn run(&self, journal: &Path, started: impl FnOnce()) -> Outcome {
        let mut started = Some(started);
        for command in &self.commands {
            let Some(child) = self.launch(command, journal) else {
                return Outcome { result: "exit-code", status: EXEC };
            };
            *self.child() = Some(child);
            if let Some(started) = started.take() {
                started();
            }
            let status = self.await_child();
            let outcome = outcome(status);
            if !outcome.is_good() && !command.may_fail {
                return outcome;
            }
        }
        SUCCESS
    }

    fn launch(&self, command: &Exec, journal: &Path) -> Option<Child> {
        rustix::fs::access(&command.program, rustix::fs::Access::EXEC_OK).ok()?;
        let log = File::options().create(true).append(true).open(journal).expect("cannot open a journal");
        let mut process = catamaran_harness::die_with_parent(&command.program);
        process.args(&command.words[1..]).env_clear().env("PATH", PATH).envs(self.environment.iter().cloned());
        process.current_dir(self.directory.as_deref().unwrap_or(Path::new("/"))).process_group(0);
        process.stdin(Stdio::null()).stdout(log.try_clone().expect("cannot duplicate a log")).stderr(log);
        catamaran_harness::spawn(process).ok()
    }

    fn await_child(&self) -> ExitStatus {
        loop {
            {
                let mut child = self.child();
                let ended = child.as_mut().expect("it runs").try_wait().expect("cannot wait for a child");
                if let Some(status) = ended {
                    *child = None;
                    return status;
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn outcome(status: ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(0), _) => SUCCESS,
        (Some(code), _) => Outcome { result: "exit-code", status: code },
        // systemd counts an end by SIGTERM as success.
        (None, Some(signal)) if signal == Signal::TERM.as_raw() => SUCCESS,
        (None, signal) => Outcome { result: "signal", status: signal.unwrap_or_default() },
    }
}

pub(crate) fn perform_service(core: &Arc<Core>, job: &Job, service: &Arc<Service>, state: State) -> &'static str {
    let name = &job.unit;
    if job.work != Work::Start {
        core.set_state(name, State::STOPPING);
        service.stop();
        core.set_state(name, State::DEAD);
    }
    if job.work == Work::Stop || (job.work == Work::Start && state.is_active()) {
        return "done";
    }
    core.change(name, |unit| {
        unit.state = State::STARTING;
        unit.starts += 1;
    });
    let generation = core.get(name).map(|unit| unit.generation);
    let (tell, told) = channel();
    let (core, service, name) = (Arc::clone(core), Arc::clone(service), name.clone());
    std::thread::spawn(move || {
        let outcome = service.run(&core.journal_path(&name), || {
            if !service.is_oneshot {
                core.set_state(&name, State::RUNNING);
                let _ = tell.send(None);
            }
        });
        // Sets no state if the unit has got another job, which sets it.
        core.change(&name, |unit| {
            if Some(unit.generation) == generation {
                unit.state = match outcome.is_good() {
                    true if service.remains => State::EXITED,
                    true => State::DEAD,
                    false => State::FAILED,
                };
                (unit.result, unit.status) = (outcome.result, outcome.status);
            }
        });
        let _ = tell.send(Some(outcome));
        // After the signal of the job's end.
        core.wait(None, |core| core.job_of(&name).is_none());
        core.collect(&name);
    });
    match told.recv() {
        Ok(started) if started.is_none_or(Outcome::is_good) => "done",
        Ok(_) | Err(_) => "failed",
    }
}

pub(crate) fn perform_timer(core: &Arc<Core>, job: &Job, timer: &Arc<Timer>, state: State) -> &'static str {
    let name = &job.unit;
    if job.work == Work::Stop {
        core.set_state(name, State::DEAD);
        return "done";
    }
    if job.work == Work::Start && state.is_active() {
        return "done";
    }
    core.change(name, |unit| {
        unit.state = State::WAITING;
        unit.starts += 1;
    });
    let generation = core.get(name).map(|unit| unit.generation);
    let (core, timer, name) = (Arc::clone(core), Arc::clone(timer), name.clone());
    let end = Instant::now() + timer.after;
    std::thread::spawn(move || {
        let disarmed = |core: &Core| core.get(&name).map(|unit| unit.generation) != generation;
        if core.wait(Some(end), disarmed) || core.is_stopped() {
            return;
        }
        // This is refused if the timer's service is gone. While the timer waits, and then while the job runs, the service stays loaded.
        let _ = core.start_by_itself(&timer.unit, "replace");
        core.change(&name, |unit| {
            if Some(unit.generation) == generation {
                unit.state = State::ELAPSED;
            }
        });
        core.collect(&name);
        // The service may have ended before the timer did. A timer that remains does not unload it.
        core.collect(&timer.unit);
    });
    "done"
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use zbus::zvariant::Value;

    use super::*;

    fn given(entries: HashMap<&str, Value<'static>>) -> Vec<Property> {
        entries.into_iter().map(|(name, value)| (name.to_owned(), value.try_into().unwrap())).collect()
    }

    #[test]
    fn an_unknown_property_and_a_relative_program_are_refused() {
        let start = |program: &str| Value::from(vec![(program.to_owned(), vec!["one".to_owned()], false)]);
        let read = |entries| service("one.service", given(HashMap::from(entries)));
        assert!(read([("ExecStart", start("/bin/true")), ("Slice", "system.slice".into())]).is_ok());
        let refused = read([("ExecStart", start("/bin/true")), ("Sliced", "x".into())]).unwrap_err();
        assert!(format!("{refused:?}").contains("Cannot set property Sliced"), "{refused:?}");
        let refused = read([("ExecStart", start("true")), ("Slice", "x".into())]).unwrap_err();
        assert!(format!("{refused:?}").contains("Path true is not absolute"), "{refused:?}");
        let refused = read([("ExecStart", start("/bin/true")), ("Type", 7_u32.into())]).unwrap_err();
        assert!(format!("{refused:?}").contains("InvalidArgs"), "{refused:?}");
        assert!(read([("Type", "oneshot".into()), ("Slice", "x".into())]).is_err());
    }

    #[test]
    fn a_timer_counts_from_when_it_is_started() {
        let timers = Value::from(vec![("OnActiveSec".to_owned(), 1_500_000_u64)]);
        let (_, read) = timer("one.timer", given(HashMap::from([("TimersMonotonic", timers)]))).unwrap();
        assert_eq!((read.unit.as_str(), read.after), ("one.service", Duration::from_millis(1500)));
        let timers = Value::from(vec![("OnBootSec".to_owned(), 1_u64)]);
        assert!(timer("one.timer", given(HashMap::from([("TimersMonotonic", timers)]))).is_err());
        assert!(timer("one.timer", Vec::new()).is_err());
    }
}
