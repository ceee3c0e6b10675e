//! Who compiles what, told by locks on files: they end with the process that holds them, however it ends.
//!
//! Only the compile driver takes them, a process of its own, so that it may wait.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::{Doing, Result};

/// Between two looks for a free slot.
const PAUSE: Duration = Duration::from_millis(20);

/// A lock that is held until it is dropped.
pub(super) struct Held {
    _file: File,
}

/// Takes the lock under which the module `digest` is compiled, and waits for it: whoever held it has made the artifact.
/// Two hundred and fifty-six files serve all modules; two that share one wait for each other without need.
pub(super) fn module(folder: &Path, digest: &str) -> Result<Held> {
    let name = digest.get(..2).unwrap_or("00");
    let file = open(folder, name)?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive)).on(folder.join(name))?;
    Ok(Held { _file: file })
}

/// The same, if nobody holds it.
pub(super) fn module_now(folder: &Path, digest: &str) -> Result<Option<Held>> {
    let name = digest.get(..2).unwrap_or("00");
    try_lock(folder, name)
}

/// Takes one of `count` slots, and waits for one until `limit` has passed.
pub(super) fn slot(folder: &Path, count: usize, limit: Duration) -> Result<Option<Held>> {
    let begin = Instant::now();
    loop {
        for number in 0..count {
            if let Some(held) = try_lock(folder, &number.to_string())? {
                return Ok(Some(held));
            }
        }
        if begin.elapsed() > limit {
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}

fn try_lock(folder: &Path, name: &str) -> Result<Option<Held>> {
    let file = open(folder, name)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Held { _file: file })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e).on(folder.join(name)),
    }
}

fn open(folder: &Path, name: &str) -> Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).on(folder)?;
    let path = folder.join(name);
    File::options().write(true).create(true).truncate(false).mode(0o600).open(&path).on(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_one_holders_at_a_time() {
        let folder = std::env::temp_dir().join(format!("catamaran-slots-{}", std::process::id()));
        let first = slot(&folder, 2, Duration::ZERO).unwrap().unwrap();
        let second = slot(&folder, 2, Duration::ZERO).unwrap().unwrap();
        assert!(slot(&folder, 2, Duration::ZERO).unwrap().is_none());
        drop(first);
        let third = slot(&folder, 2, Duration::ZERO).unwrap();
        assert!(third.is_some());
        drop((second, third));
        let held = module(&folder, "abcd").unwrap();
        assert!(module_now(&folder, "abff").unwrap().is_none());
        drop(held);
        assert!(module_now(&folder, "abff").unwrap().is_some());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
