//! Reads `linux.cgroupsPath`: folders below the root of each tree, or a scope of systemd's.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use super::scope::Scope;
use super::{Kind, hierarchy, scope};
use crate::error::{Error, Result};

/// Plans folders, one a tree.
pub(crate) fn v1(path: &str) -> Result<(Kind, Vec<PathBuf>)> {
    if Scope::parse(path)?.is_some() {
        let expected = "a path of folders (SystemdCgroup = false): this host has cgroup v1, and systemd scopes need v2";
        return Err(Error::refused("config.json: linux.cgroupsPath", path, expected));
    }
    let relative = checked(path)?;
    let hierarchies = hierarchy::mounted()?;
    let folders = hierarchies.iter().map(|hierarchy| hierarchy.mount.join(relative)).collect();
    Ok((Kind::V1(hierarchies), folders))
}

/// Plans a folder, or a scope of systemd's.
pub(crate) fn v2(path: &str) -> Result<(Kind, PathBuf)> {
    let root = Path::new(hierarchy::ROOT);
    match Scope::parse(path)? {
        Some(scope) if scope::runs() => {
            let folder = scope.folder(root);
            Ok((Kind::Systemd(scope, OnceLock::new()), folder))
        }
        Some(_) => {
            let expected = format!(
                "a path of folders (SystemdCgroup = false): systemd does not run on this host ({} is missing)",
                scope::SOCKET
            );
            Err(Error::refused("config.json: linux.cgroupsPath", path, expected))
        }
        None => Ok((Kind::V2(Mutex::default()), root.join(checked(path)?))),
    }
}

/// Returns `linux.cgroupsPath` as a path below the hierarchy's root.
fn checked(path: &str) -> Result<&str> {
    let relative = path.trim_start_matches('/');
    if relative.is_empty() || relative.split('/').any(|part| matches!(part, ".." | "." | "")) {
        let expected = "a path below the root, without \".\", \"..\" and \"//\"";
        return Err(Error::refused("config.json: linux.cgroupsPath", path, expected));
    }
    Ok(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked() {
        assert_eq!(checked("/default/a").unwrap(), "default/a");
        assert!(["/a/../b", "/", "/.", "a//b", "/a/"].iter().all(|path| checked(path).is_err()));
    }
}
