//! Covers every procfs and every mqueue in the container's tree: a volume may hold one, at its root or below, and by any name. A
//! guest that opens `/proc/self/mem` writes its own worker's code. A file made in an mqueue is a message queue, which no guest
//! can use, and which counts against its user on the whole node, even if that user is root.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

/// How often a mount's place is looked up, because somebody may be moving it.
const MOST_LOOKS: usize = 16;
/// The file systems to cover, as a mount table calls them.
const COVERED: [&str; 2] = ["proc", "mqueue"];

/// A mount of this namespace (proc_pid_mountinfo(5)).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    parent: u64,
    place: PathBuf,
    kind: String,
}

/// Covers each procfs and mqueue in the tree whose root is `root`, and which is attached at `at`.
pub(super) fn cover_all(root: BorrowedFd<'_>, at: &Path) -> io::Result<()> {
    let mut left = None;
    for _ in 0..MOST_LOOKS {
        let table = std::fs::read_to_string("/proc/self/mountinfo")?;
        let mounts = table.lines().map(parse).collect::<io::Result<Vec<_>>>()?;
        left = None;
        let reachable = |m: &&Mount| !is_covered(m, &mounts) && !is_hidden(m, &mounts);
        let dangerous = |m: &&Mount| COVERED.contains(&m.kind.as_str()) && m.place.starts_with(at);
        for mount in mounts.iter().filter(dangerous).filter(reachable) {
            if !cover(root, at, mount)? {
                left = Some(mount.place.clone());
            }
        }
        if left.is_none() {
            return Ok(());
        }
    }
    // A process keeps moving a folder above the mount there and back.
    let place = left.unwrap_or_default();
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        format!(
            "the procfs or mqueue at {} cannot be covered: the folders above it are being renamed",
            place.display()
        ),
    ))
}

/// Whether no path leads to the mount, because a mount that does not contain it lies on a folder above it.
fn is_hidden(mount: &Mount, all: &[Mount]) -> bool {
    let mut above = vec![mount.id];
    while let Some(parent) = all.iter().find(|m| above.last() == Some(&m.id)).map(|m| m.parent) {
        if above.contains(&parent) {
            break;
        }
        above.push(parent);
    }
    all.iter()
        .any(|other| mount.place.starts_with(&other.place) && !above.contains(&other.id) && other.place != mount.place)
}

/// Whether another mount lies on the mount's root itself.
fn is_covered(mount: &Mount, all: &[Mount]) -> bool {
    all.iter().any(|other| other.parent == mount.id && other.place == mount.place)
}

/// Covers one mount; false if its place does not lead to it.
fn cover(root: BorrowedFd<'_>, at: &Path, mount: &Mount) -> io::Result<bool> {
    let Ok(inside) = mount.place.strip_prefix(at) else { return Ok(true) };
    match open(root, inside) {
        Ok(found) if mount_id(&found)? == mount.id => super::detached::cover(&found).map(|()| true),
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Opens a place of the mount table, which has no links.
fn open(root: BorrowedFd<'_>, inside: &Path) -> rustix::io::Result<OwnedFd> {
    let path = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    crate::retried(|| rustix::fs::openat2(root, path, flags, Mode::empty(), resolve))
}

fn mount_id(file: &OwnedFd) -> io::Result<u64> {
    let status = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    if status.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel does not tell a file's mount (before 5.8)",
        ));
    }
    Ok(status.stx_mnt_id)
}

fn parse(line: &str) -> io::Result<Mount> {
    let mount = || {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ');
        Some(Mount {
            id: fields.next()?.parse().ok()?,
            parent: fields.next()?.parse().ok()?,
            place: unescaped(fields.nth(2)?),
            kind: right.split(' ').next()?.to_owned(),
        })
    };
    mount().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("a mount table's line: {line:?}")))
}

/// Decodes a path of a mount table, in which blanks and backslashes are three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u8::from_str_radix(d, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_mount_table_are_unescaped() {
        assert_eq!(unescaped(r"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescaped(r"/plain\"), Path::new(r"/plain\"));
    }

    #[test]
    fn a_line_of_a_mount_table_is_read() {
        let line = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - proc none rw,errors=continue";
        let mount = Mount { id: 36, parent: 35, place: PathBuf::from("/mnt 2"), kind: "proc".into() };
        assert_eq!(parse(line).unwrap(), mount);
        assert!(parse("36 35 98:0").is_err());
        let on_it = Mount { id: 40, parent: 36, place: PathBuf::from("/mnt 2"), kind: "tmpfs".into() };
        let below = Mount { id: 41, parent: 36, place: PathBuf::from("/mnt 2/sys"), kind: "tmpfs".into() };
        assert!(!is_covered(&mount, &[below]) && is_covered(&mount, &[on_it]));
    }
}
