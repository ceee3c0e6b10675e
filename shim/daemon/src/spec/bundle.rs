//! The OCI bundle: config.json read once and checked whole, before anything is made from it.
//!
//! Each request of a spec is met, or met by something stricter (the table in docs/spec.md), or refused here with the key's name. A key that
//! our types lack, such as one newer than they are, is ignored (`oci`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use catamaran_worker::Guest;
use catamaran_worker::job::{NamespaceKind, Profile, Rlimit, User};
use catamaran_worker::quote::{cut, shortened};
use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources};

use crate::error::{Doing, Error, Result};
use crate::spec::hooks::Hooks;
use crate::spec::oci::{Process, Spec};
use crate::spec::seccomp;

/// The umask of a spec that has none, as in every other runtime.
const UMASK: u32 = 0o022;

/// Reads the text of config.json in a bundle.
pub(crate) fn text(bundle: &Path) -> Result<Vec<u8>> {
    let config = bundle.join("config.json");
    std::fs::read(&config).on(&config)
}

/// A checked config.json.
pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    pub(crate) spec: Spec,
    pub(crate) guest: Guest,
    pub(crate) user: User,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) cgroup: String,
    pub(crate) hooks: Hooks,
    pub(crate) seccomp: Option<Profile>,
    pub(crate) apparmor: Option<String>,
}

/// `linux.namespaces` of the spec, but for the mount namespace, which is always new.
pub(crate) struct Namespace {
    pub(crate) kind: NamespaceKind,
    pub(crate) path: Option<PathBuf>,
}

/// The checked parts of a `process` of the OCI runtime spec, for its worker.
pub(crate) struct CheckedProcess {
    pub(crate) guest: Guest,
    pub(crate) user: User,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) apparmor: Option<String>,
}

impl CheckedProcess {
    /// Checks `process`. `place` is the text before a key in an error.
    fn new(place: &str, process: &Process) -> Result<Self> {
        check_process(place, process)?;
        Ok(Self {
            guest: guest(place, process)?,
            user: user(process),
            rlimits: rlimits(process),
            apparmor: apparmor(place, process)?,
        })
    }
}

impl Bundle {
    /// Checks a further process of the container. Where its spec has no limits or no profile, the container's own count, as in runc.
    /// `place` is the text before a key in an error.
    pub(crate) fn further(&self, place: &str, process: &Process) -> Result<CheckedProcess> {
        let mut further = CheckedProcess::new(place, process)?;
        if further.rlimits.is_empty() {
            further.rlimits.clone_from(&self.rlimits);
        }
        if process.apparmor_profile().as_ref().is_none_or(String::is_empty) {
            further.apparmor.clone_from(&self.apparmor);
        }
        Ok(further)
    }

    /// Checks the bundle of the container `id` in the folder `path`, whose config.json is `text`. A spec that names no cgroup gets
    /// `default_cgroup`.
    pub(crate) fn load(path: &Path, text: &[u8], id: &str, default_cgroup: String) -> Result<Self> {
        let mut spec: Spec = serde_json::from_slice(text)
            .map_err(|e| Error::refused("config.json", shortened(&e.to_string()), "an OCI runtime spec"))?;
        raise_zero_process_limit(&mut spec, text);
        let process = spec.process().as_ref().ok_or_else(|| refused("process", "missing", "a process"))?;
        let linux = spec.linux().as_ref().ok_or_else(|| refused("linux", "missing", "a Linux container"))?;
        let checked = CheckedProcess::new("config.json: process.", process)?;
        check_linux(&spec, linux)?;
        let namespaces = namespaces(linux)?;
        check_namespaced(&spec, linux, &namespaces)?;
        Ok(Self {
            path: path.to_owned(),
            guest: checked.guest,
            user: checked.user,
            rlimits: checked.rlimits,
            namespaces,
            hooks: Hooks::new(&spec, id, path)?,
            seccomp: linux.seccomp().as_ref().map(seccomp::compile).transpose()?,
            apparmor: checked.apparmor,
            cgroup: linux.cgroups_path().as_ref().map_or(default_cgroup, |p| p.to_string_lossy().into_owned()),
            spec,
        })
    }

    /// Returns `linux.resources`.
    pub(crate) fn resources(&self) -> Option<&LinuxResources> {
        self.spec.linux().as_ref()?.resources().as_ref()
    }

    /// Returns the container's tenant in the cache and in the queue of compiles: its Kubernetes namespace, within containerd's `namespace`.
    pub(crate) fn tenant(&self, namespace: &str) -> String {
        let annotations = self.spec.annotations().as_ref();
        let of_pod = annotations.and_then(|all| all.get("io.kubernetes.cri.sandbox-namespace"));
        format!("{namespace}/{}", of_pod.map_or("", String::as_str))
    }
}

/// Reads `linux.resources` alone, as an Update brings them.
pub(crate) fn resources(text: &[u8]) -> std::result::Result<LinuxResources, serde_json::Error> {
    let mut resources = serde_json::from_slice(text)?;
    let written: WrittenResources = serde_json::from_slice(text)?;
    raise_zero_limit(&mut resources, &written);
    Ok(resources)
}

/// Raises a limit of 0 processes to 1, which is the container's own process, as runc does from 1.4 on (runtime-spec 1.3). Looks at the
/// text itself, because oci-spec also reads a missing limit as 0.
fn raise_zero_process_limit(spec: &mut Spec, text: &[u8]) {
    #[derive(serde::Deserialize)]
    struct Written {
        linux: Linux,
    }
    #[derive(serde::Deserialize)]
    struct Linux {
        resources: WrittenResources,
    }
    let resources = spec.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut());
    if let Some(resources) = resources
        && let Ok(written) = serde_json::from_slice::<Written>(text)
    {
        raise_zero_limit(resources, &written.linux.resources);
    }
}

/// The part of the resources that is read from the text itself.
#[derive(serde::Deserialize)]
struct WrittenResources {
    pids: Option<WrittenPids>,
}

#[derive(serde::Deserialize)]
struct WrittenPids {
    limit: Option<i64>,
}

fn raise_zero_limit(resources: &mut LinuxResources, written: &WrittenResources) {
    let limit = written.pids.as_ref().and_then(|pids| pids.limit);
    if let Some(pids) = resources.pids_mut().as_mut().filter(|_| limit == Some(0)) {
        pids.set_limit(1);
    }
}

fn refused(key: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::refused(format!("config.json: {key}"), found, expected)
}

/// Refuses a spec with a value at `key` that this version cannot meet.
fn absent(key: &str, present: bool, expected: &str) -> Result<()> {
    if present { Err(refused(key, "set", expected)) } else { Ok(()) }
}

fn check_process(place: &str, process: &Process) -> Result<()> {
    let refused = |key: &str, found: String, expected: &str| Error::refused(format!("{place}{key}"), found, expected);
    let absent = |key: &str, present: bool, expected: &str| {
        if present { Err(refused(key, "set".to_owned(), expected)) } else { Ok(()) }
    };
    let user = process.user();
    let groups = user.additional_gids().iter().flatten();
    // To the kernel this number means "unchanged", and a worker begins as root.
    if groups.chain([&user.uid(), &user.gid()]).any(|id| *id == u32::MAX) {
        return Err(refused("user", u32::MAX.to_string(), "user and group ids below this number"));
    }
    absent(
        "selinuxLabel",
        process.selinux_label().as_deref().is_some_and(|l| !l.is_empty()),
        "no label: this version applies none",
    )?;
    absent("ioPriority", process.io_priority().is_some(), "no I/O priority: this version sets none")?;
    absent("scheduler", process.scheduler().is_some(), "no scheduler: this version sets none")?;
    absent("execCPUAffinity", process.exec_cpu_affinity().is_some(), "no affinity: this version sets none")
}

fn check_linux(spec: &Spec, linux: &Linux) -> Result<()> {
    no_devices(linux)?;
    let propagation = linux.rootfs_propagation().as_deref().unwrap_or_default();
    if !["", "private", "slave", "shared", "unbindable"].contains(&propagation.strip_prefix('r').unwrap_or(propagation))
    {
        // These make no difference, because a worker mounts nothing that could reach the host.
        let expected = "private, slave, shared or unbindable, with or without \"r\" before it";
        return Err(refused("linux.rootfsPropagation", format!("{propagation:?}"), expected));
    }
    absent("linux.intelRdt", linux.intel_rdt().is_some(), "no resctrl group: this version sets none")?;
    absent("linux.personality", linux.personality().is_some(), "no execution domain: this version sets none")?;
    absent(
        "linux.mountLabel",
        linux.mount_label().as_deref().is_some_and(|l| !l.is_empty()),
        "no label: this version applies none",
    )?;
    let mapped = [linux.uid_mappings(), linux.gid_mappings()].iter().any(|m| m.as_ref().is_some_and(|m| !m.is_empty()));
    absent("linux.uidMappings or linux.gidMappings", mapped, "no id mapping: this version has no user namespaces")?;
    for mount in spec.mounts().iter().flatten() {
        let mapped = mount.uid_mappings().is_some() || mount.gid_mappings().is_some();
        absent("mounts[].uidMappings or gidMappings", mapped, "no id mapping: this version has none")?;
    }
    Ok(())
}

/// Refuses devices: those of a device plugin, or all of the host's, which CRI gives to a privileged container.
fn no_devices(linux: &Linux) -> Result<()> {
    let devices = linux.devices().as_deref().unwrap_or_default();
    let Some(first) = devices.first() else { return Ok(()) };
    let found = match devices.len() - 1 {
        0 => first.path().display().to_string(),
        more => format!("{} and {more} more", first.path().display()),
    };
    let expected = "no devices: a Wasm guest cannot use one, and its worker gets none but the default ones; for a privileged \
                    container write \"privileged: false\", or have the handler say \
                    \"privileged_without_host_devices = true\" in containerd's configuration";
    Err(refused("linux.devices", found, expected))
}

fn namespaces(linux: &Linux) -> Result<Vec<Namespace>> {
    let mut all = Vec::new();
    for namespace in linux.namespaces().iter().flatten() {
        let kind = match namespace.typ() {
            LinuxNamespaceType::Network => NamespaceKind::Net,
            LinuxNamespaceType::Ipc => NamespaceKind::Ipc,
            LinuxNamespaceType::Uts => NamespaceKind::Uts,
            LinuxNamespaceType::Pid => NamespaceKind::Pid,
            LinuxNamespaceType::Cgroup => NamespaceKind::Cgroup,
            LinuxNamespaceType::Mount if namespace.path().is_none() => continue,
            LinuxNamespaceType::Mount => {
                return Err(refused("linux.namespaces", "a mount namespace to join", "a new one, without a path"));
            }
            other => {
                let expected = "network, ipc, uts, pid, cgroup or mount: this version has no others";
                return Err(refused("linux.namespaces", format!("type {other:?}").to_lowercase(), expected));
            }
        };
        all.push(Namespace { kind, path: namespace.path().clone() });
    }
    Ok(all)
}

/// Refuses values that would change the host, because the container has no namespace of its own for them.
fn check_namespaced(spec: &Spec, linux: &Linux, namespaces: &[Namespace]) -> Result<()> {
    let has = |kind| namespaces.iter().any(|n| n.kind == kind);
    let named = [("hostname", spec.hostname()), ("domainname", spec.domainname())];
    for (key, name) in named {
        if name.as_deref().is_some_and(|n| !n.is_empty()) && !has(NamespaceKind::Uts) {
            return Err(refused(key, "set", "a uts namespace for it"));
        }
    }
    for name in linux.sysctl().iter().flat_map(|all| all.keys()) {
        let key = format!("linux.sysctl[{}]", cut(name));
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
        let ipc = ["kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"];
        let kind = match name.as_str() {
            _ if !plain || name.contains("..") => None,
            n if n.starts_with("net.") => Some(NamespaceKind::Net),
            n if ipc.contains(&n) || n.starts_with("kernel.msg") || n.starts_with("fs.mqueue.") => {
                Some(NamespaceKind::Ipc)
            }
            _ => None,
        };
        match kind {
            Some(kind) if has(kind) => {}
            Some(kind) => return Err(refused(&key, "set", format!("a {kind:?} namespace for it").to_lowercase())),
            None => {
                return Err(refused(
                    &key,
                    "not a namespaced sysctl",
                    "one of net.*, kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.*",
                ));
            }
        }
    }
    Ok(())
}

/// Returns `process.apparmorProfile`, which a host without AppArmor cannot apply.
fn apparmor(place: &str, process: &Process) -> Result<Option<String>> {
    let Some(name) = process.apparmor_profile().clone().filter(|p| !p.is_empty() && p != "unconfined") else {
        return Ok(None);
    };
    // The kernel writes "Y" if AppArmor is on. "N" and a missing file mean that it is not.
    if std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|word| word.starts_with(b"Y")) {
        return Ok(Some(name));
    }
    let expected = "no profile, or \"unconfined\": this node's kernel runs without AppArmor";
    Err(Error::refused(format!("{place}apparmorProfile"), format!("{:?}", cut(&name)), expected))
}

fn guest(place: &str, process: &Process) -> Result<Guest> {
    let args = process.args().clone().unwrap_or_default();
    if args.first().is_none_or(String::is_empty) {
        let expected = "the module's path: give the image an ENTRYPOINT, or the container a command (\"/\" for an image whose \
                        layer is the module)";
        return Err(Error::refused(format!("{place}args"), "empty", expected));
    }
    let env = environment(place, process)?;
    let cwd = process.cwd();
    if !cwd.is_absolute() {
        return Err(Error::refused(format!("{place}cwd"), cut(&cwd.to_string_lossy()), "an absolute path"));
    }
    Ok(Guest { args, env, cwd: cwd.to_string_lossy().into_owned() })
}

/// Returns `process.env`. Of two values of one name the last counts, as in every other runtime: CRI writes the pod's values behind the
/// image's, and a guest's C library would take the first.
fn environment(place: &str, process: &Process) -> Result<Vec<(String, String)>> {
    let mut env: Vec<(String, String)> = Vec::new();
    let mut places = HashMap::<&str, usize>::new();
    for (index, entry) in process.env().iter().flatten().enumerate() {
        let Some((key, value)) = entry.split_once('=') else {
            // Without the entry's text: an environment holds secrets.
            return Err(Error::refused(format!("{place}env[{index}]"), "no \"=\" in it", "NAME=value"));
        };
        match places.entry(key) {
            Entry::Occupied(place) => env[*place.get()].1 = value.to_owned(),
            Entry::Vacant(place) => {
                place.insert(env.len());
                env.push((key.to_owned(), value.to_owned()));
            }
        }
    }
    Ok(env)
}

fn user(process: &Process) -> User {
    let user = process.user();
    User {
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask().unwrap_or(UMASK),
    }
}

fn rlimits(process: &Process) -> Vec<Rlimit> {
    let limits = process.rlimits().iter().flatten();
    limits.map(|l| Rlimit { kind: l.typ().to_string(), soft: l.soft(), hard: l.hard() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_values_of_an_environment_variable_counts() {
        let text = r#"{"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["/m"],
            "env": ["A=1", "B=image", "A=2", "C=", "B=a=b", "B2=x", "A=3"]}"#;
        let env = environment("process.", &serde_json::from_str(text).unwrap()).unwrap();
        let expected = [("A", "3"), ("B", "a=b"), ("C", ""), ("B2", "x")];
        assert_eq!(env, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_process_limit_of_zero_is_one_and_a_missing_limit_is_none() {
        for (pids, limit) in [(r#"{"limit": 0}"#, 1), (r#"{}"#, 0), (r#"{"limit": 7}"#, 7), (r#"{"limit": -1}"#, -1)] {
            let text = format!(r#"{{"ociVersion": "1.2.0", "linux": {{"resources": {{"pids": {pids}}}}}}}"#);
            let mut spec: Spec = serde_json::from_str(&text).unwrap();
            raise_zero_process_limit(&mut spec, text.as_bytes());
            let resources = spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
            assert_eq!(resources.pids().as_ref().unwrap().limit(), limit, "{pids}");
        }
    }
}
