//! Finds the program of an exec: a file in a running container's tree, as the container's processes see it, with volumes and written files.
//!
//! The guest may rename and replace files at any moment. So each file is looked up by its name only once, from folders reached from the
//! container's root without letting the kernel follow a link, and only regular files are read, without blocking.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use catamaran_cache::magic::{FIRST, other_than_wasm};
use catamaran_files::search::{NOT_FOUND, NOT_RUN};
use catamaran_worker::Guest;
use catamaran_worker::quote::cut;
use catamaran_worker::variables::PATH;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{MOST_NAMED, Tree, candidates, named};

/// The program to run.
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) file: File,
    /// The path without links; None if a volume holds the file.
    pub(crate) in_root: Option<PathBuf>,
}

/// The root of a container's tree.
pub(crate) struct Root {
    folder: OwnedFd,
}

/// The exec has nothing to run: its exit code, and the text for its caller.
pub(crate) struct Stop {
    pub(crate) code: u32,
    pub(crate) words: String,
}

/// A regular file, by its first bytes.
enum Found {
    Wasm(Program),
    /// The file is not WebAssembly, for this reason.
    Other(String),
}

impl Root {
    /// Opens the root of the process `pid`, whose pidfd is `process`. Fails if the process has ended, because the pid may be another
    /// process's by then.
    pub(crate) fn open(pid: u32, process: BorrowedFd<'_>) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty())?;
        // A pidfd becomes readable when its process ends.
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match rustix::event::poll(&mut [PollFd::from_borrowed_fd(process, PollFlags::IN)], Some(&at_once))? {
            0 => Ok(Self { folder }),
            _ => Err(Errno::SRCH.into()),
        }
    }

    /// Finds the container's own module again, by the rules of Create.
    pub(crate) fn find_own(&self, guest: &Guest) -> Result<Program, Stop> {
        match self.look(guest) {
            Ok(Found::Wasm(program)) => Ok(program),
            Ok(Found::Other(what)) => Err(Stop { code: NOT_RUN, words: what }),
            Err(Absent { code, looked }) => Err(Stop { code, words: looked }),
        }
    }

    /// Finds another program of the container. `own` is the container's own program, for messages.
    pub(crate) fn find(&self, guest: &Guest, own: &str) -> Result<Program, Stop> {
        let advice = format!(
            "this is a Wasm container: it has no shell and no tools, and runs WebAssembly modules from its own tree, or {:?} \
             once more; for a shell: kubectl debug, with an image that has one",
            cut(own)
        );
        match self.look(guest) {
            Ok(Found::Wasm(program)) => Ok(program),
            Ok(Found::Other(what)) => Err(Stop { code: NOT_RUN, words: format!("{what}; {advice}") }),
            Err(Absent { code, looked }) => Err(Stop { code, words: format!("{looked}; {advice}") }),
        }
    }

    /// Returns the first file that the arguments may name, in the search order of execvp(3).
    fn look(&self, guest: &Guest) -> Result<Found, Absent> {
        let entry = guest.args.first().map_or("", String::as_str);
        let path = guest.env.iter().find(|(key, _)| key == PATH).map(|(_, value)| value.as_str());
        let candidates = candidates(entry, &guest.cwd, path);
        let tree = Tree::new(self.folder.as_fd());
        for candidate in &candidates {
            match open(&tree, candidate) {
                Ok(found) => return Ok(found),
                Err(_) if tree.exhausted().is_some() => break,
                // Tries the next folder of PATH.
                Err(_) if candidates.len() > 1 => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    let looked = format!("{:?}: {}", cut(entry), refusal(&e));
                    return Err(Absent { code: NOT_RUN, looked });
                }
            }
        }
        if let Some(words) = tree.exhausted() {
            return Err(Absent { code: NOT_RUN, looked: format!("{:?}: {words}", cut(entry)) });
        }
        let looked: Vec<_> = candidates.iter().take(MOST_NAMED).map(|path| named(path)).collect();
        let more = if candidates.len() > MOST_NAMED { ", ..." } else { "" };
        let looked =
            format!("{:?}: no such file in the container (looked for {}{more})", cut(entry), looked.join(", "));
        Err(Absent { code: NOT_FOUND, looked })
    }
}

fn open(tree: &Tree<'_>, path: &Path) -> io::Result<Found> {
    let (mut file, in_root) = tree.open(path)?;
    let mut first = Vec::new();
    (&mut file).take(FIRST as u64).read_to_end(&mut first)?;
    file.rewind()?;
    let name = named(path);
    if let Some(what) = other_than_wasm(&first) {
        return Ok(Found::Other(format!("{name}: {what}")));
    }
    Ok(Found::Wasm(Program { name, file, in_root }))
}

/// No file to run was found: the exit code, and the text about it.
struct Absent {
    code: u32,
    looked: String,
}

fn refusal(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::IsADirectory => "a directory".to_owned(),
        io::ErrorKind::NotADirectory => "below a file".to_owned(),
        _ => e.to_string(),
    }
}
