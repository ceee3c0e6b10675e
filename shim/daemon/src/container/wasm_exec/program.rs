//! What the words of an exec name: a file in the tree of a container that runs, as its own processes see it, volumes and what
//! they have written included.
//!
//! The tree is that of the container's worker, whose guest may rename and replace what is in it at any moment. So nothing is
//! looked at twice by its name, every name is looked for below the container's root and by no magic link, and what is read is a
//! regular file, without waiting.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use catamaran_worker::Guest;
use catamaran_worker::quote::cut;
use nix::libc;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use super::{NOT_FOUND, NOT_RUN, Stop};
use crate::image::Chosen;
use crate::source::{FIRST, MOST_NAMED, candidates, named};

/// What is to be run.
pub(super) enum Program {
    File {
        name: String,
        file: File,
        /// Its path without links, where no volume holds it.
        in_root: Option<PathBuf>,
    },
    /// The layer of the image that the container runs.
    Layer(Chosen),
}

/// The root of a container's tree.
pub(super) struct Root {
    folder: OwnedFd,
    /// The mount that it lies on.
    mount: u64,
}

/// A regular file that was found, and whether it is WebAssembly.
enum Found {
    Wasm(Program),
    /// What it is instead.
    Other(String),
}

impl Root {
    /// That of a process, which is known to be alive, and whose number stays its own meanwhile.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty())?;
        Ok(Self { mount: mount_of(&folder)?, folder })
    }

    /// The container's own module once more, a file: looked for as it was when the container was created.
    pub(super) fn find_own(&self, guest: &Guest) -> Result<Program, Stop> {
        match self.look(guest) {
            Ok(Found::Wasm(program)) => Ok(program),
            Ok(Found::Other(what)) => Err(Stop::Ended(NOT_RUN, what)),
            Err(Absent { code, looked }) => Err(Stop::Ended(code, looked)),
        }
    }

    /// Another program of the container. `own` is what names the container's own, for a message.
    pub(super) fn find(&self, guest: &Guest, own: &str) -> Result<Program, Stop> {
        let advice = format!(
            "this is a Wasm container: it has no shell and no tools, and runs WebAssembly modules from its own tree, or {:?} \
             once more; for a shell: kubectl debug, with an image that has one",
            cut(own)
        );
        match self.look(guest) {
            Ok(Found::Wasm(program)) => Ok(program),
            Ok(Found::Other(what)) => Err(Stop::Ended(NOT_RUN, format!("{what}; {advice}"))),
            Err(Absent { code, looked }) => Err(Stop::Ended(code, format!("{looked}; {advice}"))),
        }
    }

    /// The first file that the words may name, in the order in which execvp(3) would look.
    fn look(&self, guest: &Guest) -> Result<Found, Absent> {
        let entry = guest.args.first().map_or("", String::as_str);
        let path = guest.env.iter().find(|(key, _)| key == "PATH").map(|(_, value)| value.as_str());
        let candidates = candidates(entry, &guest.cwd, path);
        for candidate in &candidates {
            match self.open(candidate) {
                Ok(found) => return Ok(found),
                // On to the next folder of PATH.
                Err(_) if candidates.len() > 1 => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    let looked = format!("{:?}: {}", cut(entry), refusal(&e));
                    return Err(Absent { code: NOT_RUN, looked });
                }
            }
        }
        let looked: Vec<_> = candidates.iter().take(MOST_NAMED).map(|path| named(path)).collect();
        let more = if candidates.len() > MOST_NAMED { ", ..." } else { "" };
        let looked =
            format!("{:?}: no such file in the container (looked for {}{more})", cut(entry), looked.join(", "));
        Err(Absent { code: NOT_FOUND, looked })
    }

    fn open(&self, path: &Path) -> io::Result<Found> {
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let open = || rustix::fs::openat2(&self.folder, path, flags, Mode::empty(), inside);
        let found = catamaran_worker::retried(open)?;
        match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Errno::ISDIR.into()),
            // A FIFO would block, a device might do anything.
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
        // The very file that was looked at, through the descriptor and no name. Not to wait for somebody's lease on it.
        let link = format!("/proc/self/fd/{}", found.as_raw_fd());
        let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&link)?;
        let mut first = Vec::new();
        (&mut file).take(FIRST as u64).read_to_end(&mut first)?;
        file.rewind()?;
        let name = named(path);
        if let Some(what) = other_than_wasm(&first) {
            return Ok(Found::Other(format!("{name}: {what}")));
        }
        // Where the file is, for the image's own, as the kernel has it. A path that was changed since names nothing of the image,
        // or something else, and is asked for by nobody but this container.
        let in_root = if mount_of(&found)? == self.mount { Some(std::fs::read_link(&link)?) } else { None };
        Ok(Found::Wasm(Program::File { name, file, in_root }))
    }
}

/// Nothing to run is there.
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

/// What a file is by its first bytes, if it is not WebAssembly.
fn other_than_wasm(first: &[u8]) -> Option<&'static str> {
    /// The system that Wasmtime names in the ELF header of its artifacts.
    const WASMTIMES: u8 = 200;
    match first {
        [0, b'a', b's', b'm', ..] => None,
        [] => Some("an empty file"),
        [0x7f, b'E', b'L', b'F', _, _, _, WASMTIMES, ..] => {
            Some("native code that was compiled beforehand (.cwasm), which is never run from a container's tree")
        }
        [0x7f, b'E', b'L', b'F', ..] => Some("an ELF file, and no native code runs here"),
        [b'#', b'!', ..] => Some("a script"),
        _ => Some("not a WebAssembly module"),
    }
}

fn mount_of(file: &OwnedFd) -> io::Result<u64> {
    let status = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    if status.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        let e = "this kernel does not tell a file's mount (before 5.8)";
        return Err(io::Error::new(io::ErrorKind::Unsupported, e));
    }
    Ok(status.stx_mnt_id)
}
