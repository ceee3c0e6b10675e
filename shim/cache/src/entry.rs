//! What lies beside an entry of the cache and goes with it: its checksum, and an empty file whose name says whose it is. Both
//! are written and removed under the lock of the cache's room (`shim/helper/src/compile/locks.rs`).
//!
//! ```text
//! <entry>.of-OWNER    for whom it was made, to whose share it counts; not there for one of an older version
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{checksum, owner};

const OF: &str = ".of-";

/// Says whose the entry is from now on.
pub fn mark(entry: &Path, owner: &str) -> io::Result<()> {
    let mut own = entry.as_os_str().to_owned();
    own.push(OF);
    own.push(owner::name(owner));
    let own = PathBuf::from(own);
    File::create(&own)?;
    for other in marks(entry).into_iter().filter(|other| *other != own) {
        fs::remove_file(other)?;
    }
    Ok(())
}

/// The entry that a file's name is a mark of, and its owner, if it is one.
pub fn marked(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once(OF)
}

/// Removes the entry and what belongs to it.
pub fn remove(entry: &Path) -> io::Result<()> {
    fs::remove_file(entry)?;
    // Nothing without it; where one stays, it is removed as a stray later.
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
    fn an_entry_has_one_owner_and_nothing_is_left_of_it() {
        let folder = std::env::temp_dir().join(format!("catamaran-entry-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (entry, other) = (folder.join("abc"), folder.join("abc.fast"));
        for path in [&entry, &checksum::beside(&entry), &other] {
            fs::write(path, "x").unwrap();
        }
        let owners = |entry: &Path| -> Vec<String> {
            let owner = |path: PathBuf| marked(path.file_name()?.to_str()?).map(|(_, owner)| owner.to_owned());
            marks(entry).into_iter().filter_map(owner).collect()
        };
        for owner in ["a", "b", "b"] {
            mark(&entry, owner).unwrap();
        }
        mark(&other, "a").unwrap();
        assert_eq!((owners(&entry), owners(&other)), (vec![owner::name("b")], vec![owner::name("a")]));
        remove(&entry).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "the other one and its owner");
        fs::remove_dir_all(&folder).unwrap();
    }
}
