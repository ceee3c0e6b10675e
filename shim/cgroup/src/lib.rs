//! The container's cgroup: made before the worker, with the spec's limits and our own on devices, emptied and removed at
//! Delete.
//!
//! ```text
//!          plan      create                admit (the intermediate)       settle (the worker exists)
//! v1       folders   made, limits, rules   - (it moves itself)            a limit below two processes
//! v2       folder    made, limits, program - (CLONE_INTO_CGROUP)          a limit below two processes
//! systemd  scope     -                     scope made, limits, program    a limit below two processes
//! ```
//!
//! A host with v1's controllers may have v2's tree beside them: a process is cloned into that one as on v2.
//!
//! `limits`, `v1` and `v2` turn the spec into values for the kernel's files; `write` writes them, `update` changes them later, and
//! `freezer` stops the processes. `remove` must also work from `delete`, which has nothing but the folders' paths.

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

/// The intermediate and its clone, the worker, are both in the cgroup for a moment.
const TOGETHER: u64 = 2;
const PIDS: &str = "pids.max";

/// The cgroup of one container.
#[derive(Debug)]
pub struct Cgroup {
    kind: Kind,
    /// The planned folders, one a hierarchy.
    folders: Vec<PathBuf>,
    settings: Vec<Setting>,
    /// Held while limits are changed, because an Update must read what the one before has written.
    updating: tokio::sync::Mutex<()>,
    /// Set if the cgroup turned out to hold somebody else's processes, which must not be killed.
    foreign: AtomicBool,
}

#[derive(Debug)]
enum Kind {
    /// A folder in each, in the order of [`Cgroup::folders`].
    V1(Vec<Hierarchy>),
    /// The controllers that the cgroup cannot have, and why. Never locked across an await.
    V2(Mutex<Vec<Withheld>>),
    /// The scope, and the folder in which systemd made it.
    Systemd(Scope, OnceLock<PathBuf>),
}

impl Kind {
    /// Returns the settings for a spec's resources.
    fn settings(&self, resources: &LinuxResources) -> Result<Vec<Setting>> {
        match self {
            Kind::V1(_) => v1::settings(resources),
            Kind::V2(_) => v2::settings(resources),
            Kind::Systemd(..) => Ok(v2::settings(resources)?.into_iter().map(properties::kept).collect()),
        }
    }
}

impl Cgroup {
    /// Plans the cgroup's place and values, and makes nothing yet. Refuses a place with somebody else's processes or cgroups,
    /// because everything in a container's cgroup is killed with the container.
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

    /// Returns the folders for [`remove`]: none, if the cgroup turned out to be somebody else's.
    pub fn folders(&self) -> &[PathBuf] {
        if self.foreign.load(Ordering::Relaxed) { &[] } else { &self.folders }
    }

    /// Makes the folders and sets the limits that can be set before there is a process.
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
        // A host may have its devices controller disabled, but v2's tree mounted for systemd's own use.
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

    /// Gives all folders up if somebody else is in one of them, and removes those made before it, which are empty.
    fn disown(&self, e: &Error, made: &[PathBuf]) {
        if matches!(e, Error::Occupied(_)) {
            self.foreign.store(true, Ordering::Relaxed);
            made.iter().for_each(|folder| {
                // A folder that cannot be removed is not empty, and not ours then.
                let _ = fs::remove_dir(folder);
            });
        }
    }

    /// Returns the settings for as long as the intermediate is in the cgroup too.
    fn early(&self) -> Vec<Setting> {
        let mut settings = self.settings.clone();
        for setting in settings.iter_mut().filter(|setting| is_below_two(setting)) {
            setting.value = TOGETHER.to_string();
        }
        settings
    }

    /// Returns the folders that an intermediate moves itself into: those of v1's trees.
    pub fn folders_to_enter(&self) -> Vec<PathBuf> {
        let Kind::V1(hierarchies) = &self.kind else { return Vec::new() };
        let all = hierarchies.iter().zip(&self.folders);
        all.filter(|(hierarchy, _)| !hierarchy.is_v2()).map(|(_, folder)| folder.clone()).collect()
    }

    /// Opens the folder that the container's first process is cloned into: that of v2's tree, unless it is a scope of systemd's.
    pub fn folder_to_clone_into(&self) -> Result<Option<OwnedFd>> {
        match &self.kind {
            Kind::Systemd(..) => Ok(None),
            _ => self.folder_of_further(),
        }
    }

    /// Opens the folder that a further process of the container is cloned into: that of v2's tree.
    pub fn folder_of_further(&self) -> Result<Option<OwnedFd>> {
        let folder = match &self.kind {
            Kind::V1(hierarchies) => {
                hierarchies.iter().position(Hierarchy::is_v2).and_then(|place| self.folders.get(place))
            }
            Kind::V2(_) => self.folders.first(),
            Kind::Systemd(_, found) => found.get(),
        };
        folder.map(|folder| File::open(folder).map(OwnedFd::from).on(folder)).transpose()
    }

    /// Has systemd make its scope with the intermediate in it. Into folders the intermediate comes by itself.
    pub async fn admit(&self, pid: u32) -> Result<()> {
        match &self.kind {
            Kind::V1(_) | Kind::V2(_) => Ok(()),
            Kind::Systemd(scope, found) => self.start_scope(scope, found, pid).await,
        }
    }

    /// Moves a process into the cgroup that neither moves itself nor was cloned into it.
    pub async fn take_in(&self, pid: u32) -> Result<()> {
        match &self.kind {
            Kind::V1(_) | Kind::V2(_) => self.folders.iter().try_for_each(|folder| {
                let procs = folder.join("cgroup.procs");
                write::put(&procs, &pid.to_string()).on(&procs)
            }),
            Kind::Systemd(..) => self.admit(pid).await,
        }
    }

    async fn start_scope(&self, scope: &Scope, found: &OnceLock<PathBuf>, pid: u32) -> Result<()> {
        if found.get().is_some() {
            // The scope of an earlier worker, whose artifact did not fit, may not be gone yet.
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

    /// Sets the limit that could not be set while the intermediate was there. The guest has not begun yet.
    pub async fn settle(&self) -> Result<()> {
        // The last setting counts: `unified` may have named the file too.
        let last = self.settings.iter().rfind(|setting| setting.file == PIDS);
        let Some(late) = last.filter(|setting| is_below_two(setting)) else { return Ok(()) };
        match &self.kind {
            Kind::V1(_) | Kind::V2(_) => {}
            Kind::Systemd(scope, _) => {
                // systemd writes its own value into the file, never one below 1.
                scope::change(scope, properties::limit(late)).await?;
            }
        }
        write::write_all(self, std::iter::once(late))
    }

    /// Returns the pids of the cgroup's processes, as the shim sees them.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let found = match &self.kind {
            Kind::Systemd(_, found) => found.get(),
            _ => None,
        };
        // A container of runc has no folder in some trees.
        let made = || self.folders.iter().find(|folder| folder.exists()).or(self.folders.first());
        match found.or_else(made) {
            Some(folder) => remove::processes(folder).on(folder),
            None => Ok(Vec::new()),
        }
    }

    /// Whether the controllers' files are v1's.
    pub fn is_v1(&self) -> bool {
        matches!(self.kind, Kind::V1(_))
    }

    /// Returns the folder of a controller's files; None if the host does not have the controller. On v2 all share one folder.
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
                format!("the {controller} controller is not available below {}: {reason}", folder.display())
            }
            None => format!("its cgroups (v2) have no {controller} controller"),
        }
    }
}

fn is_below_two(setting: &Setting) -> bool {
    setting.file == PIDS && setting.value.trim().parse::<u64>().is_ok_and(|n| n < TOGETHER)
}

/// Returns the folder of a process's cgroup, on v2.
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
    fn v1s_folders_are_entered_and_v2s_beside_them_is_cloned_into() {
        let mut cgroup = stand("hybrid", &[]);
        let v1 = cgroup.folders[0].clone();
        assert_eq!(cgroup.folders_to_enter(), std::slice::from_ref(&v1));
        assert!(cgroup.folder_to_clone_into().unwrap().is_none() && cgroup.folder_of_further().unwrap().is_none());
        let v2 = v1.join("unified");
        fs::create_dir(&v2).unwrap();
        if let Kind::V1(hierarchies) = &mut cgroup.kind {
            hierarchies.insert(0, Hierarchy { controllers: Vec::new(), mount: std::env::temp_dir() });
        }
        cgroup.folders.insert(0, v2.clone());
        assert_eq!(cgroup.folders_to_enter(), std::slice::from_ref(&v1));
        for folder in [cgroup.folder_to_clone_into(), cgroup.folder_of_further()] {
            let folder = folder.unwrap().unwrap();
            let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder));
            assert_eq!(fs::read_link(link).unwrap(), v2);
        }
        fs::remove_dir_all(&v1).unwrap();
    }

    #[test]
    fn another_containers_cgroup_is_not_removed() {
        let cgroup = stand("foreign", &[]);
        cgroup.disown(&Error::Occupied(String::new()), &[]);
        assert!(cgroup.folders().is_empty());
        fs::remove_dir_all(&cgroup.folders[0]).unwrap();
    }
}
