//! What is in a folder, as a guest reads it: call by call.
//!
//! wasmer-wasix lists the whole folder anew for each piece that a guest reads, and goes on behind as many names as the guest
//! has had: who removes files while it reads misses as many, and 20,000 of them take minutes. So the names of the first
//! piece are kept for the next ones, until the folder is closed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use virtual_fs::{FileType, FsError};

use crate::errors::refusal;
use crate::files;
use crate::tasks;

/// The names in a folder, in order, and what each is.
pub(crate) type Names = Arc<Vec<(OsString, FileType)>>;

/// Names that are kept for the pieces to come, of all folders together; one folder's are whatever their number is.
const MOST_NAMES: usize = 100_000;

/// Why this thread reads a folder.
enum Reading {
    /// For a piece that begins behind so many names, by that descriptor.
    Piece { descriptor: u64, behind: u64 },
    /// To hear which folder a descriptor is.
    Where(Option<PathBuf>),
}

struct Kept {
    process: u32,
    descriptor: u64,
    folder: PathBuf,
    names: Names,
}

static KEPT: Mutex<VecDeque<Kept>> = Mutex::new(VecDeque::new());

thread_local! {
    static READING: RefCell<Option<Reading>> = const { RefCell::new(None) };
}

fn during<T>(reading: Reading, call: impl FnOnce() -> T) -> (T, Option<Reading>) {
    // A signal's handler may read within another call.
    let outer = READING.replace(Some(reading));
    let answer = call();
    (answer, READING.replace(outer))
}

/// Makes `call`, a readdir of a piece.
pub(crate) fn piece<T>(descriptor: u64, behind: u64, call: impl FnOnce() -> T) -> T {
    during(Reading::Piece { descriptor, behind }, call).0
}

/// Makes `call`, a readdir, and answers which folder it was about to read.
pub(crate) fn folder_of<T>(call: impl FnOnce() -> T) -> (T, Option<PathBuf>) {
    match during(Reading::Where(None), call) {
        (answer, Some(Reading::Where(folder))) => (answer, folder),
        (answer, _) => (answer, None),
    }
}

/// Forgets what is kept of a descriptor that was closed.
pub(crate) fn closed(descriptor: u64) {
    let process = tasks::process();
    kept().retain(|kept| (kept.process, kept.descriptor) != (process, descriptor));
}

/// The names in `folder`.
pub(crate) fn of(folder: &Path) -> virtual_fs::Result<Names> {
    let piece = READING.with_borrow_mut(|reading| match reading {
        Some(Reading::Piece { descriptor, behind }) => Ok(Some((*descriptor, *behind))),
        Some(Reading::Where(found)) => {
            *found = Some(folder.to_owned());
            Err(FsError::IOError)
        }
        None => Ok(None),
    })?;
    let Some((descriptor, behind)) = piece else { return read(folder) };
    let process = tasks::process();
    let mine = |kept: &Kept| kept.process == process && kept.descriptor == descriptor;
    if behind > 0
        && let Some(kept) = kept().iter().find(|kept| mine(kept) && kept.folder == folder)
    {
        return Ok(kept.names.clone());
    }
    let names = read(folder)?;
    let mut all = kept();
    all.retain(|kept| !mine(kept));
    all.push_back(Kept { process, descriptor, folder: folder.to_owned(), names: names.clone() });
    while all.len() > 1 && all.iter().map(|kept| kept.names.len() + 1).sum::<usize>() > MOST_NAMES {
        all.pop_front();
    }
    Ok(names)
}

fn kept() -> std::sync::MutexGuard<'static, VecDeque<Kept>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(folder: &Path) -> virtual_fs::Result<Names> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(refusal)? {
        let entry = entry.map_err(refusal)?;
        // A name whose kind cannot be had, because it is gone meanwhile, is a name all the same.
        let kind = entry.file_type().map(files::kind).unwrap_or_else(|_| FileType::new_file());
        names.push((entry.file_name(), kind));
    }
    names.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(Arc::new(names))
}
