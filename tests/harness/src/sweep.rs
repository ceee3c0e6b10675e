//! Removes everything that belongs to a node: at the node's end, or after its test was killed.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::mount::{UnmountFlags, unmount};

use crate::{bridge, cgroups, deadline, leftovers, processes, tag};

/// Removes everything that names the tag, and returns what it could not remove.
pub(crate) fn sweep(tag: &str, dir: &Path) -> Vec<String> {
    let mut troubles = Vec::new();
    for cgroup in cgroups::named(tag) {
        cgroups::thaw(&cgroup);
    }
    // Repeats, because a process may have started another one just before it was killed.
    let quiet = deadline::poll(Duration::from_secs(10), || {
        let alive = processes::list(tag);
        for process in &alive {
            process.kill();
        }
        alive.is_empty().then_some(())
    });
    if quiet.is_none() {
        troubles.push(format!("processes of {tag} do not die"));
    }
    // The last mount first; detached, because a namespace that is being torn down may still hold a mount.
    for path in leftovers::mounts(tag).iter().rev() {
        if let Err(error) = unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            troubles.push(format!("cannot unmount {}: {error}", path.display()));
        }
    }
    let mut last = String::new();
    let gone = deadline::poll(Duration::from_secs(5), || {
        let failed = cgroups::named(tag).iter().find_map(|cgroup| cgroups::remove(cgroup).err());
        last = failed.as_ref().map(ToString::to_string).unwrap_or_default();
        failed.is_none().then_some(())
    });
    if gone.is_none() {
        troubles.push(format!("cannot remove cgroup {last}"));
    }
    cgroups::remove_compilers();
    for unit in leftovers::units(tag) {
        forget(&unit, &mut troubles);
    }
    for path in leftovers::sockets(dir).into_iter().chain(leftovers::netns(tag)) {
        if let Err(error) = fs::remove_file(&path) {
            troubles.push(format!("cannot remove {}: {error}", path.display()));
        }
    }
    // Files before their folders, in the order of the list.
    for path in leftovers::states(dir) {
        let removed = if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            // Some contain runc's state of a container.
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        if let Err(error) = removed {
            troubles.push(format!("cannot remove {}: {error}", path.display()));
        }
    }
    troubles.extend(bridge::remove(tag, dir));
    remove_folder(tag, dir, &mut troubles);
    troubles
}

/// Makes systemd forget a unit: it drops units without processes by itself, except failed ones.
fn forget(unit: &str, troubles: &mut Vec<String>) {
    for verb in ["stop", "reset-failed"] {
        // systemd refuses if the unit has gone meanwhile, or had not failed; either way the unit is gone in the end.
        if let Err(error) = Command::new("systemctl").args([verb, unit]).output() {
            troubles.push(format!("cannot run systemctl {verb} {unit}: {error}"));
        }
    }
    let gone = deadline::poll(Duration::from_secs(5), || leftovers::units(unit).is_empty().then_some(()));
    if gone.is_none() {
        troubles.push(format!("cannot remove the systemd unit {unit}"));
    }
}

fn remove_folder(tag: &str, dir: &Path, troubles: &mut Vec<String>) {
    // While something is mounted below, removing the folder would remove files that are not the node's.
    let mounted = leftovers::mounts(tag);
    if !mounted.is_empty() {
        troubles.push(format!("{} is kept: still mounted are {mounted:?}", dir.display()));
    } else if let Err(error) = fs::remove_dir_all(dir)
        && dir.exists()
    {
        troubles.push(format!("cannot remove {}: {error}", dir.display()));
    }
}

/// Sweeps the nodes whose owners were killed before they could; once in each program.
///
/// # Panics
/// When the lock that keeps two programs apart cannot be taken.
pub fn sweep_stale() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let folder = std::env::temp_dir();
        // Two test programs that start together must not sweep the same node.
        let path = folder.join("catamaran-test.lock");
        let lock = File::create(&path).unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()));
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).expect("cannot lock");
        let mut tags: Vec<String> = Vec::new();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            tags.push(entry.file_name().to_string_lossy().into_owned());
        }
        for cgroup in cgroups::named(tag::PREFIX) {
            tags.extend(cgroup.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
        tags.sort();
        tags.dedup();
        for tag in tags.iter().filter(|tag| tag::is_stale(tag)) {
            eprintln!("sweeping {tag}, whose test was killed");
            for trouble in sweep(tag, &folder.join(tag)) {
                eprintln!("{trouble}");
            }
        }
    });
}
