//! Changes the limits of a cgroup while there are processes in it. Limits that an Update does not name stay.
//!
//! ```text
//! shim    resources, completed by the kernel's present values -> table (`v1`, `v2`) -> steps: file, value, present value
//! child   writes the values, then tells systemd; ends at the first that is refused
//! shim    all or nothing: a second child sets back the values written; the error names those that could not be set back
//! ```
//!
//! A child ([`catamaran_host::errand`]) writes, because a write may block: to lower a limit of memory, the kernel takes the memory
//! from the processes in the write itself. 600 MB of files in its cache took 0.33 s on v1.

mod complete;
mod explain;
mod step;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use catamaran_host::{errand, programs};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use self::step::{Before, Step, is_whole};
use super::limits::{Limit, Setting};
use super::request::{Answer, Property, Request};
use super::write::{self, find, in_two_rounds, put};
use super::{Cgroup, Kind, properties, scope};
use crate::error::{Doing, Error, Result};

/// How long the kernel may take memory from processes; a kubelet waits for two minutes. A child that is killed then stops writing.
const PATIENCE: Duration = Duration::from_secs(20);
const DOING: &str = "Update: writing limits";

/// The child's task.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    values: Vec<(PathBuf, String)>,
    /// The properties to set in systemd, for the scope of this name, when all values are written.
    scope: Option<(String, Vec<Property>)>,
}

/// The child's result.
#[derive(Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// Everything was written.
    Done,
    /// The kernel refuses the value of this index, with this error number.
    Refused(usize, i32),
    /// The reason why systemd refuses the properties.
    Systemd(String),
}

impl Cgroup {
    /// Sets all limits or, as far as possible, none: an error names those that could not be set back.
    pub async fn update(&self, mut resources: LinuxResources) -> Result<()> {
        let _one_by_one = self.updating.lock().await;
        let steps = self.steps(&mut resources).map_err(of_update)?;
        if steps.is_empty() {
            return Ok(());
        }
        let failed = match carry_out(&steps, self.told(&steps)).await {
            Ok(Some(Outcome::Done)) => return Ok(()),
            failed => failed,
        };
        let left = match self.set_back(&steps).await[..] {
            [] => "; nothing was changed".to_owned(),
            ref left => format!("; these could not be set back: {}", left.join(", ")),
        };
        let refused = |at: usize, errno| {
            let step = steps.get(at)?;
            Some(explain::refusal(step, &io::Error::from_raw_os_error(errno), &left))
        };
        let reason = match failed {
            Ok(Some(Outcome::Refused(at, errno))) => match refused(at, errno) {
                Some(e) => return Err(e),
                None => format!("value {at} was refused, of {}", steps.len()),
            },
            Ok(Some(Outcome::Systemd(reason))) => format!("systemd: {reason}"),
            Ok(_) => format!("the kernel was not done after {PATIENCE:?}"),
            Err(e) => e.to_string(),
        };
        Err(io::Error::other(format!("{reason}{left}"))).doing(|| DOING.to_owned())
    }

    /// Returns the values to write, in the order in which the kernel takes them. Finds every error that can be found before the
    /// first value is written.
    fn steps(&self, resources: &mut LinuxResources) -> Result<Vec<Step>> {
        if !self.is_v1() {
            let now = |file: &str| std::fs::read_to_string(self.files("cgroup")?.join(file)).ok();
            complete::complete(resources, &now)?;
            check_usage(resources, &now)?;
        }
        let mut settings = self.kind.settings(resources)?;
        settings.sort_by_key(|setting| setting.controller() == "memory");
        // The kernel gives an idle cgroup a weight of its own, and takes no other.
        if settings.iter().any(|setting| setting.file == "cpu.idle" && setting.value == "1") {
            settings.retain(|setting| !["cpu.shares", "cpu.weight"].contains(&setting.file.as_str()));
        }
        let mut steps: Vec<Step> = Vec::new();
        for setting in &settings {
            let Some((path, setting)) = find(self, setting)? else { continue };
            let text = std::fs::read_to_string(&path).ok();
            let before = Before::new(setting, text.as_deref());
            // The last value counts: containerd sends the huge page limits of before and those of now.
            steps.retain(|step| !(step.path == path && is_whole(&step.setting) && is_whole(setting)));
            steps.push(Step { setting: setting.clone(), path, before });
        }
        steps.retain(|step| !is_whole(&step.setting) || step.before != Before::Value(step.setting.value.clone()));
        Ok(steps)
    }

    /// Returns the steps' properties for systemd.
    fn told(&self, steps: &[Step]) -> Option<(String, Vec<Property>)> {
        let Kind::Systemd(scope, _) = &self.kind else { return None };
        let told: Vec<_> = steps.iter().flat_map(|step| properties::limit(&step.setting)).collect();
        (!told.is_empty()).then(|| (scope.unit.clone(), told))
    }

    /// Sets back the files that have changed, the last one first. Returns the keys of those that it could not set back.
    async fn set_back(&self, steps: &[Step]) -> Vec<String> {
        let now = |step: &Step| Before::new(&step.setting, std::fs::read_to_string(&step.path).ok().as_deref());
        // A cgroup that is gone by now needs no setting back.
        let changed = |step: &&Step| step.path.exists() && now(step) != step.before;
        let back = steps.iter().rev().filter(changed).filter_map(|step| match &step.before {
            Before::Value(value) if may_go_back(step, value) => {
                Some(Step { setting: Setting { value: value.clone(), ..step.setting.clone() }, ..step.clone() })
            }
            _ => None,
        });
        let back: Vec<Step> = back.collect();
        if !back.is_empty() {
            // The result is checked below. Tell systemd too: it may have taken the new values, and not answered in time.
            let _ = carry_out(&back, self.told(&back)).await;
        }
        let mut left: Vec<String> = steps.iter().filter(changed).map(|step| step.setting.key.clone()).collect();
        left.dedup();
        left
    }
}

/// Refuses a limit below the usage if the client wants that (`checkBeforeUpdate`): v2 would kill. v1 refuses by itself.
fn check_usage(resources: &LinuxResources, now: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    let Some(memory) = resources.memory().as_ref().filter(|memory| memory.check_before_update() == Some(true)) else {
        return Ok(());
    };
    let Some(used) = now("memory.current").and_then(|text| text.trim().parse::<u64>().ok()) else { return Ok(()) };
    for (key, value) in [("memory.limit", memory.limit()), ("memory.swap", memory.swap())] {
        if let Some(Limit::Of(limit)) = Limit::parse(key, value)?
            && limit <= used
        {
            return Err(Error::unavailable(
                format!("Update: linux.resources.{key}"),
                limit.to_string(),
                format!(
                    "more than the {used} bytes that it uses (memory.current), or memory.checkBeforeUpdate false, with which \
                     the kernel kills what is above; nothing was changed"
                ),
            ));
        }
    }
    Ok(())
}

/// Turns an error about a bundle into one about an Update.
fn of_update(e: Error) -> Error {
    match e {
        Error::Host(catamaran_host::Error::Refused { place, found, expected }) => {
            let place = place.replacen("config.json: ", "Update: ", 1);
            Error::refused(place, found, format!("{expected}; nothing was changed"))
        }
        e => e,
    }
}

async fn carry_out(steps: &[Step], scope: Option<(String, Vec<Property>)>) -> Result<Option<Outcome>> {
    let values = steps.iter().map(|step| (step.path.clone(), step.setting.value.clone())).collect();
    Ok(errand::run(programs::LIMITS, &Order { values, scope }, PATIENCE, DOING).await?)
}

/// Whether an old value may be written again. v2 would kill if memory has outgrown the old limit since.
fn may_go_back(step: &Step, value: &str) -> bool {
    if step.setting.file != "memory.max" {
        return true;
    }
    let used = std::fs::read_to_string(step.path.with_file_name("memory.current")).ok();
    let used: Option<u64> = used.and_then(|text| text.trim().parse().ok());
    value.parse::<u64>().is_err() || value.parse().ok() > used
}

/// Writes the values, in the child, and has `systemd` take the properties.
pub fn write_all(order: &Order, systemd: impl FnOnce(&Request, Duration) -> Answer) -> Outcome {
    let values = order.values.iter().enumerate();
    let written = in_two_rounds(values, |(_, (path, value))| put(path, value), |(_, e)| write::is_refusal(e));
    if let Err(((at, _), e)) = written {
        return Outcome::Refused(at, e.raw_os_error().unwrap_or(nix::libc::EIO));
    }
    let Some((unit, properties)) = &order.scope else { return Outcome::Done };
    let request = Request::Change { unit: unit.clone(), properties: properties.clone() };
    match systemd(&request, scope::TO_CHANGE) {
        Answer::Done => Outcome::Done,
        Answer::Exists => Outcome::Systemd("it has another unit of that name".to_owned()),
        Answer::Failed(reason) => Outcome::Systemd(reason),
    }
}
