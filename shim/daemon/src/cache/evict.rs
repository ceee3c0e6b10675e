//! Keeps the cache within its bytes: the least recently used entry goes first, never one in use.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use log::info;

use super::checksum;
use crate::engine::Engine;
use crate::lease;

/// What the smallest entry counts: some file systems keep small files in no block at all.
const LEAST_BYTES: u64 = 4096;

struct Entry {
    path: PathBuf,
    used: SystemTime,
    bytes: u64,
}

/// Removes entries below `root`, of every fingerprint, until they are `most` bytes together or all in use. Answers whose
/// went: the engine that its folder is named after. What cannot be read or removed stays.
pub(super) fn evict(root: &Path, most: u64) -> Vec<Option<Engine>> {
    let mut entries = entries(root);
    let mut total: u64 = entries.iter().map(|e| e.bytes).sum();
    entries.sort_by_key(|e| e.used);
    let mut removed = Vec::new();
    for entry in entries {
        if total <= most {
            break;
        }
        if in_use(&entry.path) || fs::remove_file(&entry.path).is_err() {
            continue;
        }
        info!("cache entry {} was removed, {} bytes", entry.path.display(), entry.bytes);
        total -= entry.bytes;
        // Nothing without it; where it stays, it goes as an entry of its own.
        let _ = fs::remove_file(checksum::beside(&entry.path));
        removed.push(engine(&entry.path));
    }
    // An older version's folder, once it is empty; the others have something in them.
    for folder in folders(root) {
        let _ = fs::remove_dir(folder);
    }
    removed
}

fn engine(entry: &Path) -> Option<Engine> {
    let folder = entry.parent()?.file_name()?.to_str()?;
    Engine::parse(folder.split('-').next()?)
}

fn folders(root: &Path) -> impl Iterator<Item = PathBuf> {
    let all = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(|path| path.is_dir())
}

fn entries(root: &Path) -> Vec<Entry> {
    let mut all = Vec::new();
    for file in folders(root).flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten()) {
        let Ok(meta) = file.metadata() else { continue };
        // A checksum goes with its artifact.
        let belongs = checksum::artifact_of(&file.path()).is_some_and(|artifact| artifact.exists());
        if let (true, false, Ok(used)) = (meta.is_file(), belongs, meta.modified()) {
            // What it takes on the disk, at least a block: many small files are a burden too.
            let bytes = (std::os::unix::fs::MetadataExt::blocks(&meta) * 512).max(LEAST_BYTES);
            all.push(Entry { path: file.path(), used, bytes });
        }
    }
    all
}

/// Whether a process has it open: a write lease is granted only where none has (fcntl(2), «Leases»). Workers keep their
/// artifact open, since their memory image is mapped from it.
fn in_use(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => !lease::nobody_else_has_it(&file).unwrap_or(false),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_least_recently_used_goes_and_never_one_in_use() {
        let root = std::env::temp_dir().join(format!("catamaran-evict-{}", std::process::id()));
        let block = vec![1; 64 << 10];
        for (index, name) in ["old/a", "wasmer-new/b", "wasmer-new/c", "wasmer-new/d"].into_iter().enumerate() {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &block).unwrap();
            let age = Duration::from_secs(1000 - index as u64);
            File::open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        }
        for name in ["wasmer-new/b.sum", "wasmer-new/c.sum"] {
            fs::write(root.join(name), "x").unwrap();
        }
        let used = File::open(root.join("wasmer-new/b")).unwrap();
        assert_eq!(evict(&root, 1 << 20), []);
        assert_eq!(evict(&root, 150 << 10), [None, Some(Engine::Wasmer)]);
        assert!(!root.join("old").exists(), "an empty folder goes");
        assert!(
            root.join("wasmer-new/b").exists()
                && !root.join("wasmer-new/c").exists()
                && root.join("wasmer-new/d").exists()
        );
        assert!(root.join("wasmer-new/b.sum").exists() && !root.join("wasmer-new/c.sum").exists());
        drop(used);
        assert_eq!(evict(&root, 0).len(), 2);
        fs::remove_dir_all(&root).unwrap();
    }
}
