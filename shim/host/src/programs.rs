//! The executables of this build. Each is opened once and executed by its descriptor, for as long as this process lives, so that
//! an upgrade that replaces the files never mixes two builds: `tests/integration/tests/upgrade.rs`. If two builds meet all the
//! same, because a node was installed from both, they refuse each other by their versions (`catamaran_worker::version`).
//!
//! The server opens all of them when it starts. A helper that starts programs itself is given their descriptors with its order.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};

use crate::error::{Doing, Result};

/// The program of the short processes.
pub const HELPER: &str = "catamaran-helper";

/// Appends a container's output to files. This and the next ones are the helper's actions: its first argument.
pub const APPEND: &str = "append";
/// Compiles a module: the compile driver.
pub const COMPILE: &str = "compile";
/// Searches a container's tree.
pub const SEARCH: &str = "search";
/// Becomes a pod's holder.
pub const HOLD: &str = "hold";
/// Tells what a file is, for the command `catamaran`.
pub const INSPECT: &str = "inspect";
/// Finds an image's module, for the command `catamaran`.
pub const IMAGE: &str = "image";
/// Compiles a module before it is started, for the command `catamaran`.
pub const WARM: &str = "warm";
/// Lists, prunes and verifies the cache, for the command `catamaran`.
pub const CACHE: &str = "cache";
/// Reads an image's manifests, without rights.
pub const MANIFESTS: &str = "manifests";
/// Writes changed limits.
pub const LIMITS: &str = "limits";
/// Asks systemd for scopes.
pub const SCOPE: &str = "scope";
/// Becomes another program that dies with the shim.
pub const DIE_WITH_PARENT: &str = "die-with-parent";

/// The least number of a program's descriptor, above all numbers at which children get descriptors.
const ABOVE: i32 = 64;

static OPEN: Mutex<BTreeMap<String, Program>> = Mutex::new(BTreeMap::new());

/// An executable of this build.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    descriptor: Arc<OwnedFd>,
}

impl Program {
    /// Opens the program `name` beside this process's own executable, or returns it if it is open already.
    ///
    /// # Errors
    /// If the file is missing; the error names it.
    pub fn open(name: &str) -> Result<Self> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = open.get(name) {
            return Ok(program.clone());
        }
        let program = Self::at(beside_this(name)?)?;
        open.insert(name.to_owned(), program.clone());
        Ok(program)
    }

    /// Opens the program at `path`.
    ///
    /// # Errors
    /// If the file is missing; the error names it.
    pub fn at(path: PathBuf) -> Result<Self> {
        let file = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).on(&path)?;
        Self::new(path, file)
    }

    /// Makes `name` stand for this descriptor from now on, which the process that started this one has opened.
    ///
    /// # Errors
    /// If no descriptor is free.
    pub fn give(name: &str, path: PathBuf, descriptor: OwnedFd) -> Result<()> {
        let program = Self::new(path, descriptor)?;
        OPEN.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), program);
        Ok(())
    }

    fn new(path: PathBuf, descriptor: OwnedFd) -> Result<Self> {
        let descriptor = rustix::io::fcntl_dupfd_cloexec(&descriptor, ABOVE).on(&path)?;
        Ok(Self { path, descriptor: Arc::new(descriptor) })
    }

    /// Returns the path where it was installed, for messages and for its name. By now another build may lie there.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the link by which this process opens and executes the program.
    pub fn link(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()))
    }

    /// Returns a command that executes the program and passes its path as the name.
    pub fn command(&self) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(self.link());
        command.arg0(&self.path);
        command
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Opens those of the programs that exist, so that a later upgrade changes none of them.
pub fn keep<'a>(names: impl IntoIterator<Item = &'a str>) {
    for name in names {
        // A missing program is an error when it is needed.
        let _ = Program::open(name);
    }
}

fn beside_this(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().doing(|| "finding this program's folder".to_owned())?;
    Ok(own.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A temporary folder of one test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("catamaran-programs-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        /// Installs a program as an installer does: puts a new file in place of the old one.
        fn install(&self, name: &str, file: &str) -> PathBuf {
            let (new, path) = (self.0.join("new"), self.0.join(name));
            // Another process copies, because a file that this process has open for writing cannot be executed.
            let copied = Command::new("install").args(["-m", "755", file]).arg(&new).status().unwrap();
            assert!(copied.success());
            fs::rename(&new, &path).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn said(program: &Program) -> String {
        let output = program.command().arg("old").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_replaced_or_removed_file_does_not_change_what_is_executed() {
        let folder = Folder::new("replaced");
        let path = folder.install("program", "/bin/echo");
        let program = Program::at(path.clone()).unwrap();
        assert_eq!(said(&program), "old\n");
        folder.install("program", "/bin/false");
        assert!(!Command::new(&path).status().unwrap().success(), "the path leads to the new file");
        assert_eq!(said(&program), "old\n");
        assert_eq!(said(&program.clone()), "old\n");
        fs::remove_file(&path).unwrap();
        assert_eq!(said(&program), "old\n");
        assert_eq!(fs::read(program.link()).unwrap(), fs::read("/bin/echo").unwrap(), "which is read by its link too");
        assert_eq!(program.path(), path);
    }

    #[test]
    fn a_program_is_opened_once_by_its_name() {
        let folder = Folder::new("given");
        let path = folder.install("given", "/bin/echo");
        let descriptor = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        Program::give("catamaran-given", path.clone(), descriptor).unwrap();
        folder.install("given", "/bin/false");
        let program = Program::open("catamaran-given").unwrap();
        assert_eq!((said(&program).as_str(), program.path()), ("old\n", path.as_path()));
    }

    #[test]
    fn a_missing_program_is_named() {
        keep(["catamaran-missing"]);
        let expected = std::env::current_exe().unwrap().with_file_name("catamaran-missing");
        match Program::open("catamaran-missing") {
            Err(crate::Error::File { path, source }) => {
                assert_eq!((path, source.kind()), (expected, std::io::ErrorKind::NotFound));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_child_inherits_no_descriptor_of_a_program() {
        let program = Program::at("/bin/ls".into()).unwrap();
        let flags = rustix::io::fcntl_getfd(&program).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC) && program.as_fd().as_raw_fd() >= ABOVE);
        let output = program.command().args(["-l", "/proc/self/fd/"]).output().unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        let own = fs::canonicalize("/bin/ls").unwrap();
        assert!(output.status.success() && !listed.contains(own.to_str().unwrap()), "{listed}");
    }
}
