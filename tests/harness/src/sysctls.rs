//! Records the kernel settings that a node's programs change, and restores them when the last node that recorded them is removed, even if
//! its test was killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

const SETTINGS: &str = "/proc/sys";

/// Returns the locked folder of the records: a folder for each node, and in it a file for each setting that the node changes, with the
/// value from before any node changed it.
fn notes() -> (PathBuf, File) {
    let folder = std::env::temp_dir().join("catamaran-test-sysctls");
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
    let lock = File::open(&folder).expect("a folder that was just made");
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).expect("cannot lock");
    (folder, lock)
}

/// Returns a setting's name as a file name.
fn flat(name: &str) -> String {
    name.replace('/', ".")
}

fn noted_by_others(folder: &Path, name: &str) -> Option<PathBuf> {
    let nodes = fs::read_dir(folder).expect("a folder").flatten();
    nodes.map(|node| node.path().join(flat(name))).find(|note| note.exists())
}

/// Records settings, such as `net/ipv4/ip_forward`, before a program of the node changes them. Skips those that this kernel lacks.
pub(crate) fn note(tag: &str, names: &[&str]) {
    let (folder, _lock) = notes();
    let own = folder.join(tag);
    fs::create_dir_all(&own).unwrap_or_else(|error| panic!("cannot make {}: {error}", own.display()));
    for name in names {
        let current = Path::new(SETTINGS).join(name);
        let source = noted_by_others(&folder, name).unwrap_or(current);
        let Ok(before) = fs::read(source) else { continue };
        fs::write(own.join(flat(name)), before).expect("cannot note a kernel setting");
    }
}

/// Restores what no other node has recorded, and returns what it could not restore.
pub(crate) fn restore(tag: &str) -> Vec<String> {
    let (folder, _lock) = notes();
    let own = folder.join(tag);
    let mut values = Vec::new();
    for note in fs::read_dir(&own).into_iter().flatten().flatten() {
        let name = note.file_name().to_string_lossy().replace('.', "/");
        values.push((name, fs::read(note.path()).expect("a note that was just listed")));
    }
    if own.exists() {
        fs::remove_dir_all(&own).expect("a folder that was just listed");
    }
    values.retain(|(name, _)| noted_by_others(&folder, name).is_none());
    let written = values.into_iter().map(|(name, before)| {
        let path = Path::new(SETTINGS).join(name);
        fs::write(&path, before).map_err(|error| format!("cannot write {}: {error}", path.display()))
    });
    written.filter_map(Result::err).collect()
}
