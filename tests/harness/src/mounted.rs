//! What is mounted: on the host for a test, and in a container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::task::Task;

/// A mount on the host, to be made below a node's folder: unmounted with this, and with the node when a test fails.
pub struct Mounted(PathBuf);

impl Mounted {
    /// An empty tmpfs.
    pub fn tmpfs(at: &Path) -> Self {
        Self::at(&["-t", "tmpfs", "tmpfs"], at)
    }

    /// A tmpfs that is shared, as a systemd host's mounts are: what is mounted below it shows wherever it was bound.
    pub fn shared(at: &Path) -> Self {
        let mounted = Self::tmpfs(at);
        mount(&["--make-shared"], at);
        mounted
    }

    /// What mount(8) mounts by these words, on a folder that is made if need be.
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

/// A mount of a container's (proc_pid_mountinfo(5)).
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
    /// A path of its tree, as it is seen from outside. An absolute link in it leads out.
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
