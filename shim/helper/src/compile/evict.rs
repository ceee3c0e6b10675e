//! Keeps the cache within its bytes, entries in use included, and each tenant within its share. The least recently used entry is evicted
//! first, and never one in use. If the whole cache is full, the tenant with the most loses entries.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use catamaran_cache::engine::Engine;
use catamaran_cache::places::Bounds;
use catamaran_cache::{checksum, entry, store};
use log::info;

/// The result of making room.
pub(super) struct Room {
    /// The engines of the removed entries, by the names of their folders.
    pub(super) removed: Vec<Option<Engine>>,
    /// Why there is no room; None if there is.
    pub(super) lacking: Option<String>,
}

struct Entry {
    path: PathBuf,
    used: SystemTime,
    bytes: u64,
}

/// A tenant's entries that were not tried yet, the least recently used first.
#[derive(Default)]
struct TenantEntries {
    sum: u64,
    entries: VecDeque<Entry>,
}

impl TenantEntries {
    /// Removes the next entry unless it is in use. Returns None if there is no next one.
    fn remove_one(&mut self, removed: &mut Vec<Option<Engine>>) -> Option<()> {
        let next = self.entries.pop_front()?;
        if !entry::is_in_use(&next.path) && entry::remove(&next.path).is_ok() {
            info!("cache entry {} was removed, {} bytes", next.path.display(), next.bytes);
            self.sum -= next.bytes;
            removed.push(engine(&next.path));
        }
        Some(())
    }
}

/// Removes entries below `root`, of every fingerprint, until one more entry of `tenant`, the file `new`, is within the bounds. Entries that
/// cannot be read or removed stay. Removes no entry of a tenant that has less than `tenant` would then have.
///
/// `tenant` is in the form that file names have. The caller holds the lock of [`super::locks::room`].
pub(super) fn make_room(root: &Path, bounds: Bounds, tenant: &str, new: Option<&Path>) -> Room {
    let more = new.and_then(|new| fs::metadata(new).ok()).map_or(0, |meta| entry::future_bytes(&meta));
    let mut removed = Vec::new();
    let lacking = match more > bounds.own.min(bounds.all) {
        true => {
            let most = bounds.own.min(bounds.all);
            Some(format!("it takes {more} bytes on the disk, and one namespace may have {most} in the cache"))
        }
        false => try_to_fit(root, bounds, tenant, more, new, &mut removed),
    };
    // Removes the folders that are empty, such as those of older versions.
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

/// Returns the engine that an entry's folder is named after.
pub(super) fn engine(entry: &Path) -> Option<Engine> {
    let folder = entry.parent()?.file_name()?.to_str()?;
    Engine::parse(folder.split('-').next()?)
}

/// Returns the folders of all fingerprints.
pub(super) fn folders(root: &Path) -> impl Iterator<Item = PathBuf> {
    let all = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(|path| path.is_dir())
}

/// Returns every entry but `except`, by tenant. Removes what belongs to none: marks without an entry, what dead processes left
/// unfinished, and fast code that is not needed any more. What a live process is writing counts as far as it is written.
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
            if Some(&*path) == except {
                continue;
            }
            if store::is_abandoned(&name) || store::is_superseded(&path) {
                let _ = entry::remove(&path);
                continue;
            }
            let Ok(meta) = file.metadata() else { continue };
            // A checksum belongs to its artifact, and is no entry.
            let belongs = checksum::artifact_of(&path).is_some_and(|artifact| artifact.exists());
            if let (true, false, Ok(used)) = (meta.is_file(), belongs, meta.modified()) {
                entries.push(Entry { bytes: entry::bytes(&path, &meta), path, used });
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

#[cfg(test)]
mod tests;
