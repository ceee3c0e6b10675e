//! What must outlive the shim: files from which `delete` and a later `start` clean up with the server dead.
//!
//! ```text
//! /run/catamaran/<containerd>/<pod>/server             the shim: its process and its socket
//!                                  /<container>.json   what of one container lies outside its bundle
//!                                  /<container>.runc   of a native one: what runc keeps of it
//! ```
//!
//! `<containerd>` is a digest of containerd's address and namespace, `<pod>` the id that the shim was started for. Not in
//! the bundles: containerd asks for the end of a pod's dead shim by the pod's id alone, and may remove the other containers'
//! bundles before, or never. Shims before format 2 wrote into the bundle, where [`State::of_older_shim`] looks.
//!
//! The folder's lock is held by whoever cleans up; a living shim is the only one who writes otherwise.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use catamaran_cache::image::Chosen;
use catamaran_host::child;
use rustix::process::{Pid, PidfdFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Doing, Error, Result};
use crate::native;
use crate::spec::hooks::Stage;
use crate::stdio::Record;

/// A file system in memory on every distribution: what it tells of is gone with a boot, and so is it.
const ROOT: &str = "/run/catamaran";
const SERVER: &str = "server";
const SUFFIX: &str = ".json";
/// No container's: an id begins with a letter or a digit.
const FORGOTTEN: &str = ".forgotten";
const RUNC: &str = ".runc";
/// Where shims up to format 1 wrote, in the bundle.
const OLDER: &str = "catamaran.json";
/// Raised when a field changes its meaning; a `delete` reads older numbers, and refuses newer ones.
const FORMAT: u32 = 3;
/// What is written of all but native containers, which a `delete` of this format would leave behind.
const BEFORE_NATIVE: u32 = 2;

/// The pods of one containerd namespace.
#[derive(Debug, Clone)]
pub(crate) struct Pods(PathBuf);

/// One pod's folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

/// A pod's shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    format: u32,
    pid: u32,
    /// As [`child::started`] has it.
    pub(crate) started: u64,
    /// Where it listens, or did.
    pub(crate) socket: PathBuf,
    /// The pod's bundle, which containerd removes when it knows of the pod no more.
    bundle: PathBuf,
}

/// Everything of a container that lies outside its bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    format: u32,
    /// The worker; 0 before it exists. For the record only: what is killed is what lies in the cgroups.
    pub(crate) pid: u32,
    /// The container's cgroups as folders of the host, one a hierarchy. Written before the first is made.
    pub(crate) cgroups: Vec<PathBuf>,
    /// What is to be run when the container is gone: from the moment on at which its other hooks begin to run.
    #[serde(default, skip_serializing_if = "Stage::is_empty")]
    pub(crate) poststop: Stage,
    /// What reads the container's output, from its start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logger: Option<Record>,
    /// What reads the output of processes that were started in it later; some may have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) exec_loggers: Vec<Record>,
    /// The layer of its image that it runs, and whatever is executed in it by the same words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) layer: Option<Chosen>,
    /// Of a native container: what has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) native: Option<native::Record>,
    /// How it ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<Ended>,
    /// Whether it is no container's: the cgroups are a search's that may hang in the kernel (`search`), and nobody waits for that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) search: bool,
    /// Of older shims alone, whose pods have no file for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) socket: Option<PathBuf>,
}

/// A container's end, as containerd is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) code: u32,
    /// Since 1970.
    pub(crate) seconds: i64,
    pub(crate) nanos: i32,
}

impl Pods {
    /// Those of the containerd at `address`, in its `namespace`.
    pub(crate) fn new(address: &str, namespace: &str) -> Self {
        Self::below(Path::new(ROOT), address, namespace)
    }

    fn below(root: &Path, address: &str, namespace: &str) -> Self {
        // With the kernel's limit in mind, and neither text can end the other.
        let digest = Sha256::digest(format!("{namespace}\0{address}"));
        Self(root.join(digest[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
    }

    /// All of them.
    pub(crate) fn all(&self) -> Result<Vec<Folder>> {
        let pods = entries(&self.0)?.into_iter().filter(|name| !name.starts_with('.'));
        Ok(pods.map(|pod| Folder(self.0.join(pod))).collect())
    }

    /// Removes what those have left who were killed while they made or removed a pod's folder.
    pub(crate) fn sweep(&self) -> Result<()> {
        for name in entries(&self.0)? {
            let mut words = name.strip_prefix('.').unwrap_or_default().split('.');
            if let (Some(pid), Some(started)) = (words.next(), words.next())
                && child::started(pid).map(|started| started.to_string()).as_deref() != Some(started)
            {
                let folder = self.0.join(&name);
                fs::remove_dir_all(&folder).on(&folder)?;
            }
        }
        Ok(())
    }

    /// The pod `id`, whether it is there or not.
    pub(crate) fn pod(&self, id: &str) -> Result<Folder> {
        Ok(Folder(self.0.join(plain(id)?)))
    }

    /// The pods that the container `id` is in: one, whose shim may be dead.
    pub(crate) fn with(&self, id: &str) -> Result<Vec<Folder>> {
        let name = format!("{}{SUFFIX}", plain(id)?);
        Ok(self.all()?.into_iter().filter(|pod| pod.0.join(&name).exists()).collect())
    }
}

impl Folder {
    /// Makes it for the shim with this pid, which is to listen at `socket`. It is there with its server or not at all.
    pub(crate) fn serve(&self, pid: u32, socket: &Path, bundle: &Path) -> Result<()> {
        let started = child::started(pid).ok_or(ErrorKind::NotFound).on(format!("/proc/{pid}/stat"))?;
        let (socket, bundle) = (socket.to_owned(), bundle.to_owned());
        let server = Server { format: BEFORE_NATIVE, pid, started, socket, bundle };
        if self.exists() {
            return self.put(SERVER, &server);
        }
        let new = self.aside("new")?;
        DirBuilder::new().recursive(true).mode(0o700).create(&new.0).on(&new.0)?;
        new.put(SERVER, &server)?;
        fs::rename(&new.0, &self.0).on(&self.0)
    }

    /// A new folder that root alone may enter. Whoever makes it removes it; after a kill the next `delete` does.
    pub(crate) fn private(&self, what: &str) -> Result<PathBuf> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let Self(path) = self.aside(&format!("{what}{number}"))?;
        DirBuilder::new().mode(0o700).create(&path).on(&path)?;
        Ok(path)
    }

    /// What runc is to keep of a native container: a folder of that one's alone, which can be removed with it.
    pub(crate) fn runc(&self, id: &str) -> Result<PathBuf> {
        Ok(self.0.join(format!("{}{RUNC}", plain(id)?)))
    }

    /// A folder of this process's alone beside it, for what must not be seen half.
    fn aside(&self, what: &str) -> Result<Self> {
        let own = std::process::id().to_string();
        let started = child::started(&own).ok_or(ErrorKind::NotFound).on("/proc/self/stat")?;
        Ok(Self(self.0.with_file_name(format!(".{own}.{started}.{what}"))))
    }

    /// The pod's shim; none where there is no such pod.
    pub(crate) fn server(&self) -> Result<Option<Server>> {
        read(&self.0.join(SERVER))
    }

    /// Whether containerd has forgotten it: nobody will ask for it. Such as one whose start broke off.
    pub(crate) fn is_forgotten(&self) -> bool {
        matches!(self.server(), Ok(Some(server)) if !server.bundle.exists())
    }

    /// The ids of the containers that something may be left of.
    pub(crate) fn containers(&self) -> Result<Vec<String>> {
        // What is being written has a dot before its name, which no id has.
        let names = entries(&self.0)?.into_iter().filter(|name| !name.starts_with('.'));
        Ok(names.filter_map(|name| name.strip_suffix(SUFFIX).map(str::to_owned)).collect())
    }

    /// Replaces a container's state whole.
    pub(crate) fn write(&self, id: &str, state: &State) -> Result<()> {
        self.put(&format!("{}{SUFFIX}", plain(id)?), state)
    }

    /// A container's state; none where there is nothing of it.
    pub(crate) fn read(&self, id: &str) -> Result<Option<State>> {
        read(&self.0.join(format!("{}{SUFFIX}", plain(id)?)))
    }

    /// Whether something may be left of a container.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.join(format!("{id}{SUFFIX}")).exists()
    }

    /// Forgets a container of which nothing is left. From then on nobody finds it by its id, whoever is killed when. It is renamed
    /// over the one that was forgotten before: to remove a file waits for its text to reach the disk, where `/run` is on one, and
    /// how the container ended was written a moment ago. The last one goes with the pod.
    pub(crate) fn forget(&self, id: &str) -> Result<()> {
        let path = self.0.join(format!("{}{SUFFIX}", plain(id)?));
        match fs::rename(&path, self.0.join(FORGOTTEN)) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            renamed => renamed.on(path),
        }
    }

    /// Forgets the pod. One of whose containers something is left stays, to be cleaned up by whoever comes next.
    pub(crate) fn remove(&self) -> Result<()> {
        self.set_aside()?;
        self.remove_aside()
    }

    /// The first half of it, for a shim that is asked to end: from then on the next shim of this id finds nothing here. The name
    /// that it gets is this process's alone, which a `delete` on the node removes where nobody has run the second half.
    pub(crate) fn set_aside(&self) -> Result<()> {
        if !self.containers()?.is_empty() {
            return Ok(());
        }
        match fs::rename(&self.0, self.aside("old")?.0) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            renamed => renamed.on(&self.0),
        }
    }

    /// The second half: what may take tens of milliseconds where `/run` is no file system in memory, and what nobody waits for. It
    /// touches nothing that a later shim has made.
    pub(crate) fn remove_aside(&self) -> Result<()> {
        let old = self.aside("old")?;
        match fs::remove_dir_all(&old.0) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            removed => removed.on(&old.0)?,
        }
        if let Some(namespace) = self.0.parent() {
            // Refused where there are others; a pod that comes at this moment makes it again.
            let _ = fs::remove_dir(namespace);
        }
        Ok(())
    }

    /// Takes the lock of those who clean up. None where somebody has it, or where there is no such folder any more.
    pub(crate) fn lock(&self) -> Result<Option<File>> {
        let file = match File::open(&self.0) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.on(&self.0)?,
        };
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            locked => locked.on(&self.0).map(|()| Some(file)),
        }
    }

    /// Whether there is such a pod.
    pub(crate) fn exists(&self) -> bool {
        self.0.exists()
    }

    fn put(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let (path, new) = (self.0.join(name), self.0.join(format!(".{name}.new")));
        let text = serde_json::to_vec(value).doing(|| format!("writing {}", path.display()))?;
        // No fsync: a machine that stops has no container left.
        fs::write(&new, text).on(&new)?;
        fs::rename(&new, &path).on(&path)
    }
}

/// An id that can be a file's name: containerd gives no others.
pub(crate) fn plain(id: &str) -> Result<&str> {
    let first = id.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        return Ok(id);
    }
    Err(Error::refused("the container's id", format!("{id:?}"), "letters, digits and _.- after a letter or a digit"))
}

/// The names in a folder that may not be there.
fn entries(folder: &Path) -> Result<Vec<String>> {
    match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        all => Ok(all.on(folder)?.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()),
    }
}

/// A file of a format that this shim knows.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    #[derive(Deserialize)]
    struct Numbered {
        format: u32,
    }
    let text = match fs::read(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.on(path)?,
    };
    // Before the rest, whose fields may be others.
    let Numbered { format } = serde_json::from_slice(&text).on(path)?;
    if format > FORMAT {
        return Err(Error::refused(
            path.display().to_string(),
            format!("format {format}"),
            format!("at most {FORMAT}: a newer shim wrote it, and its own delete reads it"),
        ));
    }
    serde_json::from_slice(&text).on(path).map(Some)
}

impl Server {
    /// Its process; none if it has ended.
    pub(crate) fn process(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid.cast_signed()) else { return Ok(None) };
        let opened = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            // EINVAL: its number is that of a group or session which others are still in.
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
            opened => opened.doing(|| format!("opening the shim, process {pid}"))?,
        };
        // Looked at behind the opening: the number was this process's all the time.
        Ok((child::started(self.pid) == Some(self.started)).then_some(opened))
    }

    pub(crate) fn is(&self, pid: u32) -> bool {
        self.pid == pid
    }
}

impl State {
    pub(crate) fn new(cgroups: Vec<PathBuf>) -> Self {
        let poststop = Stage::default();
        Self {
            format: BEFORE_NATIVE,
            pid: 0,
            cgroups,
            poststop,
            logger: None,
            exec_loggers: Vec::new(),
            layer: None,
            native: None,
            ended: None,
            search: false,
            socket: None,
        }
    }

    /// The same of a native container.
    pub(crate) fn of_native(cgroups: Vec<PathBuf>, record: native::Record) -> Self {
        Self { format: FORMAT, native: Some(record), ..Self::new(cgroups) }
    }

    /// Of a search in what the pod controls.
    pub(crate) fn of_search(cgroups: Vec<PathBuf>) -> Self {
        Self { search: true, ..Self::new(cgroups) }
    }

    /// What a shim of format 1 has left in the container's bundle.
    pub(crate) fn of_older_shim(bundle: &Path) -> Result<Option<Self>> {
        read(&bundle.join(OLDER))
    }

    /// Forgets it.
    pub(crate) fn forget_older_shims(bundle: &Path) -> Result<()> {
        let path = bundle.join(OLDER);
        match fs::remove_file(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.on(path),
        }
    }
}

#[cfg(test)]
mod tests;
