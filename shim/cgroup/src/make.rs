//! Makes the folders of a container's cgroup.
//!
//! New folders above it stay at its removal, as runc leaves them: another runtime that makes a cgroup below one at the same moment
//! (runc does, in several steps) would fail if the folder went away.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::hierarchy::ROOT;
use super::remove::processes;
use super::write::put;
use crate::error::{Doing, Error, Result};

/// The most tries, because somebody may remove an empty folder above ours before ours is in it.
const MOST_TRIES: usize = 10;

/// Makes `folder`, which must be new, below `root`, and calls `prepare` with each folder on the way before its child is made.
pub(crate) fn make(root: &Path, folder: &Path, prepare: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    for _ in 1..MOST_TRIES {
        match make_once(root, folder, prepare) {
            Err(Error::Host(catamaran_host::Error::File { source, .. })) if source.kind() == ErrorKind::NotFound => {}
            made => return made,
        }
    }
    make_once(root, folder, prepare)
}

fn make_once(root: &Path, folder: &Path, prepare: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    let mut above: Vec<&Path> = folder.ancestors().skip(1).take_while(|path| path.starts_with(root)).collect();
    above.reverse();
    for path in above {
        match fs::create_dir(path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            made => made.on(path)?,
        }
        prepare(path)?;
    }
    // Remove a folder that a broken deletion left: it has old limits, and may be frozen.
    match fs::remove_dir(folder) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) if e.raw_os_error() == Some(nix::libc::EBUSY) => return Err(occupied(folder)),
        Err(e) => return Err(e).on(folder),
    }
    match fs::create_dir(folder) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(occupied(folder)),
        made => made.on(folder),
    }
}

pub(crate) fn occupied(folder: &Path) -> Error {
    Error::Occupied(folder.display().to_string())
}

/// Gives a cpuset without processors or memory nodes those of the one above, on v1: every new cpuset has none, and no process can
/// be in it until then.
pub(crate) fn inherit_cpuset(folder: &Path) -> Result<()> {
    let Some(parent) = folder.parent() else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let path = folder.join(file);
        if fs::read_to_string(&path).on(&path)?.trim().is_empty() {
            let above = parent.join(file);
            let all = fs::read_to_string(&above).on(&above)?;
            put(&path, all.trim()).on(&path)?;
        }
    }
    Ok(())
}

/// A controller that children of a folder cannot have.
#[derive(Debug)]
pub(crate) struct Withheld {
    pub(crate) controller: String,
    pub(crate) folder: PathBuf,
    pub(crate) reason: String,
}

/// Gives the children of `folder` every controller that it has itself, on v2, and returns those that the kernel withholds.
pub(crate) fn enable_controllers(folder: &Path) -> Result<Vec<Withheld>> {
    let words = |file: &str| {
        let path = folder.join(file);
        fs::read_to_string(&path).on(path).map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let enabled = words("cgroup.subtree_control")?;
    let mut wanted = words("cgroup.controllers")?;
    wanted.retain(|controller| !enabled.contains(controller));
    let control = folder.join("cgroup.subtree_control");
    // The kernel would enable the threaded controllers, and the folder below could then have no process.
    if folder != Path::new(ROOT) && !processes(folder).on(folder)?.is_empty() {
        let reason = reason(&io::Error::from_raw_os_error(nix::libc::EBUSY));
        let withheld = |controller| Withheld { controller, folder: folder.to_owned(), reason: reason.clone() };
        return Ok(wanted.into_iter().map(withheld).collect());
    }
    if wanted.is_empty() || put(&control, &format!("+{}", wanted.join(" +"))).is_ok() {
        return Ok(Vec::new());
    }
    // The kernel takes all controllers of a write or none: try each by itself.
    let mut withheld = Vec::new();
    for controller in wanted {
        match put(&control, &format!("+{controller}")) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::NotFound && !folder.exists() => return Err(e).on(control),
            Err(e) => withheld.push(Withheld { reason: reason(&e), controller, folder: folder.to_owned() }),
        }
    }
    Ok(withheld)
}

fn reason(e: &io::Error) -> String {
    match e.raw_os_error() {
        Some(nix::libc::EBUSY) => {
            "it has processes of its own, so that cgroups below it cannot be limited: a container's cgroup must lie elsewhere"
                .to_owned()
        }
        _ => e.to_string(),
    }
}

/// Refuses a folder below a «threaded» one, which takes no processes, on v2.
pub(crate) fn check_domain(folder: &Path) -> Result<()> {
    let path = folder.join("cgroup.type");
    match fs::read_to_string(&path).on(&path)?.trim() {
        "domain" => Ok(()),
        other => {
            let found = format!("{} is {other:?}", folder.display());
            let expected = "a cgroup below one that is neither threaded nor has processes beside threaded ones";
            Err(Error::refused("config.json: linux.cgroupsPath", found, expected))
        }
    }
}
