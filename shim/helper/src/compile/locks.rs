//! Locks on files, for modules, slots and the cache's room: a lock ends with the process that holds it, however that ends.
//!
//! Only helpers take them, which are processes of their own, so that they may wait.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use catamaran_cache::target::Target;
use catamaran_cache::tenant;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::asker::Asker;
use crate::error::{Doing, Result};

/// The interval of tries to take a lock.
const PAUSE: Duration = Duration::from_millis(20);
/// The time to wait for the cache's room: its holder reads an entry for its checksum, and waits for the disk.
const LONGEST_ROOM: Duration = Duration::from_secs(30);

/// The end of a wait: this limit has passed, or the asker has gone.
#[derive(Clone, Copy)]
pub(super) struct Until<'a> {
    pub(super) limit: Duration,
    pub(super) asker: &'a Asker,
}

/// The result of waiting for a turn.
pub(super) enum Turn {
    Came(Lock),
    TooLate,
    /// The asker has gone.
    Unwanted,
}

/// A lock that is held until it is dropped.
pub(super) struct Lock {
    file: File,
    /// The file to remove with the lock, if files of such names would pile up.
    path: Option<PathBuf>,
}

impl Lock {
    /// Whether the locked file still lies at `path`: the last holder may have removed it after this process opened it.
    pub(super) fn is_there(&self, path: &Path) -> Result<bool> {
        Ok(self.file.metadata().on(path)?.nlink() > 0)
    }

    pub(super) fn removed_with(mut self, path: PathBuf) -> Self {
        self.path = Some(path);
        self
    }

    /// Returns the name of the file, if it is removed with the lock.
    pub(super) fn name(&self) -> Option<&OsStr> {
        self.path.as_ref()?.file_name()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // While the lock is held: a process that waits for it then finds a file without a name, and makes another.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Takes the lock under which the module `digest` is compiled for `target` and one tenant, and waits for it: the process that
/// held it has made the artifact.
///
/// Each tenant has a lock of its own, because the holder waits for its own tenant's turn, which takes long in a burst.
pub(super) fn module(folder: &Path, target: Target, digest: &str, tenant: &str, until: Until<'_>) -> Result<Turn> {
    let path = folder.join(format!("{digest}.{target}.{}", tenant::name(tenant)));
    patiently(until, || passing(&path))
}

/// Takes the lock under which entries are put into the cache, so that the driver that has made room is the next to use it.
pub(super) fn room(root: &Path) -> Result<Option<Lock>> {
    let begin = Instant::now();
    loop {
        match try_lock(&root.join("room"))? {
            None if begin.elapsed() < LONGEST_ROOM => std::thread::sleep(PAUSE),
            done => return Ok(done),
        }
    }
}

/// Makes a file for this holder and locks it. The file is removed with the lock.
pub(super) fn own(path: PathBuf) -> Result<Lock> {
    loop {
        // Another process may look at it between its making and its locking, and take it for a dead holder's.
        if let Some(held) = passing(&path)? {
            return Ok(held);
        }
    }
}

/// Removes the file of such a lock if its holder is gone, and returns whether it is.
pub(super) fn remove_dead(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
        file => file.on(path)?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e).on(path),
        Ok(()) => match std::fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e).on(path),
            _ => Ok(true),
        },
    }
}

/// Takes the lock under which the module's better code is made, for which nobody waits. Returns None if another driver has it.
pub(super) fn later(folder: &Path, target: Target, digest: &str, tenant: &str) -> Result<Option<Lock>> {
    passing(&folder.join(format!("{digest}.{target}.{}.later", tenant::name(tenant))))
}

/// Takes a lock whose file is removed with it.
fn passing(path: &Path) -> Result<Option<Lock>> {
    let Some(held) = try_lock(path)? else { return Ok(None) };
    Ok(if held.is_there(path)? { Some(held.removed_with(path.to_owned())) } else { None })
}

/// Removes the modules' locks that nobody holds: their holders were killed, and a later order for such a module may find its
/// artifact, and needs no lock then.
pub(super) fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // This may take a lock that is just being made for a dead holder's: its maker looks, and makes another.
        if let Ok(Some(held)) = try_lock(&path)
            && held.is_there(&path).unwrap_or(false)
        {
            drop(held.removed_with(path));
        }
    }
}

fn patiently(until: Until<'_>, mut attempt: impl FnMut() -> Result<Option<Lock>>) -> Result<Turn> {
    let begin = Instant::now();
    loop {
        if let Some(held) = attempt()? {
            return Ok(Turn::Came(held));
        }
        if begin.elapsed() >= until.limit {
            return Ok(Turn::TooLate);
        }
        if until.asker.leaves_within(PAUSE) {
            return Ok(Turn::Unwanted);
        }
    }
}

/// Takes the lock of the file at `path`, and makes the file if it is missing. Returns None if another process has the lock.
pub(super) fn try_lock(path: &Path) -> Result<Option<Lock>> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).on(folder)?;
    }
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(path).on(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock { file, path: None })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e).on(path),
    }
}

#[cfg(test)]
mod tests {
    use super::module as lock_module;
    use super::*;

    #[test]
    fn a_modules_lock_has_one_holder_at_a_time() {
        let folder = std::env::temp_dir().join(format!("catamaran-locks-{}", std::process::id()));
        let (asker, shim) = Asker::pair();
        let module = |target: Target, digest: &str, tenant: &str| {
            let until = Until { limit: Duration::from_millis(50), asker: &asker };
            match lock_module(&folder, target, digest, tenant, until).unwrap() {
                Turn::Came(held) => Ok(held),
                Turn::TooLate => Err("too late"),
                Turn::Unwanted => Err("unwanted"),
            }
        };
        let held = module(Target::Wasmtime, "abcd", "a");
        assert!(held.is_ok());
        assert_eq!(module(Target::Wasmtime, "abcd", "a").map(drop), Err("too late"));
        assert!(module(Target::Wasmtime, "abff", "a").is_ok(), "another one is free");
        assert!(module(Target::Wasmer, "abcd", "a").is_ok(), "and so is another engine's");
        assert!(module(Target::WasmtimeHttp, "abcd", "a").is_ok(), "and another world's");
        assert!(module(Target::Wasmtime, "abcd", "b").is_ok(), "and another tenant's");
        let later = later(&folder, Target::Wasmtime, "abcd", "a").unwrap();
        assert!(later.is_some(), "who makes its better code holds up no start");
        assert!(super::later(&folder, Target::Wasmtime, "abcd", "a").unwrap().is_none());
        drop(shim);
        assert_eq!(module(Target::Wasmtime, "abcd", "a").map(drop), Err("unwanted"));
        drop((held, later));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        assert!(module(Target::Wasmtime, "abcd", "a").is_ok(), "what is free is had all the same");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
