//! The programs of a version, in a folder of their own on the node.
//!
//! The folder's name is the version and a digest of its content. So another build never overwrites a running program, a damaged folder
//! is recognised, and containerd is restarted only if something changed. A folder is removed when no process runs from it: pods keep the
//! version that they were made by.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::StatVfsMountFlags;

use crate::error::{Error, On, Result};
use crate::files;
use crate::handler::{SHIM, is_alias};
use crate::host::Host;

/// The programs of a release, with their modes. The holder runs as any user, and users may not read it.
pub(crate) const PROGRAMS: [(&str, u32); 9] = [
    (SHIM, 0o755),
    ("catamaran-helper", 0o755),
    ("catamaran-holder", 0o711),
    ("catamaran-wasmtime", 0o755),
    ("catamaran-wasmtime-compile", 0o755),
    ("catamaran-wasmtime-http", 0o755),
    ("catamaran-wasmer", 0o755),
    ("catamaran-wasmer-compile", 0o755),
    (CATAMARAN, 0o755),
];
/// This program: the rollback and administrators run it from its version's folder.
pub(crate) const CATAMARAN: &str = "catamaran";
const UNFINISHED: &str = ".unfinished";
/// Hexadecimal digits of the digest in a folder's name.
const DIGITS: usize = 12;

/// Programs that are to be installed.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// Their present folder, as this process names it.
    from: PathBuf,
    /// The folder's name.
    pub(crate) name: String,
}

impl Programs {
    /// Finds the programs in a folder. All of them must be there and be of this build.
    pub(crate) fn find(from: &Path, version: &str) -> Result<Self> {
        let mut digests = String::new();
        for (name, _) in PROGRAMS {
            let path = from.join(name);
            let digest = files::digest_of(&path).map_err(|e| {
                Error::refused(
                    format!("{} cannot be read: {e}", path.display()),
                    "unpack all programs of one release into one folder (`make release` builds them) and run `catamaran` from there, or name it with --from",
                )
            })?;
            digests.push_str(&digest);
        }
        let digest = files::digest(digests.as_bytes());
        Ok(Self { from: from.to_owned(), name: format!("{version}-{}", &digest[..DIGITS]) })
    }

    /// Whether a folder holds exactly these programs.
    pub(crate) fn are_in(&self, host: &Host, folder: &Path) -> bool {
        let folder = host.at(folder);
        PROGRAMS.iter().all(|(name, mode)| {
            let there = folder.join(name);
            let right = fs::symlink_metadata(&there)
                .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o7777 == *mode);
            right && same_bytes(&self.from.join(name), &there)
        })
    }

    /// Puts the programs into a folder below `prefix`, as a whole. If the folder exists and is damaged, replaces them one by one.
    pub(crate) fn install(&self, host: &Host, prefix: &Path) -> Result<PathBuf> {
        let folder = prefix.join(&self.name);
        if self.are_in(host, &folder) {
            return Ok(folder);
        }
        files::make_folders(host, prefix)?;
        can_execute(host, prefix)?;
        if host.exists(&folder) {
            self.copy(host, &folder)?;
            return Ok(folder);
        }
        let unfinished = prefix.join(UNFINISHED);
        files::remove_folder(host, &unfinished)?;
        fs::create_dir(host.at(&unfinished)).on("making the folder", &unfinished)?;
        let copied = self.copy(host, &unfinished);
        if copied.is_err() {
            // Free the space again.
            let _ = files::remove_folder(host, &unfinished);
        }
        copied?;
        let (from, to) = (host.at(&unfinished), host.at(&folder));
        fs::rename(from, &to).on("renaming to", &folder)?;
        files::sync_folder(&to).on("writing", prefix)?;
        Ok(folder)
    }

    fn copy(&self, host: &Host, folder: &Path) -> Result<()> {
        let path = host.at(folder);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).on("opening", folder)?;
        for (name, mode) in PROGRAMS {
            files::copy_program(&self.from.join(name), &path.join(name), mode).on("writing", &folder.join(name))?;
        }
        File::open(&path).and_then(|folder| folder.sync_all()).on("writing", folder)
    }
}

fn same_bytes(one: &Path, other: &Path) -> bool {
    let length = |path: &Path| fs::metadata(path).map(|data| data.len());
    match (length(one), length(other)) {
        (Ok(a), Ok(b)) if a == b => {
            files::digest_of(one).ok().is_some_and(|digest| files::digest_of(other).ok() == Some(digest))
        }
        _ => false,
    }
}

/// Refuses a folder on a file system that is mounted noexec.
fn can_execute(host: &Host, folder: &Path) -> Result<()> {
    if is_noexec(&host.at(folder)) {
        return Err(Error::refused(
            format!("{} is on a file system that is mounted noexec: no program could run from there", folder.display()),
            "name a folder that programs may run from with --programs-dir (on Container-Optimized OS: /home/kubernetes/bin/catamaran)",
        ));
    }
    Ok(())
}

pub(crate) fn is_noexec(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

/// The folders of versions below `prefix`.
pub(crate) fn versions(host: &Host, prefix: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(host.at(prefix)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<PathBuf> = names.filter(|name| is_version(name)).map(|name| prefix.join(name)).collect();
    found.sort();
    found
}

/// Whether an installer makes folders of this name. Nothing else is ever removed.
fn is_version(name: &str) -> bool {
    let Some((version, digest)) = name.rsplit_once('-') else { return name == UNFINISHED };
    version.starts_with(|first: char| first.is_ascii_digit())
        && digest.len() == DIGITS
        && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a path is that of a shim in a version's folder, wherever that folder is.
pub(crate) fn is_shim(path: &Path) -> bool {
    let folder = path.parent().and_then(Path::file_name).and_then(OsStr::to_str);
    path.file_name().is_some_and(|name| name == SHIM) && folder.is_some_and(is_version)
}

/// Programs that run as long as a container or a pod does.
const LASTING: [&str; 4] = ["catamaran-holder", "catamaran-wasmtime", "catamaran-wasmtime-http", "catamaran-wasmer"];
/// How long to wait for processes that end by themselves: the shim of a container that was just deleted, a compile process. In tests the
/// processes are files, which do not end.
const PATIENCE: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(15) };

/// How a folder is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    None,
    /// By processes that end by themselves.
    Passing,
    /// By a container or a pod, or by something unknown.
    Lasting,
}

/// Whether a process runs from a folder, or may. Waits for processes that end by themselves.
pub(crate) fn in_use(host: &Host, folder: &Path) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match usage(host, folder) {
            Use::None => return false,
            Use::Passing if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(100)),
            Use::Passing | Use::Lasting => return true,
        }
    }
}

fn usage(host: &Host, folder: &Path) -> Use {
    let folder = host.resolve(folder);
    let Ok(entries) = fs::read_dir(host.at(Path::new("/proc"))) else { return Use::Lasting };
    let pids =
        entries.flatten().filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()));
    let mut passing = false;
    for process in pids.map(|entry| entry.path()) {
        match fs::read_link(process.join("exe")) {
            Ok(exe) if exe.starts_with(&folder) => {
                let name = exe.file_name().unwrap_or_default();
                if LASTING.iter().any(|lasting| name == *lasting) {
                    return Use::Lasting;
                }
                // This command does not count: it is an uninstallation run from there, or a rollback that waits.
                passing |= name != CATAMARAN;
            }
            // Without the right to read the link, a shim is known by its arguments. The pod's other processes end before the shim.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
                let arguments = String::from_utf8_lossy(&arguments);
                let program = arguments.split('\0').next().unwrap_or_default();
                if program.ends_with(SHIM) || is_alias(program) {
                    return Use::Lasting;
                }
            }
            _ => {
                // A shim keeps the programs that it may need open, and starts them by descriptor.
                let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
                passing |=
                    open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|path| path.starts_with(&folder));
            }
        }
    }
    if passing { Use::Passing } else { Use::None }
}

/// Removes the versions below `prefix` that are neither kept nor in use. Returns those that are in use.
pub(crate) fn collect(host: &Host, prefix: &Path, keep: &[&Path]) -> Result<Vec<PathBuf>> {
    let mut stay = Vec::new();
    for folder in versions(host, prefix) {
        if keep.contains(&folder.as_path()) {
            continue;
        }
        if in_use(host, &folder) {
            stay.push(folder);
            continue;
        }
        files::remove_folder(host, &folder)?;
    }
    Ok(stay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Tree, snapshot};

    fn release(tree: &mut Tree, folder: &str, word: &str) -> Programs {
        for (name, _) in PROGRAMS {
            tree.file(&format!("{folder}/{name}"), &format!("{name} {word}"));
        }
        Programs::find(&tree.path(folder), "1.2.3").unwrap()
    }

    #[test]
    fn programs_are_installed_once_with_their_modes_and_mended() {
        let mut tree = Tree::new();
        let programs = release(&mut tree, "release", "one");
        let host = tree.host();
        let prefix = Path::new("/opt/catamaran");
        let folder = programs.install(&host, prefix).unwrap();
        assert!(is_version(folder.file_name().unwrap().to_str().unwrap()), "{}", folder.display());
        let mode = |name: &str| fs::metadata(host.at(&folder.join(name))).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("catamaran-holder"), mode("catamaran-wasmer"), mode(".")), (0o711, 0o755, 0o755));
        let whole = snapshot(&tree.path("opt"));

        tree.file(&format!("{}/catamaran-helper", folder.display()), "damaged");
        fs::remove_file(host.at(&folder.join("catamaran-wasmer"))).unwrap();
        tree.file("opt/catamaran/.unfinished/catamaran-helper", "of a run that was killed");
        assert_eq!(programs.install(&host, prefix).unwrap(), folder);
        assert!(collect(&host, prefix, &[&folder]).unwrap().is_empty());
        assert_eq!(snapshot(&tree.path("opt")), whole);
    }

    /// A public bug: a binary was overwritten while it ran.
    #[test]
    fn another_build_of_a_version_has_a_folder_of_its_own() {
        let mut tree = Tree::new();
        let host = tree.host();
        let prefix = Path::new("/opt/catamaran");
        let old = release(&mut tree, "old", "one").install(&host, prefix).unwrap();
        let new = release(&mut tree, "new", "two").install(&host, prefix).unwrap();
        assert_ne!(old, new);
        let running = format!("{}/{SHIM}", old.display());
        tree.process(8, &["catamaran"]).exe(&format!("{}/{CATAMARAN}", old.display()));
        assert!(!in_use(&host, &old), "an uninstallation from there");
        tree.process(9, &["shim"]).exe(&running);
        tree.folder("opt/catamaran/somebody-else").folder("opt/catamaran/1.0");
        assert_eq!(collect(&host, prefix, &[&new]).unwrap(), std::slice::from_ref(&old));
        assert!(host.exists(&old.join(SHIM)));

        // The program is deleted and only a descriptor of it is left: an exec may still be started from there.
        tree.process(9, &["other"]);
        fs::remove_file(tree.path("proc/9/exe")).unwrap();
        tree.link("proc/9/fd/5", &format!("{}/catamaran-wasmer", old.display()));
        assert_eq!(collect(&host, prefix, &[&new]).unwrap(), std::slice::from_ref(&old));

        fs::remove_file(tree.path("proc/9/fd/5")).unwrap();
        assert!(collect(&host, prefix, &[&new]).unwrap().is_empty());
        assert!(!host.exists(&old) && host.exists(&new.join(SHIM)));
        assert!(tree.path("opt/catamaran/somebody-else").exists() && tree.path("opt/catamaran/1.0").exists());
    }

    #[test]
    fn a_release_that_lacks_a_program_is_refused_by_its_name() {
        let mut tree = Tree::new();
        release(&mut tree, "release", "one");
        fs::remove_file(tree.path("release/catamaran-wasmer-compile")).unwrap();
        let text = Programs::find(&tree.path("release"), "1").unwrap_err().to_string();
        assert!(text.contains("catamaran-wasmer-compile"), "{text}");
    }
}
