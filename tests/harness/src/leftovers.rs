//! Lists the things of a node that still exist. Once its containers are deleted, none may.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::{bridge, cgroups, processes};

const SOCKETS: &str = "/run/containerd/s";
/// Where our shims record the things to clean up after them.
const STATES: &str = "/run/catamaran";
/// Where systemd listens, if it is the machine's init.
const SYSTEMD: &str = "/run/systemd/private";
const NETNS: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// Lists everything that is left of a node, one thing a line, except the processes in `expected` (containerd itself).
pub(crate) fn list(tag: &str, dir: &Path, expected: &BTreeSet<u32>) -> Vec<String> {
    let mut found = Vec::new();
    for process in processes::list(tag) {
        if !expected.contains(&process.pid) && !compiles(&process.command) {
            found.push(format!("process {}: {}", process.pid, process.command));
        }
    }
    found.extend(mounts(tag).iter().map(|path| format!("mount {}", path.display())));
    found.extend(cgroups::of_containers(tag).iter().map(|path| format!("cgroup {}", path.display())));
    found.extend(units(tag).iter().map(|unit| format!("systemd unit {unit}")));
    found.extend(sockets(dir).iter().map(|path| format!("socket {}", path.display())));
    found.extend(states(dir).iter().map(|path| format!("state {}", path.display())));
    found.extend(netns(tag).iter().map(|path| format!("network namespace {}", path.display())));
    found.extend(bridge::left(tag, dir));
    found.extend(bundles(dir).iter().map(|path| format!("bundle {}", path.display())));
    found
}

/// Whether it is a compile or its driver: they outlive the pod that asked, and end by themselves.
fn compiles(command: &str) -> bool {
    let compilers = ["/catamaran-wasmtime-compile ", "/catamaran-wasmer-compile "];
    command.ends_with("/catamaran-helper compile") || compilers.iter().any(|name| command.contains(name))
}

/// The units that systemd keeps of the node's containers: their scopes, including failed ones whose cgroups are gone.
pub(crate) fn units(tag: &str) -> Vec<String> {
    if !Path::new(SYSTEMD).exists() {
        return Vec::new();
    }
    let pattern = format!("*{tag}*");
    let list = ["list-units", "--all", "--full", "--plain", "--no-legend", "--no-pager", "--type=scope,slice,service"];
    let output = Command::new("systemctl").args(list).arg(pattern).output().expect("cannot run systemctl");
    assert!(output.status.success(), "systemctl list-units failed: {output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| line.split_ascii_whitespace().next()).map(str::to_owned).collect()
}

/// Mount points whose entry names the tag, in the order of mounting: below the node's folder, or made from it.
pub(crate) fn mounts(tag: &str) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo cannot be read");
    table
        .lines()
        .filter(|line| line.contains(tag))
        .filter_map(|line| Some(unescaped(line.split(' ').nth(4)?)))
        .collect()
}

/// Decodes a field of the mount table, where blanks and the like are written in octal.
fn unescaped(field: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

/// The bundles that containerd keeps of tasks, one a shim or container.
fn bundles(dir: &Path) -> Vec<PathBuf> {
    let namespaces = fs::read_dir(dir.join("state/io.containerd.runtime.v2.task")).into_iter().flatten().flatten();
    namespaces
        .flat_map(|namespace| fs::read_dir(namespace.path()).into_iter().flatten().flatten())
        .map(|bundle| bundle.path())
        .collect()
}

/// The sockets of the node's shims. Their names are digests of containerd's address, the namespace and the shim's id, so this computes them
/// from the recorded ids of containers.
pub(crate) fn sockets(dir: &Path) -> Vec<PathBuf> {
    let mut ids: BTreeSet<(String, String)> = BTreeSet::new();
    for path in bundles(dir).into_iter().chain(ids_noted(dir)) {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        if let (Some(id), Some(namespace)) = (name(&path), path.parent().and_then(name)) {
            ids.insert((namespace, id));
        }
    }
    let address = dir.join("containerd.sock");
    let mut found = Vec::new();
    for (namespace, id) in ids {
        let plain = address.join(namespace).join(id);
        // containerd's own shims open a second one when they debug.
        for text in [plain.clone(), plain.join("debug")] {
            let path = Path::new(SOCKETS).join(hex(&Sha256::digest(text.as_os_str().as_bytes())));
            if path.symlink_metadata().is_ok() {
                found.push(path);
            }
        }
    }
    found
}

/// Our shims' records of the node's pods: below a digest of containerd's address and each namespace.
pub(crate) fn states(dir: &Path) -> Vec<PathBuf> {
    let namespaces = fs::read_dir(dir.join("ids")).into_iter().flatten().flatten();
    let folders = namespaces.map(|namespace| states_of(dir, &namespace.file_name().to_string_lossy()));
    let mut found = Vec::new();
    for folder in folders.filter(|folder| folder.symlink_metadata().is_ok()) {
        let pods = fs::read_dir(&folder).into_iter().flatten().flatten().map(|pod| pod.path());
        let all = pods.flat_map(|pod| {
            let files = fs::read_dir(&pod).into_iter().flatten().flatten().map(|file| file.path());
            files.chain([pod.clone()]).collect::<Vec<_>>()
        });
        found.extend(all);
        found.push(folder);
    }
    found
}

/// The folder of these records for one namespace.
pub(crate) fn states_of(dir: &Path, namespace: &str) -> PathBuf {
    let key = format!("{namespace}\0{}", dir.join("containerd.sock").display());
    Path::new(STATES).join(hex(&Sha256::digest(key)[..16]))
}

/// Records in the node's folder that a container of this name existed.
pub(crate) fn note_id(dir: &Path, namespace: &str, id: &str) {
    let folder = dir.join("ids").join(namespace);
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join(id), ""))
        .unwrap_or_else(|error| panic!("cannot note {id} in {}: {error}", folder.display()));
}

fn ids_noted(dir: &Path) -> Vec<PathBuf> {
    let namespaces = fs::read_dir(dir.join("ids")).into_iter().flatten().flatten();
    namespaces
        .flat_map(|namespace| fs::read_dir(namespace.path()).into_iter().flatten().flatten())
        .map(|id| id.path())
        .collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Network namespaces kept by name.
pub(crate) fn netns(tag: &str) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    for folder in NETNS {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // The second folder is usually a link to the first.
            if entry.file_name().to_string_lossy().contains(tag)
                && let Ok(path) = entry.path().canonicalize()
            {
                found.insert(path);
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::{Path, unescaped};

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescaped(r"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescaped(r"/a\04"), Path::new(r"/a\04"));
    }
}
