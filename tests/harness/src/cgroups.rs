//! A node's cgroups, in every controller's tree of version 1 and in version 2's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// How deep below the root a node's cgroup may be: the controller, a slice or two, the node's own.
const DEPTH: usize = 5;

/// The topmost cgroups whose names contain the word.
pub(crate) fn named(word: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    search(Path::new(ROOT), DEPTH, &mut |path| {
        let hit = path.file_name().is_some_and(|name| name.to_string_lossy().contains(word));
        if hit {
            found.push(path.to_owned());
        }
        hit
    });
    found.sort();
    found
}

/// Returns the cgroups of a node's containers: those below the one named by the tag, those with a name longer than the tag (systemd's
/// scopes), and the tag's own only while it holds processes: runc makes it as a parent and leaves it empty.
pub(crate) fn of_containers(tag: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for cgroup in named(tag) {
        let empty = fs::read_to_string(cgroup.join("cgroup.procs")).is_ok_and(|pids| pids.is_empty());
        let own = cgroup.file_name().is_some_and(|name| name == tag);
        if !own || !empty {
            found.push(cgroup.clone());
        }
        found.extend(children(&cgroup));
    }
    found
}

/// Makes a cgroup of the node's tag below every root, with the processors and the memory of the machine (version 1 gives a
/// new cgroup none).
pub(crate) fn make(tag: &str) -> io::Result<()> {
    let trees = fs::read_dir(ROOT)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    for tree in trees.map(|entry| entry.path()).chain([ROOT.into()]) {
        let is_root = tree.join("cgroup.procs").exists() && !tree.join("cgroup.type").exists();
        if !is_root {
            continue;
        }
        let cgroup = tree.join(tag);
        fs::create_dir_all(&cgroup)?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(all) = fs::read(tree.join(file)) {
                fs::write(cgroup.join(file), all)?;
            }
        }
    }
    Ok(())
}

/// Walks folders, but enters none for which `stop` returns true, and follows no links (`cpu,cpuacct` has some).
fn search(dir: &Path, depth: usize, stop: &mut impl FnMut(&Path) -> bool) {
    if depth == 0 {
        return;
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !stop(&entry.path()) {
            search(&entry.path(), depth - 1, stop);
        }
    }
}

/// Thaws a cgroup and those below it: a frozen process does not die.
pub(crate) fn thaw(cgroup: &Path) {
    for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        if cgroup.join(file).exists() {
            // A cgroup that vanishes meanwhile needs no thawing.
            let _ = fs::write(cgroup.join(file), value);
        }
    }
    for child in children(cgroup) {
        thaw(&child);
    }
}

/// Removes a cgroup and those below it; their processes must be gone.
pub(crate) fn remove(cgroup: &Path) -> io::Result<()> {
    for child in children(cgroup) {
        remove(&child)?;
    }
    match fs::remove_dir(cgroup) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io::Error::new(error.kind(), format!("{}: {error}", cgroup.display())))
        }
        _ => Ok(()),
    }
}

fn children(cgroup: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cgroup).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Removes the node-wide cgroups of compiles, unless another test has a compile under way.
pub(crate) fn remove_compilers() {
    let root = Path::new("/sys/fs/cgroup");
    let trees = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for tree in trees.chain([root.to_owned()]) {
        // In use, or not there.
        for name in ["catamaran-compile", "catamaran-compile-later"] {
            let _ = fs::remove_dir(tree.join(name));
        }
    }
}
