//! Lists, prunes and verifies the cache's entries for the command `catamaran cache`.
//!
//! Entries are removed under the lock of the cache's room, and pruning never removes an entry that a process has open. Listing and
//! verifying take no lock, and skip entries that vanish meanwhile.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use catamaran_cache::engine::Engine;
use catamaran_cache::places::{Places, fingerprints};
use catamaran_cache::store;
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
    /// Removes the entries that are not in use and meet all of these conditions.
    Prune {
        /// Only entries that were not used for this many seconds.
        older_than: Option<u64>,
        /// Only the least recently used entries, until the others have at most this many bytes.
        to_bytes: Option<u64>,
        /// Only entries of the module with this digest.
        digest: Option<String>,
    },
    /// Reads every artifact and compares its checksum.
    Verify {
        /// Whether to remove damaged artifacts.
        remove: bool,
    },
}

/// An entry, as JSON on standard output.
#[derive(Debug, Clone, Serialize)]
struct Entry {
    /// The module's sha256, in hexadecimal.
    digest: String,
    /// The engine that the folder is named after; None if it is unknown.
    engine: Option<Engine>,
    /// The target of the machine code; None if it is unknown.
    target: Option<Target>,
    /// `best` or `fast`, `functions` for the module's functions that are kept for others, or `refused` for a cached refusal.
    tier: &'static str,
    /// Whether it serves only the namespace that it was made for: functions, and machine code with functions of other modules.
    own: bool,
    /// Its bytes on the disk, with its checksum.
    bytes: u64,
    /// The time of the last use in seconds since 1970, exact to the hour.
    used: u64,
    /// Whether a process has it open.
    in_use: bool,
    /// Whether this build's compilers made the entry. This build uses no others.
    current: bool,
    path: PathBuf,
}

/// The answer, as JSON on standard output.
#[derive(Debug, Default, Serialize)]
struct Found {
    /// The folder of the entries.
    folder: PathBuf,
    /// The most bytes that all entries may take.
    most: u64,
    /// `list`: all entries. `prune`: those that stay. `verify`: those that are intact.
    entries: Vec<Entry>,
    /// `prune`, and `verify` with `remove`: the removed entries.
    removed: Vec<Entry>,
    /// `verify`: the damaged entries.
    damaged: Vec<Entry>,
}

/// The `cache` action.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    // A process that opens an entry while this one has a lease on it would kill this one by a signal otherwise.
    let blocked = nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGIO).thread_block();
    blocked.doing(|| "looking at the cache".to_owned())?;
    let asked = arguments.first().and_then(|text| serde_json::from_str(text.to_str()?).ok());
    let Some(asked) = asked else {
        return Err(Error::refused(
            "command line",
            "cache",
            "only the command `catamaran cache` starts this action, with a request as JSON",
        ));
    };
    let places = Places::find()?;
    crate::answer(&carry_out(&asked, &places, &fingerprints())?)
}

/// Carries out a request. `fingerprints` are the names of the folders of this build's entries.
fn carry_out(asked: &Asked, places: &Places, fingerprints: &[String]) -> Result<Found> {
    let mut found = Found { folder: places.entries.clone(), most: places.bounds.all, ..Found::default() };
    if !places.entries.is_dir() {
        return Ok(found);
    }
    let entries = || entries(&places.entries, fingerprints);
    let lock = || {
        let held = locks::room(&places.root)?;
        held.ok_or_else(|| Error::refused("the cache", "compiles kept it locked for 30 s", "run the command again"))
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
                    // The entry was removed meanwhile.
                    None => {}
                    Some(true) => found.entries.push(entry),
                    Some(false) => found.damaged.push(entry),
                }
            }
            if *remove && !found.damaged.is_empty() {
                let _lock = lock()?;
                // Checked again, because a driver may have replaced an entry meanwhile.
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
            let (Some((digest, kept)), Ok(meta)) = (file_name.to_str().and_then(store::parse), file.metadata()) else {
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
                tier: match kept {
                    store::Entry::Artifact(kind) => kind.tier.word(),
                    store::Entry::Functions(_) => "functions",
                    store::Entry::Refusal => "refused",
                },
                own: match kept {
                    store::Entry::Artifact(kind) => kind.own,
                    store::Entry::Functions(_) => true,
                    store::Entry::Refusal => false,
                },
                bytes: entry::bytes(&path, &meta),
                used: u64::try_from(meta.mtime()).unwrap_or(0),
                in_use: entry::is_in_use(&path),
                current,
                path,
            });
        }
    }
    all.sort_by(|one, other| (one.used, &one.path).cmp(&(other.used, &other.path)));
    all
}

/// Removes the chosen entries. The caller holds the room's lock.
fn prune(entries: Vec<Entry>, to_bytes: Option<u64>, chosen: impl Fn(&Entry) -> bool, found: &mut Found) {
    let mut sum: u64 = entries.iter().map(|entry| entry.bytes).sum();
    for entry in entries {
        let wanted = to_bytes.is_none_or(|most| sum > most) && chosen(&entry);
        // Checked again, because a process may have opened the entry since it was listed.
        if wanted && !entry::is_in_use(&entry.path) && entry::remove(&entry.path).is_ok() {
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
        store::sweep(&folder);
        let _ = fs::remove_dir(folder);
    }
}

/// Returns whether an entry is intact, or None if it is gone. A refusal has no checksum, and counts as intact.
fn is_whole(entry: &Entry) -> Option<bool> {
    if entry.tier == "refused" {
        return entry.path.exists().then_some(true);
    }
    // O_NONBLOCK: does not wait for a lease on the file.
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
        /// Makes an entry of 64 kB for each of `digits`. The last was used an hour ago, the one before it two hours ago, and so on.
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

    /// Returns the first digits of the entries' digests.
    fn digits(entries: &[Entry]) -> String {
        entries.iter().map(|entry| &entry.digest[..1]).collect()
    }

    #[test]
    fn the_list_shows_which_entries_are_in_use() {
        let cache = Cache::new("list", "ab");
        fs::write(cache.folder().join(format!("{}.refused", "c".repeat(64))), "always\nwhy").unwrap();
        fs::write(cache.folder().join("new-1.2-3"), "unfinished").unwrap();
        let servers = cache.0.join("cache/wasmtime-http-1-2-3");
        fs::create_dir(&servers).unwrap();
        for ending in ["fast", "own-0123456789abcdef", "fast.functions-0123456789abcdef"] {
            fs::write(servers.join(format!("{}.{ending}", "d".repeat(64))), "x").unwrap();
        }
        let held = File::open(cache.path('b')).unwrap();
        let found = cache.ask("\"list\"");
        let told: Vec<_> =
            found.entries.iter().map(|e| (&e.digest[..1], e.tier, e.own, e.in_use, e.target, e.current)).collect();
        let (of, servers) = (Some(Target::Wasmtime), Some(Target::WasmtimeHttp));
        assert_eq!(
            told,
            [
                ("a", "best", false, false, of, true),
                ("b", "best", false, true, of, true),
                ("c", "refused", false, false, of, true),
                ("d", "fast", false, false, servers, false),
                ("d", "functions", true, false, servers, false),
                ("d", "best", true, false, servers, false),
            ]
        );
        assert!(found.entries.iter().all(|entry| entry.engine == Some(Engine::Wasmtime)));
        assert_eq!((found.entries[0].bytes, found.most), (68 << 10, 1 << 20), "with its checksum");
        drop(held);
        assert!(Cache(cache.0.join("none")).ask("\"list\"").entries.is_empty());
    }

    #[test]
    fn an_entry_in_use_is_never_pruned() {
        let cache = Cache::new("prune", "abcd");
        let held = File::open(cache.path('a')).unwrap();
        let prune = |older: &str, bytes: &str, digest: &str| {
            let text = format!(r#"{{"prune":{{"older_than":{older},"to_bytes":{bytes},"digest":{digest}}}}}"#);
            let found = cache.ask(&text);
            (digits(&found.removed), digits(&found.entries))
        };
        let ends = |removed: &str, left: &str| (removed.to_owned(), left.to_owned());
        assert_eq!(prune("36000", "null", "null"), ends("", "abcd"));
        assert_eq!(prune("null", "210000", "null"), ends("b", "acd"));
        assert_eq!(prune("7200", "null", "null"), ends("c", "ad"));
        assert_eq!(prune("null", "null", &format!("\"{}\"", "e".repeat(64))), ends("", "ad"));
        assert_eq!(prune("null", "null", "null"), ends("d", "a"));
        assert_eq!(fs::read_dir(cache.folder()).unwrap().count(), 3, "an entry stays with its checksum and its mark");
        drop(held);
        assert_eq!(prune("null", "null", "null"), ends("a", ""));
        assert!(!cache.folder().exists());
    }

    #[test]
    fn verifying_finds_damage_and_removes_it_on_request() {
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
