//! Makes wasmer-wasix forget what it remembers of files.
//!
//! wasmer-wasix keeps an inode of its own for each file that a guest has named, for as long as the guest runs, with the size
//! that the file had then and one handle for all opens. So a truncated file has its old size, an append goes where the end
//! once was, over what another process has written since, and a name that was renamed over shows what lay there before. Here
//! each call that takes a path begins and ends without a remembered file: each open has a handle of its own, which is the
//! kernel's, and the size is that of the moment. Folders stay, because they know no more than their path, until one is
//! removed or there are many that nobody has open. A renamed folder is remembered by its new name: its descriptors are the
//! folder's, whatever its name.

use std::cell::{Cell, RefCell};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use wasmer_wasix::fs::{InodeGuard, Kind};

/// The root that all processes of a guest share, forked ones too.
pub(crate) type Tree = Arc<OnceLock<InodeGuard>>;

/// Held by one call at a time: wasmer-wasix looks twice for a file that it is about to open, and a call's end has it forget files.
static ONE: Mutex<()> = Mutex::new(());

/// The number of remembered folders, and the number above which they are counted anew. Each takes half a kilobyte; a guest
/// may look at ever new ones, that others make and remove.
static FOLDERS: AtomicUsize = AtomicUsize::new(0);
static MOST_FOLDERS: AtomicUsize = AtomicUsize::new(FEW_FOLDERS);
const FEW_FOLDERS: usize = 1024;

thread_local! {
    /// How many calls with a path this thread is in: a signal's handler makes them within another.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static NAMED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
}

/// Notes that wasmer-wasix remembers `path` from now on.
pub(crate) fn note(path: &Path) {
    if DEPTH.get() > 0 {
        NAMED.with_borrow_mut(|named| named.push(path.to_owned()));
    }
}

/// Notes that wasmer-wasix remembers another folder.
pub(crate) fn note_folder() {
    FOLDERS.fetch_add(1, Ordering::Relaxed);
}

/// Makes the call `body`, after which no file is remembered.
pub(crate) fn without<T>(tree: &Tree, body: impl FnOnce() -> T) -> T {
    let outer = DEPTH.get() > 0;
    let _one = (!outer).then(|| ONE.lock().unwrap_or_else(PoisonError::into_inner));
    DEPTH.set(DEPTH.get() + 1);
    let answer = body();
    DEPTH.set(DEPTH.get() - 1);
    // Not within another call, which may be about to rename what it has looked up.
    if !outer && let Some(root) = tree.get() {
        for path in NAMED.take() {
            forget(root, &path);
        }
        if FOLDERS.load(Ordering::Relaxed) > MOST_FOLDERS.load(Ordering::Relaxed) {
            let left = top(root).map_or(0, |top| without_unused(&top));
            FOLDERS.store(left, Ordering::Relaxed);
            // So that only few calls count the folders.
            MOST_FOLDERS.store(2 * left + FEW_FOLDERS, Ordering::Relaxed);
        }
    }
    answer
}

/// Forgets `path`, if it is no folder's. A descriptor that has it open keeps it.
fn forget(root: &InodeGuard, path: &Path) {
    let forgettable = |entry: &InodeGuard| matches!(&*entry.read(), Kind::File { fd: None, .. });
    take(root, path, forgettable);
}

/// Takes `path` out of its folder, if it is remembered and `goes` says so.
fn take(root: &InodeGuard, path: &Path, goes: impl FnOnce(&InodeGuard) -> bool) -> Option<InodeGuard> {
    let name = path.file_name()?.to_str()?;
    let folder = folder(root, path.parent()?)?;
    let Kind::Dir { entries, .. } = &mut *folder.write() else { return None };
    if entries.get(name).is_some_and(goes) { entries.remove(name) } else { None }
}

fn is_folder(entry: &InodeGuard) -> bool {
    matches!(&*entry.read(), Kind::Dir { .. })
}

/// Forgets a folder that was removed.
pub(crate) fn forget_folder(tree: &Tree, path: &Path) {
    if let Some(root) = tree.get() {
        take(root, path, is_folder);
    }
}

/// Remembers a renamed folder by its new name, with all below it, for descriptors that have it open. A folder that was there
/// before, an empty one, is forgotten. If the destination's folder is not remembered, the renamed one is forgotten too: a
/// descriptor that has it open keeps it.
pub(crate) fn move_folder(tree: &Tree, from: &Path, to: &Path) {
    let Some(root) = tree.get() else { return };
    let Some(moved) = take(root, from, is_folder) else { return forget_folder(tree, to) };
    rename_all(&moved, to);
    let (Some(above), Some(name)) = (to.parent(), to.file_name().and_then(|name| name.to_str())) else { return };
    let Some(above) = folder(root, above) else { return };
    if let Kind::Dir { parent, .. } = &mut *moved.write() {
        *parent = above.downgrade();
    }
    if let Kind::Dir { entries, .. } = &mut *above.write() {
        entries.insert(name.to_owned(), moved);
    }
}

/// Forgets the folder that is remembered by the name `letter`: only a descriptor that has it open knows it, as `path`.
pub(crate) fn let_go(tree: &Tree, letter: &Path, path: &Path) {
    if let Some(folder) = tree.get().and_then(|root| take(root, letter, is_folder)) {
        rename_all(&folder, path);
    }
}

/// Sets the path of a remembered folder or file, and the paths of all below it.
fn rename_all(entry: &InodeGuard, to: &Path) {
    let below: Vec<_> = match &mut *entry.write() {
        Kind::Dir { path, entries, .. } => {
            to.clone_into(path);
            entries.iter().map(|(name, entry)| (to.join(name), entry.clone())).collect()
        }
        Kind::File { path, .. } => {
            to.clone_into(path);
            Vec::new()
        }
        _ => Vec::new(),
    };
    for (path, entry) in below {
        rename_all(&entry, &path);
    }
}

/// Forgets each folder below `folder` that is not open and holds nothing open. Returns how many are left, `folder` included.
fn without_unused(folder: &InodeGuard) -> usize {
    let mut left = 1;
    if let Kind::Dir { entries, .. } = &mut *folder.write() {
        entries.retain(|_, entry| {
            if !matches!(&*entry.read(), Kind::Dir { .. }) {
                return true;
            }
            let below = without_unused(entry);
            let empty = matches!(&*entry.read(), Kind::Dir { entries, .. } if entries.is_empty());
            // One reference is this entry's own.
            let stays = !empty || entry.ref_cnt() > 1;
            left += if stays { below } else { 0 };
            stays
        });
    }
    left
}

/// The container's root.
fn top(root: &InodeGuard) -> Option<InodeGuard> {
    match &*root.read() {
        Kind::Root { entries } => entries.get("/").cloned(),
        _ => None,
    }
}

/// The folder at `path`, if it is remembered.
fn folder(root: &InodeGuard, path: &Path) -> Option<InodeGuard> {
    let mut at = top(root)?;
    for component in path.components() {
        let Component::Normal(name) = component else { continue };
        let below = match &*at.read() {
            Kind::Dir { entries, .. } => entries.get(name.to_str()?).cloned(),
            _ => None,
        }?;
        at = below;
    }
    Some(at)
}
