//! File locks for modules, slots and the cache's room. The kernel releases a lock when its holder ends, for whatever reason.
//!
//! Waiting for a lock blocks. Only helper processes take locks, never the shim.

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

/// The interval between tries to take a lock.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest wait for the lock of the cache's room. Its holder reads a whole artifact for the checksum.
pub(super) const LONGEST_ROOM: Duration = Duration::from_secs(30);

/// A wait ends when this limit has passed or the asker has gone.
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
    /// The file to remove with the lock; None for files that are reused.
    path: Option<PathBuf>,
}

impl Lock {
    /// Returns whether the locked file still has a name. The last holder may have removed the file after this process opened it.
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
            // Removed while locked: a process that takes the lock next finds a file without a name, and makes another.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Waits for and takes the lock for compiling the module `digest` for `target` and one tenant. The previous holder has probably made the
/// artifact.
///
/// Each tenant has its own lock, because the holder waits for its tenant's turn, which takes long in a burst.
pub(super) fn module(folder: &Path, target: Target, digest: &str, tenant: &str, until: Until<'_>) -> Result<Turn> {
    let path = folder.join(format!("{digest}.{target}.{}", tenant::name(tenant)));
    patiently(until, || passing(&path))
}

/// Takes the lock for adding entries to the cache, so that the driver that makes room is the one that uses it. Returns None after
/// [`LONGEST_ROOM`].
pub(super) fn room(root: &Path) -> Result<Option<Lock>> {
    let begin = Instant::now();
    loop {
        match try_lock(&root.join("room"))? {
            None if begin.elapsed() < LONGEST_ROOM => std::thread::sleep(PAUSE),
            done => return Ok(done),
        }
    }
}

/// Makes and locks a file of this process's own. The file is removed with the lock.
pub(super) fn own(path: PathBuf) -> Result<Lock> {
    loop {
        // Between creation and locking another process may take the file for a dead holder's, and remove it.
        if let Some(held) = passing(&path)? {
            return Ok(held);
        }
    }
}

/// Removes the file of a lock from [`own`] if its holder is gone. Returns whether the holder is gone.
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

/// Takes the lock for making the module's better code. Returns None if another driver has it.
pub(super) fn later(folder: &Path, target: Target, digest: &str, tenant: &str) -> Result<Option<Lock>> {
    passing(&folder.join(format!("{digest}.{target}.{}.later", tenant::name(tenant))))
}

/// Tries to take a lock whose file is removed with the lock.
fn passing(path: &Path) -> Result<Option<Lock>> {
    let Some(held) = try_lock(path)? else { return Ok(None) };
    Ok(if held.is_there(path)? { Some(held.removed_with(path.to_owned())) } else { None })
}

/// Removes modules' locks without a holder. Killed holders leave them behind, and no later order cleans up: it may find the artifact and
/// need no lock.
pub(super) fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // A lock that is just being created may be taken for a dead holder's. Its creator notices, and makes another.
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

/// Locks the file at `path`, which is created if it is missing. Returns None if another process has the lock.
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
        assert!(module(Target::Wasmtime, "abff", "a").is_ok(), "another module's lock is free");
        assert!(module(Target::Wasmer, "abcd", "a").is_ok(), "another engine's lock is free");
        assert!(module(Target::WasmtimeHttp, "abcd", "a").is_ok(), "another world's lock is free");
        assert!(module(Target::Wasmtime, "abcd", "b").is_ok(), "another tenant's lock is free");
        let later = later(&folder, Target::Wasmtime, "abcd", "a").unwrap();
        assert!(later.is_some(), "the lock for better code is another one than a start's");
        assert!(super::later(&folder, Target::Wasmtime, "abcd", "a").unwrap().is_none());
        drop(shim);
        assert_eq!(module(Target::Wasmtime, "abcd", "a").map(drop), Err("unwanted"));
        drop((held, later));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        assert!(module(Target::Wasmtime, "abcd", "a").is_ok(), "a free lock is taken even if the asker is gone");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
