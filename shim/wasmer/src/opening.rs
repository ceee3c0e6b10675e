//! Opens paths for a guest: the kernel opens as the guest asked, and wasmer-wasix is given the open file.
//!
//! wasmer-wasix walks the path by what it remembers, opens each file for reading and writing whatever the guest asked, holds
//! locks meanwhile, and takes no name that is not UTF-8. So it is given another name for the length of the call: one letter
//! of the guest's own text, below the root, under which it finds the file that the kernel has opened. wasmer-wasix opens a
//! folder itself, since it works by a folder's path; a folder whose path is not UTF-8 is given to it like a file.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, openat};
use virtual_fs::{FileType, FsError, Metadata};
use wasmer::{RuntimeError, Value};
use wasmer_wasix::wasmer_wasix_types::wasi::{Errno, Fdflags, Oflags, Rights};

use crate::call::{Call, LIST, ROOT, Which};
use crate::opened::Opened;
use crate::{descriptors, errors, remembered};

/// The file or folder that this thread's call opened.
struct Given {
    /// None for a folder.
    file: Option<Arc<Opened>>,
    /// Whether wasmer-wasix has looked for it. If not, it remembers something else by that name.
    looked: bool,
}

thread_local! {
    static GIVEN: RefCell<Option<Given>> = const { RefCell::new(None) };
}

/// Makes `call`, a guest's, with nothing given yet: a signal's handler may make it within a call that opens.
pub(crate) fn apart<T>(call: impl FnOnce() -> T) -> T {
    let outer = GIVEN.take();
    let answer = call();
    GIVEN.set(outer);
    answer
}

/// What wasmer-wasix finds under any name while a call opens; None otherwise.
pub(crate) fn found() -> Option<Metadata> {
    GIVEN.with_borrow_mut(|given| {
        let given = given.as_mut()?;
        given.looked = true;
        let ft = if given.file.is_some() { FileType::new_file() } else { FileType::new_dir() };
        Some(Metadata { ft, accessed: 0, created: 0, modified: 0, len: 0 })
    })
}

/// Returns the given file; an error if wasmer-wasix has not looked for it, and would put it in the place of another file.
pub(crate) fn file() -> Option<virtual_fs::Result<Arc<Opened>>> {
    GIVEN.with_borrow(|given| {
        let given = given.as_ref()?;
        Some(given.file.clone().filter(|_| given.looked).ok_or(FsError::IOError))
    })
}

/// `path_open`, in either form: folder, flags of the look-up, path, its length, WASI's `oflags`, rights, inherited rights, `fdflags`,
/// and last where to put the descriptor.
pub(crate) fn open(call: &mut Call<'_>) -> Result<i32, RuntimeError> {
    call.below_the_root(&[0]);
    let path = match call.path(0, 2)? {
        Ok(path) => path,
        Err(refused) => return Ok(refused),
    };
    let (tree, flags) = (call.tree(), flags(call));
    // This may wait, for the other end of a pipe, so nothing is locked yet.
    let opened = openat(CWD, &path, flags | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::from_raw_mode(0o666));
    let file = match opened.map(File::from) {
        Ok(file) => file,
        Err(e) => return missed(call, &path, e),
    };
    let is_folder = file.metadata().is_ok_and(|metadata| metadata.is_dir());
    match (is_folder, path.to_str()) {
        (true, Some(_)) => remembered::without(&tree, || call.made()),
        (true, None) => remembered::without(&tree, || give(call, None, &path)),
        (false, _) => {
            let file = Opened::new(file, path.clone(), flags.contains(OFlags::APPEND));
            remembered::without(&tree, || give(call, Some(file), &path))
        }
    }
}

/// The flags of openat(2) for what the guest asks.
fn flags(call: &Call<'_>) -> OFlags {
    let how = Oflags::from_bits_truncate(call.number(4) as u16);
    let rights = Rights::from_bits_truncate(call.number(5));
    let more = Fdflags::from_bits_truncate(call.number(7) as u16);
    let mut flags = match (rights.contains(Rights::FD_READ), rights.contains(Rights::FD_WRITE)) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    flags.set(OFlags::CREATE, how.contains(Oflags::CREATE));
    flags.set(OFlags::DIRECTORY, how.contains(Oflags::DIRECTORY));
    flags.set(OFlags::EXCL, how.contains(Oflags::EXCL));
    flags.set(OFlags::TRUNC, how.contains(Oflags::TRUNC));
    flags.set(OFlags::APPEND, more.contains(Fdflags::APPEND));
    flags.set(OFlags::NONBLOCK, more.contains(Fdflags::NONBLOCK));
    flags.set(OFlags::DSYNC, more.contains(Fdflags::DSYNC));
    flags.set(OFlags::SYNC, more.intersects(Fdflags::SYNC | Fdflags::RSYNC));
    flags.set(OFlags::NOFOLLOW, !call.follows(1));
    flags
}

/// Answers for a path that the kernel did not open: it may be one of the guest's own descriptors.
fn missed(call: &mut Call<'_>, path: &Path, e: rustix::io::Errno) -> Result<i32, RuntimeError> {
    let Some(descriptor) = descriptors::leads_to(path, call.follows(1)) else { return Ok(errors::said(Err(e))) };
    let how = Oflags::from_bits_truncate(call.number(4) as u16);
    if how.contains(Oflags::CREATE | Oflags::EXCL) {
        return Ok(Errno::Exist as i32);
    }
    if how.contains(Oflags::DIRECTORY) {
        return Ok(Errno::Notdir as i32);
    }
    call.instead(Which::Duplicate, descriptor).map(descriptors::found)
}

/// Has wasmer-wasix make a descriptor for what the kernel has opened.
fn give(call: &mut Call<'_>, file: Option<Arc<Opened>>, path: &Path) -> Result<i32, RuntimeError> {
    let text = match call.text(2) {
        Ok(text) => text.into_os_string().into_vec(),
        Err(refused) => return Ok(refused),
    };
    let mut refused = Errno::Badf as i32;
    for base in [LIST, ROOT] {
        for letter in letters(&text) {
            match attempt(call, &file, path, base, letter)? {
                Ok(said) => return Ok(said),
                Err(said) => refused = said,
            }
        }
    }
    if letters(&text).next().is_some() {
        return Ok(refused);
    }
    // A text without such a letter is given one, for the call alone.
    let start = text.iter().position(|&byte| byte != b'/').unwrap_or(0);
    let (at, own) = (call.number(2) + start as u64, text.get(start).copied().unwrap_or(b'/'));
    call.put(at, b"x");
    let answer = attempt(call, &file, path, LIST, (start, "x"));
    call.put(at, &[own]);
    Ok(answer?.unwrap_or_else(|said| said))
}

/// The letters of a path that can be a name by themselves, and where they are.
fn letters(text: &[u8]) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    text.utf8_chunks().flat_map(move |chunk| {
        let before = start;
        start += chunk.valid().len() + chunk.invalid().len();
        let valid = chunk.valid();
        let letter = move |(at, letter): (usize, char)| (before + at, &valid[at..at + letter.len_utf8()]);
        valid.char_indices().filter(|(_, letter)| !['/', '.', '\0'].contains(letter)).map(letter)
    })
}

/// Makes the call for a letter of the guest's text, below `base`. If wasmer-wasix did not look for it, its answer is the
/// error.
fn attempt(
    call: &mut Call<'_>,
    file: &Option<Arc<Opened>>,
    path: &Path,
    base: i32,
    (start, letter): (usize, &str),
) -> Result<Result<i32, i32>, RuntimeError> {
    let (address, length) =
        (call.as_wide_as(2, call.number(2) + start as u64), call.as_wide_as(3, letter.len() as u64));
    let others = [(0, Value::I32(base)), (2, address), (3, length), (4, Value::I32(0))];
    GIVEN.set(Some(Given { file: file.clone(), looked: false }));
    let said = call.made_with(&others);
    let looked = GIVEN.take().is_some_and(|given| given.looked);
    let said = said?;
    if looked && file.is_none() {
        remembered::let_go(&call.tree(), &Path::new("/").join(letter), path);
    }
    if !looked && said == 0 {
        call.close_opened()?;
    }
    Ok(if looked { Ok(said) } else { Err(said) })
}

#[cfg(test)]
mod tests {
    use super::letters;

    fn of(text: &[u8]) -> Vec<(usize, &str)> {
        letters(text).collect()
    }

    #[test]
    fn every_letter_of_a_path_can_be_a_name() {
        assert_eq!(of(b"/a/.b"), [(1, "a"), (4, "b")]);
        assert_eq!(of("é\u{65e5}".as_bytes()), [(0, "é"), (2, "\u{65e5}")]);
        assert_eq!(of(b"\xffz\xc3/q"), [(1, "z"), (4, "q")]);
        assert_eq!(of(b"/..\xff/..."), []);
    }
}
