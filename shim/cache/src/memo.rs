//! The memo: digests of files that do not change, by what identifies each file.
//!
//! Only files of an image's unpacked layers are remembered, because no container writes to them: the file in the overlay's lower
//! directory, never the overlay's own, whose device number differs with every mount and is used again. A digest is remembered
//! for the very file that it was read from, so that nobody can have another file's digest remembered for it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use log::debug;
use sha2::{Digest, Sha256};

use super::digest::hex;
use super::module::{Largest, Module};
use super::places::Places;
use crate::error::{Doing, Result};

/// The number of files that are remembered; the oldest half goes when there are more.
const MOST: usize = 4096;
/// A file that changed less than this ago could change again within the clock's tick, with the same times.
const SETTLED_SECONDS: i64 = 2;

/// Tells one state of one file from all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Returns the key of an open file, or None if its times do not tell it from a later state yet.
    pub fn new(file: &File) -> io::Result<Option<Self>> {
        let meta = file.metadata()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?.as_secs();
        if !meta.is_file() || now.cast_signed() - meta.ctime() < SETTLED_SECONDS {
            return Ok(None);
        }
        let (dev, ino, size) = (meta.dev(), meta.ino(), meta.size());
        let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        let [mtime, mtime_nsec, ctime, ctime_nsec] = times;
        Ok(Some(Self(format!("{dev}-{ino}-{size}-{mtime}.{mtime_nsec}-{ctime}.{ctime_nsec}"))))
    }

    fn name(&self) -> String {
        hex(&Sha256::digest(&self.0)[..16])
    }
}

/// The folder of the remembered digests.
pub struct Memo {
    folder: PathBuf,
}

impl Memo {
    /// Opens the node's memo.
    ///
    /// # Errors
    /// If a variable in the environment has an invalid value.
    pub fn open() -> Result<Self> {
        Ok(Self::at(Places::find()?.root.join("memo")))
    }

    fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Returns the module in `file`, with its digest. `lower` is the file in an image's unpacked layer that `file` shows, if it is known.
    ///
    /// # Errors
    /// If the module cannot be read, or is larger than `largest`.
    pub fn module(&self, name: String, file: File, lower: Option<File>, largest: Largest) -> Result<Module> {
        let Some(lower) = lower else { return Module::hashed(name, file, largest) };
        let key = Key::new(&lower).on(&name)?;
        if let Some(digest) = key.as_ref().and_then(|key| self.recall(key)) {
            return Ok(Module::known(name, lower, digest));
        }
        let module = Module::hashed(name, lower, largest)?;
        if let Some(key) = key
            && let Err(e) = self.remember(&key, &module.file, &module.digest)
        {
            debug!("the digest of {} is not remembered: {e}", module.name);
        }
        Ok(module)
    }

    /// Returns the remembered digest of the file with this key.
    pub fn recall(&self, key: &Key) -> Option<String> {
        let text = fs::read_to_string(self.folder.join(key.name())).ok()?;
        let (known, digest) = text.split_once(' ')?;
        let whole = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
        (known == key.0 && whole).then(|| digest.to_owned())
    }

    /// Remembers the digest of `file`, which was read to its end after `key` was taken, unless it has changed since. A file that cannot
    /// be remembered is read again.
    pub fn remember(&self, key: &Key, file: &File, digest: &str) -> io::Result<()> {
        if Key::new(file)?.as_ref() != Some(key) {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let path = self.folder.join(key.name());
        let new = self.folder.join(format!("new-{}", std::process::id()));
        fs::write(&new, format!("{} {digest}", key.0))?;
        fs::rename(&new, path)?;
        self.bound(MOST)
    }

    fn bound(&self, most: usize) -> io::Result<()> {
        let names: Vec<_> = fs::read_dir(&self.folder)?.flatten().map(|entry| entry.path()).collect();
        if names.len() <= most {
            return Ok(());
        }
        let age = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut aged: Vec<_> = names.into_iter().map(|path| (age(&path), path)).collect();
        aged.sort();
        aged.iter().take(aged.len() / 2).try_for_each(|(_, path)| match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_settled_file_is_remembered_and_a_changed_one_is_not() {
        let folder = std::env::temp_dir().join(format!("catamaran-memo-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let memo = Memo::at(folder.join("memo"));
        let (path, digest) = (folder.join("file"), "0".repeat(64));
        fs::write(&path, "one").unwrap();
        assert_eq!(Key::new(&File::open(&path).unwrap()).unwrap(), None, "it may change within the tick");
        std::thread::sleep(Duration::from_millis(3100));
        let file = File::open(&path).unwrap();
        let key = Key::new(&file).unwrap().unwrap();
        assert_eq!(memo.recall(&key), None);
        memo.remember(&key, &file, &digest).unwrap();
        assert_eq!(memo.recall(&key), Some(digest.clone()));
        // Same length, and a forced time of modification: the time of change tells them apart.
        let modified = file.metadata().unwrap().modified().unwrap();
        fs::write(&path, "two").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        memo.remember(&key, &file, &"1".repeat(64)).unwrap();
        assert_eq!(memo.recall(&key), Some(digest), "another state is not remembered under the old key");
        memo.bound(0).unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}
