//! What lies beside an entry of the cache and goes with it: its checksum, and an empty file whose name says whose it is. Both
//! are written and removed under the lock of the cache's room (`shim/helper/src/compile/locks.rs`).
//!
//! ```text
//! <entry>.of-TENANT   for whom it was made, to whose share it counts; not there for one of an older version
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{checksum, tenant};

const OF: &str = ".of-";

/// Says whose the entry is from now on.
pub fn mark(entry: &Path, tenant: &str) -> io::Result<()> {
    let mut own = entry.as_os_str().to_owned();
    own.push(OF);
    own.push(tenant::name(tenant));
    let own = PathBuf::from(own);
    File::create(&own)?;
    for other in marks(entry).into_iter().filter(|other| *other != own) {
        fs::remove_file(other)?;
    }
    Ok(())
}

/// The entry that a file's name is a mark of, and its tenant, if it is one.
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
        assert_eq!((tenants(&entry), tenants(&other)), (vec![tenant::name("b")], vec![tenant::name("a")]));
        remove(&entry).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "the other one and its tenant");
        fs::remove_dir_all(&folder).unwrap();
    }
}
