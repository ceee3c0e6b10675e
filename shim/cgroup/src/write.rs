//! Writes a table of limits into a container's cgroup.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::libc;

use super::limits::{Missing, Setting};
use crate::error::{Doing, Error, Result};

/// The folders of a container's files.
pub(crate) trait Controllers {
    /// Returns the folder that holds a controller's files; None if the host does not have the controller.
    fn folder(&self, controller: &str) -> Option<&Path>;
    /// Says why a controller is missing, for a user who needs it.
    fn absence(&self, controller: &str) -> String;
}

/// Writes all settings in their order. A setting that the kernel refuses is tried once more at the end, because another setting
/// may have been in its way (memory and swap together may not be below memory, a burst not above its quota).
pub(crate) fn write_all<'a>(cgroup: &dyn Controllers, settings: impl Iterator<Item = &'a Setting>) -> Result<()> {
    in_two_rounds(settings, |setting| write(cgroup, setting), |(_, failure)| matches!(failure, Failure::Kernel(..)))
        .map_err(|(_, failure)| failure.told())
}

/// Calls `write` with each, and once more, at the end, with those whose failure `again` accepts.
pub(crate) fn in_two_rounds<T: Copy, E>(
    all: impl Iterator<Item = T>,
    write: impl Fn(T) -> std::result::Result<(), E>,
    again: impl Fn(&(T, E)) -> bool,
) -> std::result::Result<(), (T, E)> {
    let mut second = Vec::new();
    for one in all {
        match write(one).map_err(|e| (one, e)) {
            Err(failure) if again(&failure) => second.push(one),
            written => written?,
        }
    }
    second.into_iter().try_for_each(|one| write(one).map_err(|e| (one, e)))
}

/// Finds the file of a setting, or of the setting that stands for it; None if it holds without a file.
pub(crate) fn find<'a>(cgroup: &dyn Controllers, setting: &'a Setting) -> Result<Option<(PathBuf, &'a Setting)>> {
    if let Some(folder) = cgroup.folder(setting.controller()) {
        let path = folder.join(&setting.file);
        // If the cgroup itself is gone, no file is missing: the write returns the error.
        if path.exists() || !folder.exists() {
            return Ok(Some((path, setting)));
        }
    }
    match &setting.missing {
        Missing::Passed => Ok(None),
        Missing::Instead(other) => find(cgroup, other),
        Missing::Refused => {
            let expected = format!("no such limit on this host: {}", why(cgroup, setting));
            Err(Error::refused(place_of(setting), &setting.value, expected))
        }
    }
}

/// Whether the kernel refuses the value itself, for ever or for now.
pub(crate) fn is_refusal(e: &io::Error) -> bool {
    // ENODEV: a block device that does not exist. EBUSY of v1's memory limit: less than is used already. EACCES, ENOSPC: processors
    // that the cgroup above does not have, or no processors.
    let refusals = [libc::EINVAL, libc::ERANGE, libc::EOVERFLOW, libc::ENODEV, libc::EBUSY, libc::ENOSPC, libc::EACCES];
    e.raw_os_error().is_some_and(|number| refusals.contains(&number))
}

enum Failure {
    /// The kernel does not take this value.
    Kernel(Setting, io::Error),
    Other(Error),
}

impl Failure {
    fn told(self) -> Error {
        match self {
            Failure::Other(e) => e,
            Failure::Kernel(setting, e) => {
                Error::refused(place_of(&setting), &setting.value, format!("a value that {} takes: {e}", setting.file))
            }
        }
    }
}

fn place_of(setting: &Setting) -> String {
    format!("config.json: linux.resources.{}", setting.key)
}

fn write(cgroup: &dyn Controllers, setting: &Setting) -> std::result::Result<(), Failure> {
    let Some((path, setting)) = find(cgroup, setting).map_err(Failure::Other)? else { return Ok(()) };
    match put(&path, &setting.value) {
        Ok(()) => Ok(()),
        Err(e) if is_refusal(&e) => Err(Failure::Kernel(setting.clone(), e)),
        Err(e) => {
            let doing = || format!("{}: writing {} to {}", place_of(setting), setting.value, path.display());
            Err(e).doing(doing).map_err(Failure::Other)
        }
    }
}

fn why(cgroup: &dyn Controllers, setting: &Setting) -> String {
    let controller = setting.controller();
    let there = cgroup.folder(controller).is_some_and(|folder| {
        // v1's folder is the controller's own. On v2 all controllers share one folder, in which a file names them.
        match fs::read_to_string(folder.join("cgroup.controllers")) {
            Ok(words) => controller == "cgroup" || words.split_whitespace().any(|word| word == controller),
            Err(_) => true,
        }
    });
    if there {
        return format!("its kernel has no {}", setting.file);
    }
    cgroup.absence(controller)
}

/// Writes a value by one write, because the kernel's file takes each write as a whole. Creates no file.
pub(crate) fn put(path: &Path, value: &str) -> io::Result<()> {
    File::options().write(true).open(path)?.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::hierarchy;
    use super::*;

    /// A folder on disk that stands for a cgroup with every controller but one.
    struct Stand(PathBuf, &'static str);

    impl Controllers for Stand {
        fn folder(&self, controller: &str) -> Option<&Path> {
            (controller != self.1).then_some(self.0.as_path())
        }

        fn absence(&self, controller: &str) -> String {
            format!("it has no {controller} controller")
        }
    }

    impl Drop for Stand {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn stand(name: &str, files: &[&str], lacks: &'static str) -> Stand {
        let folder = std::env::temp_dir().join(format!("catamaran-write-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        files.iter().for_each(|file| fs::write(folder.join(file), "").unwrap());
        Stand(folder, lacks)
    }

    fn setting(file: &str, value: &str, missing: Missing) -> Setting {
        Setting { key: "x.y".to_owned(), file: file.to_owned(), value: value.to_owned(), missing }
    }

    #[test]
    fn a_missing_file_is_handled_as_its_setting_says() {
        let stand = stand("missing", &["io.weight"], "cpu");
        let write = |setting: &Setting| write_all(&stand, std::iter::once(setting)).map_err(|e| e.to_string());
        let read = |file: &str| fs::read_to_string(stand.0.join(file)).unwrap();
        write(&setting("memory.max", "1", Missing::Passed)).unwrap();
        assert!(!stand.0.join("memory.max").exists(), "nothing is created");
        let text = write(&setting("memory.max", "1", Missing::Refused)).unwrap_err();
        assert!(text.contains("linux.resources.x.y: 1: ") && text.contains("its kernel has no memory.max"), "{text}");
        let text = write(&setting("cpu.max", "1", Missing::Refused)).unwrap_err();
        assert!(text.contains("it has no cpu controller"), "{text}");
        let other = Box::new(setting("io.weight", "7", Missing::Refused));
        write(&setting("io.bfq.weight", "1", Missing::Instead(other))).unwrap();
        assert_eq!(read("io.weight"), "7");
    }

    /// A cgroup of the kernel's, of v1: needs root, as everything in this program does.
    struct Real(PathBuf);

    impl Controllers for Real {
        fn folder(&self, _: &str) -> Option<&Path> {
            Some(&self.0)
        }

        fn absence(&self, controller: &str) -> String {
            controller.to_owned()
        }
    }

    impl Drop for Real {
        fn drop(&mut self) {
            let _ = fs::remove_dir(&self.0);
        }
    }

    fn real(mount: &Path) -> Real {
        let real = Real(mount.join(format!("catamaran-write-{}", std::process::id())));
        fs::create_dir(&real.0).unwrap();
        real
    }

    fn refusal(real: &Real, file: &str) -> String {
        let bad = setting(file, "-9", Missing::Refused);
        write_all(real, std::iter::once(&bad)).unwrap_err().to_string()
    }

    #[test]
    fn a_refused_write_is_retried_and_then_reported() {
        if hierarchy::is_unified() {
            let text = refusal(&real(Path::new(hierarchy::ROOT)), "cgroup.max.depth");
            assert!(text.contains("x.y: -9: a value that cgroup.max.depth takes"), "{text}");
            return;
        }
        let memory = hierarchy::mounted().unwrap().into_iter().find(|h| h.controllers.iter().any(|c| c == "memory"));
        let real = real(&memory.unwrap().mount);
        let files = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"];
        // Going up from 64 MiB, the kernel refuses the first of the two until the second is written; going down from 128 MiB, the
        // second, in the other order.
        for (bytes, reversed) in [(64u64 << 20, false), (128 << 20, false), (64 << 20, true)] {
            let mut limits = files.map(|file| setting(file, &bytes.to_string(), Missing::Refused));
            if reversed {
                limits.reverse();
            }
            write_all(&real, limits.iter()).unwrap();
            for file in files {
                let text = fs::read_to_string(real.0.join(file)).unwrap();
                assert_eq!(text.trim(), bytes.to_string(), "{file}");
            }
        }
        let text = refusal(&real, "memory.limit_in_bytes");
        assert!(text.contains("x.y: -9: a value that memory.limit_in_bytes takes"), "{text}");
    }
}
