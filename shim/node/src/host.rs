//! The host's files below `--root`, by the host's own names.
//!
//! In a container the host's root file system is mounted at a folder such as `/host`. Symbolic links below it are the host's, so an
//! absolute link starts at that root again and none leads out into the container's own files.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{On, Result};

/// The number of links that the kernel follows on one path.
const LINKS: usize = 40;

/// A host's file system.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    root: PathBuf,
}

impl Host {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Whether this process's root is the host's, so that programs need no chroot.
    pub(crate) fn is_own_root(&self) -> bool {
        self.root == Path::new("/")
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns this process's path of `inside`, an absolute path of the host's. Follows all links, also that of the last name. Keeps names
    /// that do not exist.
    pub(crate) fn at(&self, inside: &Path) -> PathBuf {
        self.root.join(relative(&self.resolve(inside)))
    }

    /// `inside` without links, as the host names it.
    pub(crate) fn resolve(&self, inside: &Path) -> PathBuf {
        let mut links = 0;
        let mut done = PathBuf::from("/");
        let mut todo: VecDeque<OsString> = names(inside);
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                done.pop();
                continue;
            }
            let next = done.join(&name);
            match fs::read_link(self.root.join(relative(&next))) {
                Ok(target) if links < LINKS => {
                    links += 1;
                    if target.is_absolute() {
                        done = PathBuf::from("/");
                    }
                    for part in names(&target).into_iter().rev() {
                        todo.push_front(part);
                    }
                }
                _ => done = next,
            }
        }
        done
    }

    /// Translates a D-Bus address of this process to the host's. Returns None if it names a file that is not the host's.
    pub(crate) fn address(&self, address: &str) -> Option<String> {
        if self.is_own_root() {
            return Some(address.to_owned());
        }
        let inside = Path::new(address.strip_prefix("unix:path=")?).strip_prefix(&self.root).ok()?;
        Some(format!("unix:path={}", Path::new("/").join(inside).display()))
    }

    /// The bytes of a file; None if there is none.
    pub(crate) fn read(&self, inside: &Path) -> Result<Option<Vec<u8>>> {
        match fs::read(self.at(inside)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(e).on("reading", inside),
        }
    }

    /// The text of a file; None if there is none or it is not UTF-8, as every file read here has to be.
    pub(crate) fn text(&self, inside: &Path) -> Option<String> {
        String::from_utf8(fs::read(self.at(inside)).ok()?).ok()
    }

    pub(crate) fn exists(&self, inside: &Path) -> bool {
        self.at(inside).exists()
    }

    /// The paths that a pattern matches, ordered by name as containerd orders imports.
    pub(crate) fn glob(&self, pattern: &Path) -> Vec<PathBuf> {
        let Some((folder, name)) = pattern.parent().zip(pattern.file_name()).filter(|_| is_pattern(pattern)) else {
            return if self.exists(pattern) { vec![pattern.to_owned()] } else { Vec::new() };
        };
        let folders = if is_pattern(folder) { self.glob(folder) } else { vec![folder.to_owned()] };
        let Ok(name) = glob::Pattern::new(&name.to_string_lossy()) else { return Vec::new() };
        let mut found = Vec::new();
        for folder in folders {
            let Ok(entries) = fs::read_dir(self.at(&folder)) else { continue };
            let entries = entries.flatten().map(|entry| entry.file_name());
            found
                .extend(entries.filter(|entry| name.matches(&entry.to_string_lossy())).map(|entry| folder.join(entry)));
        }
        found.sort();
        found
    }
}

/// Whether `path` is a pattern for several files.
pub(crate) fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_bytes().iter().any(|byte| b"*?[".contains(byte))
}

fn relative(absolute: &Path) -> &Path {
    absolute.strip_prefix("/").unwrap_or(absolute)
}

fn names(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        _ => None,
    });
    names.map(OsStr::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn symbolic_links_stay_below_the_hosts_root() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        fs::create_dir_all(root.path().join("real/etc")).unwrap();
        fs::write(root.path().join("real/etc/file"), "host's").unwrap();
        symlink("/real/etc", root.path().join("etc")).unwrap();
        symlink("../../../../../../etc/file", root.path().join("real/up")).unwrap();
        symlink("loop", root.path().join("loop")).unwrap();
        assert_eq!(host.text(Path::new("/etc/file")).unwrap(), "host's");
        assert_eq!(host.text(Path::new("/real/up")).unwrap(), "host's");
        assert_eq!(host.resolve(Path::new("/etc/new/file")), Path::new("/real/etc/new/file"));
        assert!(host.read(Path::new("/etc/none")).unwrap().is_none());
        assert!(host.read(Path::new("/etc/file/below")).unwrap().is_none());
        assert!(host.read(Path::new("/loop")).is_err());
    }

    #[test]
    fn an_address_is_written_as_the_host_sees_it() {
        let address = "unix:path=/host/run/dbus/system_bus_socket";
        assert_eq!(Host::new(Path::new("/")).address(address).as_deref(), Some(address));
        let below = Host::new(Path::new("/host"));
        assert_eq!(below.address(address).as_deref(), Some("unix:path=/run/dbus/system_bus_socket"));
        assert_eq!(below.address("unix:path=/run/dbus/system_bus_socket"), None);
        assert_eq!(below.address("tcp:host=127.0.0.1"), None);
    }

    #[test]
    fn patterns_match_as_in_containerds_imports() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        for name in ["conf.d/b.toml", "conf.d/a.toml", "conf.d/c.conf", "other/one.toml"] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = |pattern: &str| host.glob(Path::new(pattern));
        assert_eq!(found("/conf.d/*.toml"), [Path::new("/conf.d/a.toml"), Path::new("/conf.d/b.toml")]);
        assert_eq!(found("/conf.d/c.conf"), [Path::new("/conf.d/c.conf")]);
        assert_eq!(found("/conf.d/none"), Vec::<PathBuf>::new());
        assert_eq!(found("/*/one.toml"), [Path::new("/other/one.toml")]);
    }
}
