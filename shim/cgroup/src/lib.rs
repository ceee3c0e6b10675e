//! The container's cgroup: made before the worker, with the spec's limits and our own on devices, emptied and removed at
//! Delete.
//!
//! ```text
//!          plan      create                admit (the intermediate)       settle (the worker exists)
//! v1       folders   made, limits, rules   written into every hierarchy   a limit below two processes
//! v2       folder    made, limits, program -                              -                  (CLONE_INTO_CGROUP)
//! systemd  scope     -                     scope made, limits, program    a limit below two processes
//! ```
//!
//! `limits`, `v1` and `v2` say what is to be written; `write` writes it, and `update` what is changed later; `freezer` stops the
//! processes. What `remove` does must also work from `delete`, with nothing but the folders' paths.

mod adopted;
mod bpf;
mod compilers;
mod devices;
pub mod error;
mod freezer;
mod hierarchy;
mod limit_hit;
mod limits;
mod make;
mod oom;
mod plan;
mod properties;
mod remove;
pub mod request;
pub mod scope;
mod slice;
pub mod stats;
pub mod update;
mod v1;
mod v2;
mod write;

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use oci_spec::runtime::LinuxResources;

pub use self::compilers::Compilers;
use self::hierarchy::Hierarchy;
pub use self::hierarchy::is_unified;
use self::limits::Setting;
use self::make::Withheld;
pub use self::oom::Watch;
pub use self::remove::{PATIENCE, remove, remove_within};
use self::request::Answer;
use self::scope::Scope;
pub use self::slice::Slice;
use self::write::Controllers;
use crate::error::{Doing, Error, Result};

/// The intermediate and the worker that it clones are both in the cgroup for a moment.
const TOGETHER: u64 = 2;
const PIDS: &str = "pids.max";

/// The cgroup of one container.
#[derive(Debug)]
pub struct Cgroup {
    kind: Kind,
    /// Where it is planned to be, one folder a hierarchy.
    folders: Vec<PathBuf>,
    settings: Vec<Setting>,
    /// Held while limits are changed: one Update reads what the other has written.
    updating: tokio::sync::Mutex<()>,
    /// Set when somebody else turned out to have it: what is in it is not ours to kill.
    foreign: AtomicBool,
}

#[derive(Debug)]
enum Kind {
    /// A folder in each, in the order of [`Cgroup::folders`].
    V1(Vec<Hierarchy>),
    /// Controllers that it cannot have, and why. Never held across an await.
    V2(Mutex<Vec<Withheld>>),
    /// And where systemd put it.
    Systemd(Scope, OnceLock<PathBuf>),
}

impl Kind {
    /// What a spec's resources come to.
    fn settings(&self, resources: &LinuxResources) -> Result<Vec<Setting>> {
        match self {
            Kind::V1(_) => v1::settings(resources),
            Kind::V2(_) => v2::settings(resources),
            Kind::Systemd(..) => Ok(v2::settings(resources)?.into_iter().map(properties::kept).collect()),
        }
    }
}

impl Cgroup {
    /// Where the cgroup will be and what will be written there. Nothing is made yet; refused where somebody else's
    /// processes or cgroups are, since what is found in a container's cgroup is killed with it.
    pub fn plan(path: &str, resources: Option<&LinuxResources>) -> Result<Self> {
        let (kind, folders) = if is_unified() {
            let (kind, folder) = plan::v2(path)?;
            (kind, vec![folder])
        } else {
            plan::v1(path)?
        };
        let settings = resources.map(|resources| kind.settings(resources)).transpose()?.unwrap_or_default();
        for folder in &folders {
            if remove::is_used(folder).on(folder)? {
                return Err(make::occupied(folder));
            }
        }
        Ok(Self { kind, folders, settings, updating: tokio::sync::Mutex::default(), foreign: AtomicBool::new(false) })
    }

    /// What [`remove`] is to remove: nothing, if it turned out to be somebody else's.
    pub fn folders(&self) -> &[PathBuf] {
        if self.foreign.load(Ordering::Relaxed) { &[] } else { &self.folders }
    }

    /// Makes the folders and sets the limits, as far as that can be before there is a process.
    pub fn create(&self) -> Result<()> {
        let made = match &self.kind {
            Kind::V1(hierarchies) => self.create_v1(hierarchies),
            Kind::V2(withheld) => self.create_v2(withheld),
            Kind::Systemd(..) => return Ok(()),
        };
        made?;
        write::write_all(self, self.early().iter())
    }

    fn create_v1(&self, hierarchies: &[Hierarchy]) -> Result<()> {
        for (made, (hierarchy, folder)) in hierarchies.iter().zip(&self.folders).enumerate() {
            let cpuset = hierarchy.controllers.iter().any(|c| c == "cpuset");
            let mut prepare = |above: &Path| {
                if cpuset && above != hierarchy.mount { make::inherit_cpuset(above) } else { Ok(()) }
            };
            if let Err(e) = make::make(&hierarchy.mount, folder, &mut prepare) {
                self.disown(&e, &self.folders[..made]);
                return Err(e);
            }
            if cpuset {
                make::inherit_cpuset(folder)?;
            }
        }
        // A host may have its devices controller disabled, and v2's tree for systemd's own use.
        match (self.folder("devices"), hierarchies.iter().position(Hierarchy::is_v2)) {
            (Some(folder), _) => devices::restrict_by_rules(folder),
            (None, Some(v2)) => devices::restrict_by_program(&self.folders[v2]),
            (None, None) => {
                let expected = "a devices controller of cgroup v1, or cgroup v2 mounted beside it";
                Err(Error::refused("this host's cgroups", "neither", expected))
            }
        }
    }

    fn create_v2(&self, withheld: &Mutex<Vec<Withheld>>) -> Result<()> {
        let [folder] = self.folders.as_slice() else { return Ok(()) };
        let mut all = Vec::new();
        let root = Path::new(hierarchy::ROOT);
        let mut prepare = |above: &Path| make::enable_controllers(above).map(|some| all.extend(some));
        if let Err(e) = make::make(root, folder, &mut prepare) {
            self.disown(&e, &[]);
            return Err(e);
        }
        *withheld.lock().unwrap_or_else(PoisonError::into_inner) = all;
        make::check_domain(folder)?;
        devices::restrict_by_program(folder)
    }

    /// Nothing is ours when somebody is in one of the folders; those that were made before it are empty.
    fn disown(&self, e: &Error, made: &[PathBuf]) {
        if matches!(e, Error::Occupied(_)) {
            self.foreign.store(true, Ordering::Relaxed);
            made.iter().for_each(|folder| {
                // What does not go is not empty, and then it is not ours.
                let _ = fs::remove_dir(folder);
            });
        }
    }

    /// The settings of a cgroup that the intermediate is in as well.
    fn early(&self) -> Vec<Setting> {
        let mut settings = self.settings.clone();
        for setting in settings.iter_mut().filter(|setting| is_below_two(setting)) {
            setting.value = TOGETHER.to_string();
        }
        settings
    }

    /// v2: the folder that the worker is cloned into.
    pub fn folder_to_clone_into(&self) -> Result<Option<OwnedFd>> {
        match (&self.kind, self.folders.as_slice()) {
            (Kind::V2(_), [folder]) => Ok(Some(File::open(folder).on(folder)?.into())),
            _ => Ok(None),
        }
    }

    /// Moves the intermediate to where it clones the worker.
    pub async fn admit(&self, pid: u32) -> Result<()> {
        match &self.kind {
            Kind::V1(_) => self.folders.iter().try_for_each(|folder| {
                let procs = folder.join("cgroup.procs");
                write::put(&procs, &pid.to_string()).on(&procs)
            }),
            Kind::V2(_) => Ok(()),
            Kind::Systemd(scope, found) => self.start_scope(scope, found, pid).await,
        }
    }

    /// Moves a process that is not cloned into it.
    pub async fn take_in(&self, pid: u32) -> Result<()> {
        match (&self.kind, self.folders.as_slice()) {
            (Kind::V2(_), [folder]) => {
                let procs = folder.join("cgroup.procs");
                write::put(&procs, &pid.to_string()).on(&procs)
            }
            _ => self.admit(pid).await,
        }
    }

    /// Moves the intermediate of a further process to where it clones that, on v1: [`Cgroup::folder_of_further`] is for v2.
    pub async fn admit_further(&self, pid: u32) -> Result<()> {
        if self.is_v1() { self.admit(pid).await } else { Ok(()) }
    }

    /// What a further process of the container is cloned into, on v2.
    pub fn folder_of_further(&self) -> Result<Option<OwnedFd>> {
        let folder = match &self.kind {
            Kind::V1(_) => None,
            Kind::V2(_) => self.folders.first(),
            Kind::Systemd(_, found) => found.get(),
        };
        folder.map(|folder| File::open(folder).map(OwnedFd::from).on(folder)).transpose()
    }

    async fn start_scope(&self, scope: &Scope, found: &OnceLock<PathBuf>, pid: u32) -> Result<()> {
        if found.get().is_some() {
            // The scope of a worker whose artifact did not fit, which may just be going away.
            remove(&self.folders).await?;
        }
        let settings = self.early();
        let answer = scope::start(scope, properties::list(scope, pid, &settings)).await?;
        if answer == Answer::Exists {
            self.foreign.store(true, Ordering::Relaxed);
            return Err(Error::Occupied(format!("unit {} of systemd", scope.unit)));
        }
        scope::done(&scope.unit, "starting", answer)?;
        let folder = found.get_or_init(|| folder_of(pid).unwrap_or_default());
        if !folder.ends_with(&scope.unit) {
            let e = std::io::Error::other(format!("it is in {:?}", folder.display()));
            return Err(e).doing(|| format!("finding the process in the unit {} of systemd", scope.unit));
        }
        write::write_all(self, settings.iter())?;
        devices::restrict_by_program(folder)
    }

    /// Sets what could not be set while the intermediate was there. The guest has not begun yet.
    pub async fn settle(&self) -> Result<()> {
        // The last one counts: `unified` may have named the file too.
        let last = self.settings.iter().rfind(|setting| setting.file == PIDS);
        let Some(late) = last.filter(|setting| is_below_two(setting)) else { return Ok(()) };
        match &self.kind {
            Kind::V1(_) | Kind::V2(_) => {}
            Kind::Systemd(scope, _) => {
                // It writes its own into the file, which takes none below one.
                scope::change(scope, properties::limit(late)).await?;
            }
        }
        write::write_all(self, std::iter::once(late))
    }

    /// The processes in it, as the shim sees them.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let found = match &self.kind {
            Kind::Systemd(_, found) => found.get(),
            _ => None,
        };
        // runc's containers have no folder in some trees.
        let made = || self.folders.iter().find(|folder| folder.exists()).or(self.folders.first());
        match found.or_else(made) {
            Some(folder) => remove::processes(folder).on(folder),
            None => Ok(Vec::new()),
        }
    }

    /// Whether a controller's files are v1's.
    pub fn is_v1(&self) -> bool {
        matches!(self.kind, Kind::V1(_))
    }

    /// Where a controller's files are: none where the host does not have the controller. On v2 one folder is everybody's.
    pub fn files(&self, controller: &str) -> Option<&Path> {
        self.folder(controller)
    }
}

impl Controllers for Cgroup {
    fn folder(&self, controller: &str) -> Option<&Path> {
        match &self.kind {
            Kind::V1(hierarchies) => {
                let place = hierarchies.iter().position(|h| h.controllers.iter().any(|c| c == controller))?;
                self.folders.get(place).map(PathBuf::as_path)
            }
            Kind::V2(_) => self.folders.first().map(PathBuf::as_path),
            Kind::Systemd(_, found) => found.get().map(PathBuf::as_path),
        }
    }

    fn absence(&self, controller: &str) -> String {
        let withheld = match &self.kind {
            Kind::V1(_) => return format!("its cgroups (v1) have no {controller} controller"),
            Kind::Systemd(scope, _) => {
                return format!("its cgroups (v2) have no {controller} controller for {}", scope.unit);
            }
            Kind::V2(withheld) => withheld.lock().unwrap_or_else(PoisonError::into_inner),
        };
        match withheld.iter().find(|withheld| withheld.controller == controller) {
            Some(Withheld { folder, reason, .. }) => {
                format!("the {controller} controller cannot be had below {}: {reason}", folder.display())
            }
            None => format!("its cgroups (v2) have no {controller} controller"),
        }
    }
}

fn is_below_two(setting: &Setting) -> bool {
    setting.file == PIDS && setting.value.trim().parse::<u64>().is_ok_and(|n| n < TOGETHER)
}

/// v2: where a process is.
fn folder_of(pid: u32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(hierarchy::ROOT).join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cgroup of v1 whose pids controller is a plain folder.
    fn stand(name: &str, pids: &[&str]) -> Cgroup {
        let folder = std::env::temp_dir().join(format!("catamaran-cgroup-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(PIDS), "").unwrap();
        let setting = |value: &&str| Setting {
            key: "pids.limit".to_owned(),
            file: PIDS.to_owned(),
            value: (*value).to_owned(),
            missing: limits::Missing::Refused,
        };
        Cgroup {
            kind: Kind::V1(vec![Hierarchy { controllers: vec!["pids".to_owned()], mount: std::env::temp_dir() }]),
            folders: vec![folder],
            settings: pids.iter().map(setting).collect(),
            updating: tokio::sync::Mutex::default(),
            foreign: AtomicBool::new(false),
        }
    }

    #[test]
    fn a_process_limit_below_two_is_set_after_the_clone() {
        for (name, pids, early, late) in [
            ("one", &["1"] as &[&str], "2", "1"),
            ("two", &["2"], "2", "2"),
            ("more", &["1", "7"], "7", "7"),
            ("less", &["7", "0"], "2", "0"),
        ] {
            let cgroup = stand(name, pids);
            let file = cgroup.folders[0].join(PIDS);
            let read = || fs::read_to_string(&file).unwrap();
            write::write_all(&cgroup, cgroup.early().iter()).unwrap();
            assert_eq!(read(), early, "{name}");
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(cgroup.settle()).unwrap();
            assert_eq!(read(), late, "{name}");
            fs::remove_dir_all(&cgroup.folders[0]).unwrap();
        }
    }

    #[test]
    fn another_containers_cgroup_is_not_removed() {
        let cgroup = stand("foreign", &[]);
        cgroup.disown(&Error::Occupied(String::new()), &[]);
        assert!(cgroup.folders().is_empty());
        fs::remove_dir_all(&cgroup.folders[0]).unwrap();
    }
}
