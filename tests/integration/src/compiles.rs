//! A node's cache and its compiles, seen from outside.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use catamaran_harness::{Image, Node, wait_until};

const LATER: Duration = Duration::from_secs(90);

/// An image whose entrypoint is the module `/NAME.wasm`.
pub fn image(name: &str, module: impl AsRef<[u8]>) -> Image {
    Image::new(name).file(&format!("/{name}.wasm"), module).entrypoint([format!("/{name}.wasm")])
}

/// The node's counter of this name.
pub fn counter(node: &Node, name: &str) -> u64 {
    let text = fs::read_to_string(node.catamaran_root().join("counters")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

/// The shim's log lines about creations, in order: the words after `created`.
pub fn creations(node: &Node, id: &str) -> Vec<String> {
    let log = node.log();
    let words = |line: &str| line.split_once(&format!("created id={id} ")).map(|(_, rest)| rest.to_owned());
    log.lines().filter_map(words).collect()
}

/// The entries in the cache's folders, without the checksums and the tenants' marks.
///
/// # Panics
/// When the cache or `/proc` cannot be read.
pub fn entries(node: &Node) -> Vec<String> {
    let folders = fs::read_dir(node.catamaran_root().join("cache")).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
    let mut names: Vec<_> = files.map(|file| file.file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.ends_with(".sum") && !name.contains(".of-"));
    names.sort();
    names
}

/// The pids of the node's compile processes, of their drivers, or of the drivers' readers of manifests.
///
/// # Panics
/// When the cache or `/proc` cannot be read.
pub fn processes(node: &Node, what: &str) -> Vec<u32> {
    let root = node.catamaran_root().display().to_string();
    let drivers: Vec<u32> = pids()
        .filter(|pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            words.ends_with(b"\0compile\0") && String::from_utf8_lossy(&environment).contains(&root)
        })
        .collect();
    if what == "driver" {
        return drivers;
    }
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let reads = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).nth(1) == Some(b"manifests")
    };
    let children = pids().filter(|pid| parent(*pid).is_some_and(|parent| drivers.contains(&parent)));
    children.filter(|pid| reads(pid) == (what == "reader")).collect()
}

fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
}

/// The folder where compiles of one kind take turns: `short`, `fast`, `best` or `later`.
pub fn lane(node: &Node, name: &str) -> PathBuf {
    node.catamaran_root().join("slots").join(name)
}

/// The tickets of the compiles that wait for a turn in a lane. Their names begin with the time of arrival.
pub fn tickets(lane: &Path) -> BTreeSet<OsString> {
    fs::read_dir(lane.join("queue")).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
}

/// Takes all turns of a lane, until they are dropped.
///
/// # Panics
/// When another process has one.
pub fn all_slots(lane: &Path) -> Vec<File> {
    let count = std::thread::available_parallelism().unwrap().get().div_ceil(2);
    (0..count).map(|slot| locked(&lane.join(slot.to_string()))).collect()
}

/// Holds the lock of a file until it is dropped.
///
/// # Panics
/// When another process has it.
pub fn locked(path: &Path) -> File {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(path).unwrap();
    file.try_lock().unwrap();
    file
}

/// Kills the process, which may be gone.
pub fn kill(pid: u32) {
    // It may be gone already.
    let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
}

/// Waits until no driver runs. Better code is made with what the machine leaves, which may be little.
pub fn quiet(node: &Node) {
    wait_until(10 * LATER, "the last compile", || processes(node, "driver").is_empty().then_some(()));
}
