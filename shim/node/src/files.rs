//! Writes files so that a kill at any moment leaves either the old file or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::{On, Result};
use crate::host::Host;

/// The mode of a new file.
const MODE: u32 = 0o644;
/// The prefix of a file's name until it is complete.
const UNFINISHED: &str = ".catamaran-new.";

/// A file's mode and owner; without an owner it belongs to this process's user.
#[derive(Clone, Copy)]
struct Look {
    mode: u32,
    owner: Option<(u32, u32)>,
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The digest of a file that may be larger than a container's memory limit.
pub(crate) fn digest_of(path: &Path) -> io::Result<String> {
    let (mut file, mut sum, mut part) = (File::open(path)?, Sha256::new(), vec![0; 256 << 10]);
    loop {
        match file.read(&mut part)? {
            0 => return Ok(hex(&sum.finalize())),
            length => sum.update(&part[..length]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The path of an unfinished file. `above` puts it into the parent's folder, because a pattern may import every name in this one.
pub(crate) fn unfinished(path: &Path, above: bool) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let folder = if above { folder.parent().unwrap_or(folder) } else { folder };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder.join(format!("{UNFINISHED}{name}"))
}

/// Puts `bytes` at `inside`, with the owner and mode of the file there. Its folder must exist.
pub(crate) fn replace(host: &Host, inside: &Path, bytes: &[u8]) -> Result<()> {
    let path = host.at(inside);
    let look = fs::metadata(&path).map_or(Look { mode: MODE, owner: None }, |there| Look {
        mode: there.mode() & 0o7777,
        owner: Some((there.uid(), there.gid())),
    });
    write_and_rename(&path, bytes, look).on("writing", inside)
}

fn write_and_rename(path: &Path, bytes: &[u8], look: Look) -> io::Result<()> {
    let mut temporary = unfinished(path, true);
    match finish(&temporary, path, bytes, look) {
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
            temporary = unfinished(path, false);
            finish(&temporary, path, bytes, look)
        }
        done => done,
    }
    .inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

fn finish(temporary: &Path, path: &Path, bytes: &[u8], look: Look) -> io::Result<()> {
    let _ = fs::remove_file(temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.write_all(bytes)?;
    if let Some((uid, gid)) = look.owner {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (uid, gid) {
            chown(temporary, Some(uid), Some(gid))?;
        }
    }
    file.set_permissions(fs::Permissions::from_mode(look.mode))?;
    file.sync_all()?;
    if let Err(e) = fs::rename(temporary, path) {
        let _ = fs::remove_file(temporary);
        return Err(e);
    }
    sync_folder(path)
}

/// Syncs the folder, so that the disk has a new name, or has lost a removed one.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Removes a file; succeeds if there is none.
pub(crate) fn remove(host: &Host, inside: &Path) -> Result<()> {
    let path = host.at(inside);
    match fs::remove_file(&path) {
        Ok(()) => sync_folder(&path).on("removing", inside),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e).on("removing", inside),
    }
}

/// Removes the files that a killed [`replace`] left.
pub(crate) fn remove_unfinished(host: &Host, inside: &Path) {
    let path = host.at(inside);
    for above in [true, false] {
        let _ = fs::remove_file(unfinished(&path, above));
    }
}

/// Makes a folder and those above it. Returns the ones that it made, the outermost first.
pub(crate) fn make_folders(host: &Host, inside: &Path) -> Result<Vec<PathBuf>> {
    let missing: Vec<&Path> = inside.ancestors().take_while(|folder| !host.exists(folder)).collect();
    fs::create_dir_all(host.at(inside)).on("making the folder", inside)?;
    Ok(missing.into_iter().rev().map(Path::to_owned).collect())
}

/// Removes a folder with all its content.
pub(crate) fn remove_folder(host: &Host, inside: &Path) -> Result<()> {
    match fs::remove_dir_all(host.at(inside)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).on("removing", inside),
        _ => Ok(()),
    }
}

/// Copies a program with this mode, so that it is complete or not there.
pub(crate) fn copy_program(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    let bytes = fs::read(from)?;
    let temporary = unfinished(to, false);
    finish(&temporary, to, &bytes, Look { mode, owner: None }).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Tree, snapshot};

    #[test]
    fn a_file_is_replaced_with_its_mode_and_through_its_link() {
        let mut tree = Tree::new();
        tree.file("etc/real/config.toml", "old").link("etc/containerd", "/etc/real");
        fs::set_permissions(tree.path("etc/real/config.toml"), fs::Permissions::from_mode(0o640)).unwrap();
        replace(&tree.host(), Path::new("/etc/containerd/config.toml"), b"new").unwrap();
        let found = snapshot(&tree.path("etc/real"));
        assert_eq!(found, [(tree.path("etc/real/config.toml"), "100640 new".to_owned())]);
        assert_eq!(snapshot(&tree.path("etc")).len(), 3);
    }

    #[test]
    fn nothing_is_left_where_a_file_cannot_be_written() {
        let mut tree = Tree::new();
        tree.folder("etc/containerd/config.toml");
        let text = replace(&tree.host(), Path::new("/etc/containerd/config.toml"), b"new").unwrap_err().to_string();
        assert!(text.contains("writing /etc/containerd/config.toml"), "{text}");
        assert_eq!(snapshot(&tree.path("etc")).len(), 2);
    }
}
