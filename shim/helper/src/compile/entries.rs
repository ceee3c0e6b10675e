//! Lists, prunes and verifies the cache's entries for the command `catamaran cache`, by the rules by which drivers put them there.
//!
//! An entry is removed under the lock of the cache's room, and pruning never removes one that a process has open. Listing and verifying
//! take no lock: an entry that goes meanwhile is skipped.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use catamaran_cache::engine::Engine;
use catamaran_cache::places::{Places, fingerprints};
use catamaran_cache::store::{Store, parts};
use catamaran_cache::target::Target;
use catamaran_cache::{checksum, entry, fingerprint};
use nix::libc;
use serde::{Deserialize, Serialize};

use super::{evict, locks};
use crate::error::{Doing, Error, Result};

/// The request, as JSON on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Asked {
    List,
    /// Removes the entries that are not in use and that meet all of these conditions.
    Prune {
        /// Entries that were not used for so many seconds.
        older_than: Option<u64>,
        /// The least recently used ones, until the others have at most so many bytes.
        to_bytes: Option<u64>,
        /// Entries of this module.
        digest: Option<String>,
    },
    /// Reads every artifact for its checksum.
    Verify {
        /// Whether those that are damaged are removed.
        remove: bool,
    },
}

/// An entry, as JSON on standard output.
#[derive(Debug, Clone, Serialize)]
struct Entry {
    /// sha256 of the module, in hexadecimal.
    digest: String,
    /// None if the folder is named after no known engine.
    engine: Option<Engine>,
    /// The target that it is made for, of that engine; None if that is not known.
    target: Option<Target>,
    /// `best` or `fast`; `refused` if the engine has no machine code of it.
    tier: &'static str,
    /// Its bytes on the disk.
    bytes: u64,
    /// When it was used last, to the hour, in seconds since 1970.
    used: u64,
    /// Whether a process has it open.
    in_use: bool,
    /// Whether this build's compilers have made it, because this build does not use other builds' entries.
    current: bool,
    path: PathBuf,
}

/// The entries that were found, and those that were removed.
#[derive(Debug, Default, Serialize)]
struct Found {
    /// The folder of the entries.
    folder: PathBuf,
    /// The bytes that entries may take.
    most: u64,
    /// `list`: all. `prune`: those that stay. `verify`: those that are whole.
    entries: Vec<Entry>,
    /// `prune`, and `verify` with `remove`: those that were removed.
    removed: Vec<Entry>,
    /// `verify`: those that are not what was published.
    damaged: Vec<Entry>,
}

/// The `cache` action.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    // Otherwise a process that opens an entry while a lease is on it would end this process by a signal.
    let blocked = nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGIO).thread_block();
    blocked.doing(|| "looking at the cache".to_owned())?;
    let asked = arguments.first().and_then(|text| serde_json::from_str(text.to_str()?).ok());
    let Some(asked) = asked else {
        return Err(Error::refused("command line", "cache", "the command `catamaran cache`"));
    };
    let places = Places::find()?;
    crate::answer(&carry_out(&asked, &places, &fingerprints())?)
}

/// `fingerprints` name the folders of this build's entries.
fn carry_out(asked: &Asked, places: &Places, fingerprints: &[String]) -> Result<Found> {
    let mut found = Found { folder: places.entries.clone(), most: places.bounds.all, ..Found::default() };
    if !places.entries.is_dir() {
        return Ok(found);
    }
    let entries = || entries(&places.entries, fingerprints);
    let lock = || {
        let held = locks::room(&places.root)?;
        held.ok_or_else(|| {
            Error::refused("the cache", "others put their entries into it all the time", "that it is tried again")
        })
    };
    match asked {
        Asked::List => found.entries = entries(),
        Asked::Prune { older_than, to_bytes, digest } => {
            let _lock = lock()?;
            let chosen = |entry: &Entry| {
                let old = older_than.is_none_or(|seconds| age(entry) >= Duration::from_secs(seconds));
                old && digest.as_ref().is_none_or(|digest| *digest == entry.digest)
            };
            prune(entries(), *to_bytes, chosen, &mut found);
            sweep(&places.entries);
        }
        Asked::Verify { remove } => {
            for entry in entries() {
                match is_whole(&entry) {
                    // It was removed meanwhile.
                    None => {}
                    Some(true) => found.entries.push(entry),
                    Some(false) => found.damaged.push(entry),
                }
            }
            if *remove && !found.damaged.is_empty() {
                let _lock = lock()?;
                // Another entry may have been put in its place.
                let damaged = found.damaged.iter().filter(|entry| is_whole(entry) == Some(false));
                let gone = damaged.filter(|entry| entry::remove(&entry.path).is_ok());
                found.removed = gone.cloned().collect();
            }
        }
    }
    Ok(found)
}

fn age(entry: &Entry) -> Duration {
    let used = SystemTime::UNIX_EPOCH + Duration::from_secs(entry.used);
    used.elapsed().unwrap_or_default()
}

/// Returns every entry, the least recently used first.
fn entries(root: &Path, fingerprints: &[String]) -> Vec<Entry> {
    let mut all = Vec::new();
    for folder in evict::folders(root) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let current = fingerprints.contains(&name);
        let target = fingerprint::target(&name);
        for file in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let file_name = file.file_name();
            let (Some((digest, tier)), Ok(meta)) = (file_name.to_str().and_then(parts), file.metadata()) else {
                continue;
            };
            if !meta.is_file() {
                continue;
            }
            let path = file.path();
            all.push(Entry {
                digest: digest.to_owned(),
                engine: evict::engine(&path),
                target,
                tier: tier.map_or("refused", |tier| tier.word()),
                bytes: evict::bytes(&meta),
                used: u64::try_from(meta.mtime()).unwrap_or(0),
                in_use: evict::in_use(&path),
                current,
                path,
            });
        }
    }
    all.sort_by(|one, other| (one.used, &one.path).cmp(&(other.used, &other.path)));
    all
}

/// Removes the chosen entries. The room's lock is held.
fn prune(entries: Vec<Entry>, to_bytes: Option<u64>, chosen: impl Fn(&Entry) -> bool, found: &mut Found) {
    let mut sum: u64 = entries.iter().map(|entry| entry.bytes).sum();
    for entry in entries {
        let wanted = to_bytes.is_none_or(|most| sum > most) && chosen(&entry);
        // Looked at again, because it may have been opened since it was listed.
        if wanted && !evict::in_use(&entry.path) && entry::remove(&entry.path).is_ok() {
            sum -= entry.bytes;
            found.removed.push(entry);
        } else {
            found.entries.push(entry);
        }
    }
}

/// Removes the unfinished files of processes that died while they wrote, and empty folders.
fn sweep(root: &Path) {
    for folder in evict::folders(root) {
        if let Ok(store) = Store::open(folder.clone()) {
            store.sweep();
        }
        let _ = fs::remove_dir(folder);
    }
}

/// Returns whether an entry is what was published, or None if it is gone. A refusal has no checksum.
fn is_whole(entry: &Entry) -> Option<bool> {
    if entry.tier == "refused" {
        return entry.path.exists().then_some(true);
    }
    // O_NONBLOCK: waits for no lease on it.
    let opened = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&entry.path);
    match opened {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(_) => Some(false),
        Ok(mut file) => {
            let safe = file.metadata().is_ok_and(|meta| meta.mode() & 0o022 == 0);
            Some(safe && checksum::verify(&entry.path, &mut file).is_ok_and(|sum| sum.is_some()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use catamaran_cache::places::Bounds;

    use super::*;

    struct Cache(PathBuf);

    impl Drop for Cache {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    impl Cache {
        /// Makes entries of 64 kB, one for each of `digits`, of which the last was used an hour ago and the one before two hours ago.
        fn new(name: &str, digits: &str) -> Self {
            let cache = Self(std::env::temp_dir().join(format!("catamaran-entries-{name}-{}", std::process::id())));
            fs::create_dir_all(cache.folder()).unwrap();
            for (index, digit) in digits.chars().enumerate() {
                let path = cache.path(digit);
                fs::write(&path, vec![1; 64 << 10]).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
                let mut file = File::open(&path).unwrap();
                fs::write(checksum::beside(&path), checksum::compute(&mut file).unwrap()).unwrap();
                entry::mark(&path, "a").unwrap();
                let hours = (digits.len() - index) as u64;
                file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600 + 60)).unwrap();
            }
            cache
        }

        fn folder(&self) -> PathBuf {
            self.0.join("cache/wasmtime-1-2-3")
        }

        fn path(&self, digit: char) -> PathBuf {
            self.folder().join(digit.to_string().repeat(64))
        }

        fn ask(&self, asked: &str) -> Found {
            let places = Places::below(self.0.clone(), Bounds { all: 1 << 20, own: 1 << 20 });
            carry_out(&serde_json::from_str(asked).unwrap(), &places, &["wasmtime-1-2-3".to_owned()]).unwrap()
        }
    }

    /// The first digits of their digests.
    fn digits(entries: &[Entry]) -> String {
        entries.iter().map(|entry| &entry.digest[..1]).collect()
    }

    #[test]
    fn entries_are_listed_with_what_is_in_use() {
        let cache = Cache::new("list", "ab");
        fs::write(cache.folder().join(format!("{}.refused", "c".repeat(64))), "always\nwhy").unwrap();
        fs::write(cache.folder().join("new-1.2-3"), "unfinished").unwrap();
        let servers = cache.0.join("cache/wasmtime-http-1-2-3");
        fs::create_dir(&servers).unwrap();
        fs::write(servers.join(format!("{}.fast", "d".repeat(64))), "x").unwrap();
        let held = File::open(cache.path('b')).unwrap();
        let found = cache.ask("\"list\"");
        let told: Vec<_> =
            found.entries.iter().map(|e| (&e.digest[..1], e.tier, e.in_use, e.target, e.current)).collect();
        let of = Some(Target::Wasmtime);
        assert_eq!(
            told,
            [
                ("a", "best", false, of, true),
                ("b", "best", true, of, true),
                ("c", "refused", false, of, true),
                ("d", "fast", false, Some(Target::WasmtimeHttp), false),
            ]
        );
        assert!(found.entries.iter().all(|entry| entry.engine == Some(Engine::Wasmtime)));
        assert_eq!((found.entries[0].bytes, found.most), (64 << 10, 1 << 20));
        drop(held);
        assert!(Cache(cache.0.join("none")).ask("\"list\"").entries.is_empty());
    }

    #[test]
    fn what_is_in_use_is_never_pruned() {
        let cache = Cache::new("prune", "abcd");
        let held = File::open(cache.path('a')).unwrap();
        let prune = |older: &str, bytes: &str, digest: &str| {
            let text = format!(r#"{{"prune":{{"older_than":{older},"to_bytes":{bytes},"digest":{digest}}}}}"#);
            let found = cache.ask(&text);
            (digits(&found.removed), digits(&found.entries))
        };
        let ends = |removed: &str, left: &str| (removed.to_owned(), left.to_owned());
        assert_eq!(prune("36000", "null", "null"), ends("", "abcd"));
        assert_eq!(prune("null", "200000", "null"), ends("b", "acd"));
        assert_eq!(prune("7200", "null", "null"), ends("c", "ad"));
        assert_eq!(prune("null", "null", &format!("\"{}\"", "e".repeat(64))), ends("", "ad"));
        assert_eq!(prune("null", "null", "null"), ends("d", "a"));
        assert_eq!(fs::read_dir(cache.folder()).unwrap().count(), 3, "its checksum and its mark stay with it");
        drop(held);
        assert_eq!(prune("null", "null", "null"), ends("a", ""));
        assert!(!cache.folder().exists());
    }

    #[test]
    fn damage_is_found_and_removed_if_that_is_asked_for() {
        let cache = Cache::new("verify", "abc");
        fs::set_permissions(cache.path('b'), fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(cache.path('b'), vec![2; 64 << 10]).unwrap();
        fs::remove_file(checksum::beside(&cache.path('c'))).unwrap();
        let found = cache.ask(r#"{"verify":{"remove":false}}"#);
        assert_eq!((digits(&found.damaged).as_str(), digits(&found.entries).as_str()), ("cb", "a"), "{found:?}");
        assert!(found.removed.is_empty() && cache.path('b').exists());
        let found = cache.ask(r#"{"verify":{"remove":true}}"#);
        assert_eq!(digits(&found.removed), "cb");
        assert!(!cache.path('b').exists() && !cache.path('c').exists() && cache.path('a').exists());
        assert!(cache.ask(r#"{"verify":{"remove":true}}"#).damaged.is_empty());
    }
}
