//! Mounts: on the host for a test, and in a container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::task::Task;

/// A mount on the host, below a node's folder: unmounted when this is dropped, and with the node if a test fails.
pub struct Mounted(PathBuf);

impl Mounted {
    /// An empty tmpfs.
    pub fn tmpfs(at: &Path) -> Self {
        Self::at(&["-t", "tmpfs", "tmpfs"], at)
    }

    /// A shared tmpfs, like the mounts of a systemd host: a mount below it shows wherever the tmpfs was bound.
    pub fn shared(at: &Path) -> Self {
        let mounted = Self::tmpfs(at);
        mount(&["--make-shared"], at);
        mounted
    }

    /// Mounts by mount(8) with these arguments, on a folder that is made if need be.
    pub fn at(words: &[&str], at: &Path) -> Self {
        fs::create_dir_all(at).unwrap_or_else(|error| panic!("cannot make {}: {error}", at.display()));
        mount(words, at);
        Self(at.to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(&self.0).status();
        let gone = status.is_ok_and(|status| status.success());
        assert!(gone || std::thread::panicking(), "cannot unmount {}", self.0.display());
    }
}

fn mount(words: &[&str], at: &Path) {
    let output = Command::new("mount").args(words).arg(at).output().expect("cannot run mount");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "mount {words:?} {}: {complaint}", at.display());
}

/// A mount of a container (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `ro`, `nodev` and so on.
    pub options: Vec<String>,
    /// `shared:N`, `master:N`, or nothing.
    pub propagation: String,
    /// `tmpfs`, `overlay` and so on.
    pub kind: String,
}

impl Mount {
    /// Whether it has all of these options.
    pub fn has(&self, options: &[&str]) -> bool {
        options.iter().all(|option| self.options.iter().any(|own| own == option))
    }
}

impl Task<'_> {
    /// Returns a path of its tree as seen from outside. An absolute link in the path leads out of the tree.
    pub fn inside(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.pid().to_string()).join("root").join(path.trim_start_matches('/'))
    }

    /// The topmost mount at a place of its tree.
    pub fn mount_at(&self, place: &str) -> Option<Mount> {
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", self.pid())).expect("the task has ended");
        let line = table.lines().rfind(|line| line.split(' ').nth(4) == Some(place))?;
        let (left, right) = line.split_once(" - ")?;
        let fields: Vec<&str> = left.split(' ').collect();
        Some(Mount {
            options: fields[5].split(',').map(str::to_owned).collect(),
            propagation: fields[6..].join(" "),
            kind: right.split(' ').next()?.to_owned(),
        })
    }
}
