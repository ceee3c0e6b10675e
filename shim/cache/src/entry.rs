//! The files beside an entry of the cache, which go with it: its checksum, and an empty file whose name says whose the entry is. Both
//! are written and removed under the lock of the cache's room (`shim/helper/src/compile/locks.rs`).
//!
//! ```text
//! <entry>.of-TENANT   the tenant that the entry was made for, and whose share it counts towards; an older version's entry has none
//! ```

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use catamaran_host::lease;

use super::checksum;

const OF: &str = ".of-";
/// The bytes that an entry counts at least, because some file systems keep small files in no block at all.
const LEAST_BYTES: u64 = 4096;

/// Returns what an entry takes on the disk, with its checksum: the blocks that `du` counts, because the bounds protect the disk. The
/// length of a file is another number: it counts holes, and what a file system has compressed.
pub fn bytes(entry: &Path, meta: &Metadata) -> u64 {
    let sum = fs::metadata(checksum::beside(entry)).map_or(0, |sum| sum.blocks());
    ((meta.blocks() + sum) * 512).max(LEAST_BYTES)
}

/// Returns what a file that was just written will take as an entry, with its checksum. Counts the length if it is more than the
/// blocks: nobody has waited for the disk, and some file systems give a file its blocks only then.
pub fn future_bytes(new: &Metadata) -> u64 {
    (new.blocks() * 512).max(new.len()) + LEAST_BYTES
}

/// Whether a process has the file open: the kernel grants a write lease only if none has (fcntl(2), "Leases"). Workers keep their
/// artifact open, because their memory image is mapped from it. The caller blocks SIGIO, which would end it if another process opens
/// the file meanwhile.
pub fn is_in_use(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => !lease::nobody_else_has_it(&file).unwrap_or(false),
        Err(_) => true,
    }
}

/// Makes `tenant` the entry's tenant: its name in the form of [`super::tenant`].
pub fn mark(entry: &Path, tenant: &str) -> io::Result<()> {
    let mut own = entry.as_os_str().to_owned();
    own.push(OF);
    own.push(tenant);
    let own = PathBuf::from(own);
    File::create(&own)?;
    for other in marks(entry).into_iter().filter(|other| *other != own) {
        fs::remove_file(other)?;
    }
    Ok(())
}

/// Returns the entry and the tenant of a mark, by its file name, or None for any other name.
pub fn marked(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once(OF)
}

/// Removes the entry and the files that belong to it.
pub fn remove(entry: &Path) -> io::Result<()> {
    fs::remove_file(entry)?;
    // These mean nothing without the entry. One that stays is removed later, as a stray.
    let _ = fs::remove_file(checksum::beside(entry));
    for mark in marks(entry) {
        let _ = fs::remove_file(mark);
    }
    Ok(())
}

fn marks(entry: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (entry.parent(), entry.file_name()) else { return Vec::new() };
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let of_it = |file: &fs::DirEntry| file.file_name().to_str().and_then(marked).is_some_and(|(of, _)| *of == *name);
    files.filter(of_it).map(|file| file.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_one_tenant_and_its_marks_go_with_it() {
        let folder = std::env::temp_dir().join(format!("catamaran-entry-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (entry, other) = (folder.join("abc"), folder.join("abc.fast"));
        for path in [&entry, &checksum::beside(&entry), &other] {
            fs::write(path, "x").unwrap();
        }
        let tenants = |entry: &Path| -> Vec<String> {
            let tenant = |path: PathBuf| marked(path.file_name()?.to_str()?).map(|(_, tenant)| tenant.to_owned());
            marks(entry).into_iter().filter_map(tenant).collect()
        };
        for tenant in ["a", "b", "b"] {
            mark(&entry, tenant).unwrap();
        }
        mark(&other, "a").unwrap();
        assert_eq!((tenants(&entry), tenants(&other)), (vec!["b".to_owned()], vec!["a".to_owned()]));
        remove(&entry).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "the other one and its tenant");
        fs::remove_dir_all(&folder).unwrap();
    }
}
