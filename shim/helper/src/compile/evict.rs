//! Keeps the cache within its bytes, entries in use included, and each tenant within its share. The least recently used entry goes
//! first, and never one in use. A tenant within its share displaces an entry of the tenant that has the most.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use catamaran_cache::engine::Engine;
use catamaran_cache::places::Bounds;
use catamaran_cache::{checksum, entry};
use catamaran_host::lease;
use log::info;

/// The bytes that an entry counts at least, because some file systems keep small files in no block at all.
const LEAST_BYTES: u64 = 4096;

/// The result of making room.
pub(super) struct Room {
    /// The engines of the removed entries, after which their folders are named.
    pub(super) removed: Vec<Option<Engine>>,
    /// Why there is no room, if there is none.
    pub(super) lacking: Option<String>,
}

struct Entry {
    path: PathBuf,
    used: SystemTime,
    bytes: u64,
}

/// One tenant's entries that were not looked at yet, the least recently used at the front.
#[derive(Default)]
struct TenantEntries {
    sum: u64,
    entries: VecDeque<Entry>,
}

impl TenantEntries {
    /// Removes the next entry, unless it is in use. Returns None if there is no further one.
    fn remove_one(&mut self, removed: &mut Vec<Option<Engine>>) -> Option<()> {
        let next = self.entries.pop_front()?;
        if !in_use(&next.path) && entry::remove(&next.path).is_ok() {
            info!("cache entry {} was removed, {} bytes", next.path.display(), next.bytes);
            self.sum -= next.bytes;
            removed.push(engine(&next.path));
        }
        Some(())
    }
}

/// Removes entries below `root`, of every fingerprint, until one more of `tenant`'s, with the bytes of the file `new`, is within
/// the bounds. Entries that cannot be read or removed stay. Removes no entry of a tenant that has less than `tenant` would have.
///
/// `tenant` is in the form of names of files. The caller holds the lock of [`super::locks::room`].
pub(super) fn make_room(root: &Path, bounds: Bounds, tenant: &str, new: Option<&Path>) -> Room {
    // It may not have its blocks yet: nobody has waited for the disk.
    let more = new.and_then(|new| fs::metadata(new).ok()).map_or(0, |meta| bytes(&meta).max(meta.len()));
    let mut removed = Vec::new();
    let lacking = match more > bounds.own.min(bounds.all) {
        true => {
            Some(format!("it has {more} bytes, and one namespace may have {} in the cache", bounds.own.min(bounds.all)))
        }
        false => try_to_fit(root, bounds, tenant, more, new, &mut removed),
    };
    // Removes an older version's folder once it is empty; the others have something in them.
    for folder in folders(root) {
        let _ = fs::remove_dir(folder);
    }
    Room { removed, lacking }
}

fn try_to_fit(
    root: &Path,
    bounds: Bounds,
    tenant: &str,
    more: u64,
    new: Option<&Path>,
    removed: &mut Vec<Option<Engine>>,
) -> Option<String> {
    let mut all = entries(root, new);
    let own = all.entry(tenant.to_owned()).or_default();
    while own.sum + more > bounds.own {
        if own.remove_one(removed).is_none() {
            return Some(format!("all that its namespace may have in the cache, {} bytes, is in use", bounds.own));
        }
    }
    while all.values().map(|of| of.sum).sum::<u64>() + more > bounds.all {
        let has = |name: &str, of: &TenantEntries| of.sum + if name == tenant { more } else { 0 };
        let own = all.get(tenant).map_or(more, |own| own.sum + more);
        let with_more = all.iter_mut().filter(|(name, of)| !of.entries.is_empty() && has(name, of) >= own);
        let most = with_more.max_by_key(|(name, of)| has(name, of));
        if most.and_then(|(_, most)| most.remove_one(removed)).is_none() {
            return Some(format!("what is in use takes up the cache's {} bytes", bounds.all));
        }
    }
    None
}

/// The engine after which an entry's folder is named.
pub(super) fn engine(entry: &Path) -> Option<Engine> {
    let folder = entry.parent()?.file_name()?.to_str()?;
    Engine::parse(folder.split('-').next()?)
}

/// The folders of all fingerprints.
pub(super) fn folders(root: &Path) -> impl Iterator<Item = PathBuf> {
    let all = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(|path| path.is_dir())
}

/// Returns every entry but `except`, by tenant. Removes marks without an entry.
fn entries(root: &Path, except: Option<&Path>) -> BTreeMap<String, TenantEntries> {
    let mut all = BTreeMap::<String, TenantEntries>::new();
    for folder in folders(root) {
        let (mut tenants, mut entries) = (BTreeMap::new(), Vec::new());
        for file in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (file.path(), file.file_name().to_string_lossy().into_owned());
            if let Some((of, tenant)) = entry::marked(&name) {
                tenants.insert(folder.join(of), (tenant.to_owned(), path));
                continue;
            }
            let Ok(meta) = file.metadata() else { continue };
            // A checksum goes with its artifact.
            let belongs = checksum::artifact_of(&path).is_some_and(|artifact| artifact.exists());
            if let (true, false, Ok(used)) = (meta.is_file() && Some(&*path) != except, belongs, meta.modified()) {
                entries.push(Entry { path, used, bytes: bytes(&meta) });
            }
        }
        for entry in entries {
            let tenant = tenants.remove(&entry.path).map(|(tenant, _)| tenant).unwrap_or_default();
            let of_tenant = all.entry(tenant).or_default();
            of_tenant.sum += entry.bytes;
            of_tenant.entries.push_back(entry);
        }
        for (_, mark) in tenants.into_values() {
            let _ = fs::remove_file(mark);
        }
    }
    for of_tenant in all.values_mut() {
        of_tenant.entries.make_contiguous().sort_by_key(|entry| entry.used);
    }
    all
}

/// Returns what a file takes on the disk, at least a block, because many small files are a burden too.
pub(super) fn bytes(meta: &fs::Metadata) -> u64 {
    (std::os::unix::fs::MetadataExt::blocks(meta) * 512).max(LEAST_BYTES)
}

/// Whether a process has the file open: the kernel grants a write lease only if none has (fcntl(2), "Leases"). Workers keep their
/// artifact open, because their memory image is mapped from it.
pub(super) fn in_use(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => !lease::nobody_else_has_it(&file).unwrap_or(false),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests;
