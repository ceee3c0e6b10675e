//! The executables of this build. Each is opened once and executed by its descriptor, for as long as this process lives, so that
//! an upgrade that replaces the files never mixes two builds: shim, helper, workers and compilers speak a form of one build.
//!
//! The server opens all of them when it starts. A helper that starts programs itself is given their descriptors with its order.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};

use crate::error::{Doing, Result};

/// The program of short processes.
pub const HELPER: &str = "catamaran-helper";

/// Its actions: the first argument.
pub const APPEND: &str = "append";
/// Compiles a module: the compile driver.
pub const COMPILE: &str = "compile";
/// Searches a container's tree.
pub const FIND: &str = "find";
/// Becomes a pod's holder.
pub const HOLD: &str = "hold";
/// Writes changed limits.
pub const LIMITS: &str = "limits";
/// Speaks to systemd.
pub const SCOPE: &str = "scope";
/// Becomes another program that dies with the shim.
pub const TIED: &str = "tied";

/// Beyond the numbers that a child is given descriptors by.
const ABOVE: i32 = 64;

static OPEN: Mutex<BTreeMap<String, Program>> = Mutex::new(BTreeMap::new());

/// An executable of this build.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    descriptor: Arc<OwnedFd>,
}

impl Program {
    /// The program `name`, which lies beside this process's own executable, unless it is open already.
    ///
    /// # Errors
    /// The file, when it is not there.
    pub fn open(name: &str) -> Result<Self> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = open.get(name) {
            return Ok(program.clone());
        }
        let program = Self::at(beside_this(name)?)?;
        open.insert(name.to_owned(), program.clone());
        Ok(program)
    }

    /// The program that lies at `path`.
    ///
    /// # Errors
    /// The file, when it is not there.
    pub fn at(path: PathBuf) -> Result<Self> {
        let file = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).on(&path)?;
        Self::new(path, file)
    }

    /// Has `name` be this one from now on: what whoever started this process has open.
    ///
    /// # Errors
    /// When descriptors are short.
    pub fn give(name: &str, path: PathBuf, descriptor: OwnedFd) -> Result<()> {
        let program = Self::new(path, descriptor)?;
        OPEN.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), program);
        Ok(())
    }

    fn new(path: PathBuf, descriptor: OwnedFd) -> Result<Self> {
        let descriptor = rustix::io::fcntl_dupfd_cloexec(&descriptor, ABOVE).on(&path)?;
        Ok(Self { path, descriptor: Arc::new(descriptor) })
    }

    /// Where it was installed, for messages and for its name. By now another build may lie there.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What this process opens and executes it by.
    pub fn link(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()))
    }

    /// A command that executes it, called by its path.
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

/// Opens all that are there of these, so that a later upgrade changes none of them.
pub fn keep<'a>(names: impl IntoIterator<Item = &'a str>) {
    for name in names {
        // One that is missing is named when it is needed.
        let _ = Program::open(name);
    }
}

fn beside_this(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().doing(|| "finding this program's folder".to_owned())?;
    Ok(own.with_file_name(name))
}
