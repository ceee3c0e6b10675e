//! The records that outlive the shim: files by which `delete` and a later `start` clean up after a dead server.
//!
//! ```text
//! /run/catamaran/<containerd>/<pod>/server             the shim: its process and its socket
//!                                  /<container>.json   everything of a container that lies outside its bundle
//!                                  /<container>.runc   runc's own state of a native container
//! ```
//!
//! `<containerd>` is a digest of containerd's address and namespace, `<pod>` the id that the shim was started for. The records are not in
//! the bundles, because containerd calls `delete` for a pod's dead shim with the pod's id alone, and removes the other containers' bundles
//! earlier or never. Shims before format 2 wrote into the bundle, where [`State::of_older_shim`] looks.
//!
//! Only the living shim writes here, and a process that cleans up, which holds the lock of the pod's folder.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use catamaran_cache::image::Chosen;
use catamaran_host::child;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Doing, Error, Result};
use crate::native;
use crate::spec::hooks::Stage;
use crate::stdio::Record;

/// `/run` is in memory on every distribution: a reboot removes the records, and everything that they name.
const ROOT: &str = "/run/catamaran";
const SERVER: &str = "server";
const SUFFIX: &str = ".json";
const RUNC: &str = ".runc";
/// The file in the bundle that shims up to format 1 wrote.
const OLDER: &str = "catamaran.json";
/// The newest format, raised when a field changes its meaning. `delete` reads older formats, and refuses newer ones.
const FORMAT: u32 = 3;
/// The format of all records but those of native containers: a `delete` that knows only this one must refuse them, because it would leave
/// such a container behind.
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
    /// Its start time, from [`child::started`].
    pub(crate) started: u64,
    /// The path at which the shim listens, or listened.
    pub(crate) socket: PathBuf,
    /// The pod's bundle, which containerd removes when it forgets the pod.
    bundle: PathBuf,
}

/// Everything of a container that lies outside its bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    format: u32,
    /// The worker's pid; 0 before it exists. Only reported: `delete` kills the processes in the cgroups.
    pub(crate) pid: u32,
    /// The container's cgroups as folders of the host, one for each hierarchy. Recorded before the first one is made.
    pub(crate) cgroups: Vec<PathBuf>,
    /// The hooks to run when the container is gone, recorded before its other hooks begin to run.
    #[serde(default, skip_serializing_if = "Stage::is_empty")]
    pub(crate) poststop: Stage,
    /// The container's logger, from the logger's start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logger: Option<Record>,
    /// The loggers of the container's execs. Some may have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) exec_loggers: Vec<Record>,
    /// The layer of its image that the container runs, and so does an exec with the same first word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) layer: Option<Chosen>,
    /// The runtime and the mount of a native container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) native: Option<native::Record>,
    /// The container's end, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<Ended>,
    /// Whether this is the record of a search (`search`) and not of a container. `delete` hardly waits for a search, which may hang in the
    /// kernel.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) search: bool,
    /// The socket of a shim of format 1, whose pod has no `server` file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) socket: Option<PathBuf>,
}

/// A container's end, as containerd gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) code: u32,
    /// Since 1970.
    pub(crate) seconds: i64,
    pub(crate) nanos: i32,
}

impl Pods {
    /// Returns the pods of the containerd at `address`, in its `namespace`.
    pub(crate) fn new(address: &str, namespace: &str) -> Self {
        Self::below(Path::new(ROOT), address, namespace)
    }

    fn below(root: &Path, address: &str, namespace: &str) -> Self {
        // A digest is short enough for a file's name. The null character separates the two texts.
        let digest = Sha256::digest(format!("{namespace}\0{address}"));
        Self(root.join(digest[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
    }

    /// Returns all pods.
    pub(crate) fn all(&self) -> Result<Vec<Folder>> {
        let pods = entries(&self.0)?.into_iter().filter(|name| !name.starts_with('.'));
        Ok(pods.map(|pod| Folder(self.0.join(pod))).collect())
    }

    /// Removes the leftovers of processes that were killed while they made or removed a pod's folder, and the namespace's folder if no other
    /// pod has one there.
    pub(crate) fn sweep(&self) -> Result<()> {
        for name in entries(&self.0)? {
            let mut words = name.strip_prefix('.').unwrap_or_default().split('.');
            if let (Some(pid), Some(started)) = (words.next(), words.next())
                && child::started(pid).map(|started| started.to_string()).as_deref() != Some(started)
            {
                let folder = self.0.join(&name);
                fs::remove_dir_all(&folder).on(&folder)?;
                self.remove_if_empty();
            }
        }
        Ok(())
    }

    fn remove_if_empty(&self) {
        // This fails if there are other pods. A pod that starts right now makes the folder again.
        let _ = fs::remove_dir(&self.0);
    }

    /// Returns the pod `id`, whether it exists or not.
    pub(crate) fn pod(&self, id: &str) -> Result<Folder> {
        Ok(Folder(self.0.join(plain(id)?)))
    }

    /// Returns the pods with a record of the container `id`, normally one or none.
    pub(crate) fn with(&self, id: &str) -> Result<Vec<Folder>> {
        let name = format!("{}{SUFFIX}", plain(id)?);
        Ok(self.all()?.into_iter().filter(|pod| pod.0.join(&name).exists()).collect())
    }
}

impl Folder {
    /// Makes the folder for the shim with this pid, which will listen at `socket`. The folder appears together with the `server` file.
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

    /// Makes a folder that only root may enter. The caller removes it or, if the caller is killed, the next `delete` does.
    pub(crate) fn private(&self, what: &str) -> Result<PathBuf> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let Self(path) = self.aside(&format!("{what}{number}"))?;
        DirBuilder::new().mode(0o700).create(&path).on(&path)?;
        Ok(path)
    }

    /// Returns the folder for runc's state of one native container, to be removed with that container.
    pub(crate) fn runc(&self, id: &str) -> Result<PathBuf> {
        Ok(self.0.join(format!("{}{RUNC}", plain(id)?)))
    }

    /// Returns a path beside this folder for this process alone, where others do not see half-made content.
    fn aside(&self, what: &str) -> Result<Self> {
        let own = std::process::id().to_string();
        let started = child::started(&own).ok_or(ErrorKind::NotFound).on("/proc/self/stat")?;
        Ok(Self(self.0.with_file_name(format!(".{own}.{started}.{what}"))))
    }

    /// Returns the pod's shim, or None if there is no such pod.
    pub(crate) fn server(&self) -> Result<Option<Server>> {
        read(&self.0.join(SERVER))
    }

    /// Whether containerd has forgotten the pod, as after a start that broke off, and will not call `delete` for it.
    pub(crate) fn is_forgotten(&self) -> bool {
        matches!(self.server(), Ok(Some(server)) if !server.bundle.exists())
    }

    /// Returns the ids of the containers with a record, which may have left something.
    pub(crate) fn containers(&self) -> Result<Vec<String>> {
        // A record that is being written has a dot before its name, which no id has.
        let names = entries(&self.0)?.into_iter().filter(|name| !name.starts_with('.'));
        Ok(names.filter_map(|name| name.strip_suffix(SUFFIX).map(str::to_owned)).collect())
    }

    /// Replaces a container's state atomically.
    pub(crate) fn write(&self, id: &str, state: &State) -> Result<()> {
        self.put(&format!("{}{SUFFIX}", plain(id)?), state)
    }

    /// Returns a container's state, or None if there is none.
    pub(crate) fn read(&self, id: &str) -> Result<Option<State>> {
        read(&self.0.join(format!("{}{SUFFIX}", plain(id)?)))
    }

    /// Whether a container has a record, so that something may be left of it.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.join(format!("{id}{SUFFIX}")).exists()
    }

    /// Removes the record of a container of which nothing is left.
    pub(crate) fn forget(&self, id: &str) -> Result<()> {
        remove_if_there(&self.0.join(format!("{}{SUFFIX}", plain(id)?)))
    }

    /// Removes the pod's folder, unless a container still has a record: then it stays, for the next cleanup.
    pub(crate) fn remove(&self) -> Result<()> {
        self.set_aside()?;
        self.remove_aside()
    }

    /// Does the first half of [`Folder::remove`], for a shim that is asked to end: gives the folder a name of this process's own, so that
    /// the next shim of this id finds nothing. If the second half never runs, the next `delete` on the node removes the folder.
    pub(crate) fn set_aside(&self) -> Result<()> {
        if !self.containers()?.is_empty() {
            return Ok(());
        }
        match fs::rename(&self.0, self.aside("old")?.0) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            renamed => renamed.on(&self.0),
        }
    }

    /// Does the second half, which nobody waits for, because it may take tens of milliseconds if `/run` is not in memory. It touches
    /// nothing that a later shim has made.
    pub(crate) fn remove_aside(&self) -> Result<()> {
        let old = self.aside("old")?;
        match fs::remove_dir_all(&old.0) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            removed => removed.on(&old.0)?,
        }
        if let Some(namespace) = self.0.parent() {
            Pods(namespace.to_owned()).remove_if_empty();
        }
        Ok(())
    }

    /// Takes the lock for cleaning up. Returns None if another process has it, or if the folder is gone.
    pub(crate) fn lock(&self) -> Result<Option<File>> {
        let file = match File::open(&self.0) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.on(&self.0)?,
        };
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Ok(None),
            locked => locked.on(&self.0).map(|()| Some(file)),
        }
    }

    /// Whether the pod's folder exists.
    pub(crate) fn exists(&self) -> bool {
        self.0.exists()
    }

    fn put(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let (path, new) = (self.0.join(name), self.0.join(format!(".{name}.new")));
        let text = serde_json::to_vec(value).doing(|| format!("writing {}", path.display()))?;
        // Without fsync, because no container outlives the machine's end.
        fs::write(&new, text).on(&new)?;
        put_in_place(&new, &path)
    }
}

/// Gives a record its name, in place of an older one or of none.
///
/// The two records exchange their names. If one replaced the other and `/run` were an ext4, the kernel would begin to write the new record
/// to the disk, and the next replacement or removal of that record (by an exit or Delete) would wait for the disk.
fn put_in_place(new: &Path, path: &Path) -> Result<()> {
    match rustix::fs::renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => remove_if_there(new),
        // There is no older record, or the file system knows no exchange.
        Err(Errno::NOENT | Errno::INVAL) => fs::rename(new, path).on(path),
        Err(e) => Err(e).on(path),
    }
}

/// Returns the id if it can be a file's name, as all of containerd's ids can.
pub(crate) fn plain(id: &str) -> Result<&str> {
    let first = id.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        return Ok(id);
    }
    Err(Error::refused("the container's id", format!("{id:?}"), "letters, digits and _.- after a letter or a digit"))
}

/// Returns the names in a folder; none if the folder does not exist.
fn entries(folder: &Path) -> Result<Vec<String>> {
    match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        all => Ok(all.on(folder)?.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()),
    }
}

/// Removes a file, if there is one.
fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e).on(path),
        _ => Ok(()),
    }
}

/// Reads a record, if there is one, of a format that this shim knows.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    #[derive(Deserialize)]
    struct Numbered {
        format: u32,
    }
    let text = match fs::read(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.on(path)?,
    };
    // Read before the rest, whose fields may differ.
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
    /// Returns the shim's process, or None if it has ended.
    pub(crate) fn process(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid.cast_signed()) else { return Ok(None) };
        let opened = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            // EINVAL: the shim is gone, but its process group or session is not.
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            opened => opened.doing(|| format!("opening the shim, process {pid}"))?,
        };
        // Checked after the pidfd was opened: if the start time is the same now, the pid was this process's all the time.
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

    /// Makes the state of a native container.
    pub(crate) fn of_native(cgroups: Vec<PathBuf>, record: native::Record) -> Self {
        Self { format: FORMAT, native: Some(record), ..Self::new(cgroups) }
    }

    /// Makes the state of a search.
    pub(crate) fn of_search(cgroups: Vec<PathBuf>) -> Self {
        Self { search: true, ..Self::new(cgroups) }
    }

    /// Reads the state that a shim of format 1 left in the bundle.
    pub(crate) fn of_older_shim(bundle: &Path) -> Result<Option<Self>> {
        read(&bundle.join(OLDER))
    }

    /// Removes that state.
    pub(crate) fn forget_older_shims(bundle: &Path) -> Result<()> {
        remove_if_there(&bundle.join(OLDER))
    }
}

#[cfg(test)]
mod tests;
