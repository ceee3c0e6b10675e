//! A host for tests: a folder with a node's files and /proc.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::host::Host;
use crate::process;

/// A host of files alone.
pub(crate) struct Tree {
    folder: TempDir,
    next_inode: u64,
}

/// A process of the host.
pub(crate) struct Fake<'t> {
    tree: &'t mut Tree,
    pid: u32,
}

impl Tree {
    pub(crate) fn new() -> Self {
        // In memory where possible, because each file is synced.
        let memory = Path::new("/dev/shm");
        let folder = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap();
        fs::create_dir(folder.path().join("proc")).unwrap();
        Self { folder, next_inode: 1000 }
    }

    pub(crate) fn host(&self) -> Host {
        Host::new(self.folder.path())
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside.trim_start_matches('/'))
    }

    pub(crate) fn file(&mut self, inside: &str, text: &str) -> &mut Self {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn folder(&mut self, inside: &str) -> &mut Self {
        fs::create_dir_all(self.path(inside)).unwrap();
        self
    }

    pub(crate) fn link(&mut self, inside: &str, target: &str) -> &mut Self {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    /// Adds a process with these arguments, which may be examined.
    pub(crate) fn process(&mut self, pid: u32, args: &[&str]) -> Fake<'_> {
        let mut line = args.join("\0");
        line.push('\0');
        self.file(&format!("proc/{pid}/cmdline"), &line);
        self.folder(&format!("proc/{pid}/fd"));
        Fake { tree: self, pid }
    }

    pub(crate) fn processes(&self) -> Vec<process::Process> {
        process::all(&self.host())
    }
}

impl Fake<'_> {
    pub(crate) fn exe(self, path: &str) -> Self {
        self.tree.link(&format!("proc/{}/exe", self.pid), path);
        self
    }

    pub(crate) fn unit(self, unit: &str) -> Self {
        let text = format!("12:cpu,cpuacct:/\n0::/system.slice/{unit}\n");
        self.tree.file(&format!("proc/{}/cgroup", self.pid), &text);
        self
    }

    /// Makes the process listen there, as the kernel shows it.
    pub(crate) fn listens(self, socket: &str) -> Self {
        let (pid, inode) = (self.pid, self.tree.next_inode);
        self.tree.next_inode += 1;
        self.tree.link(&format!("proc/{pid}/fd/7"), &format!("socket:[{inode}]"));
        let table = format!(
            "Num       RefCount Protocol Flags    Type St Inode Path\n\
             ffff0000: 00000003 00000000 00000000 0001 03 77 {socket}\n\
             ffff0000: 00000002 00000000 00010000 0001 01 {inode} {socket}\n"
        );
        self.tree.file(&format!("proc/{pid}/net/unix"), &table);
        self
    }
}

/// All files, links and folders below a folder, with their content.
pub(crate) fn snapshot(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let kind = fs::symlink_metadata(&path).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::mode(&kind.permissions());
            let what = if kind.is_dir() {
                todo.push(path.clone());
                "folder".to_owned()
            } else if kind.is_symlink() {
                fs::read_link(&path).unwrap().display().to_string()
            } else {
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
            };
            found.push((path, format!("{mode:o} {what}")));
        }
    }
    found.sort();
    found
}
