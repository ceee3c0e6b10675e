//! Finds the programs that the tests drive.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The containerd to test with, as `provision` found or fetched it.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `containerd`.
    pub containerd: PathBuf,
    /// `ctr`, of the same version.
    pub ctr: PathBuf,
    /// `runc`.
    pub runc: PathBuf,
    /// `containerd-shim-runc-v2`.
    pub shim_runc: PathBuf,
    /// containerd's version, such as `2.1.9`.
    pub version: String,
}

static PROGRAMS: OnceLock<Programs> = OnceLock::new();

impl Programs {
    /// The programs; provided once in each test program.
    ///
    /// # Panics
    /// When there is no containerd and none can be fetched; the script lists its attempts on stderr.
    pub fn provide() -> &'static Self {
        PROGRAMS.get_or_init(|| {
            let value = provided("provision");
            Self {
                containerd: value("containerd").into(),
                ctr: value("ctr").into(),
                runc: value("runc").into(),
                shim_runc: value("shim_runc").into(),
                version: value("version"),
            }
        })
    }

    /// The PATH of a containerd: our shim's folder first, then containerd's own programs, then the machine's.
    pub(crate) fn path(&self, shim: &Path) -> String {
        let mut folders = vec![shim.to_owned()];
        for program in [&self.containerd, &self.shim_runc, &self.runc] {
            folders.push(program.parent().expect("a path with a folder").to_owned());
        }
        let machine = env::var_os("PATH").unwrap_or_default();
        folders.extend(env::split_paths(&machine));
        let path = env::join_paths(folders).expect("a folder with a colon in its name cannot be in PATH");
        path.into_string().expect("PATH is no UTF-8")
    }
}

/// Runs one of the harness's scripts that provide something, and returns a look-up of the `NAME=VALUE` lines of its answer.
///
/// # Panics
/// When it cannot; the script lists its attempts on stderr.
pub(crate) fn provided(script: &str) -> impl Fn(&str) -> String {
    provided_by(&Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
}

/// The same with a script at any path.
///
/// # Panics
/// When it cannot; the script lists its attempts on stderr.
pub fn provided_by(script: &Path) -> impl Fn(&str) -> String + use<> {
    let output = Command::new(script)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()));
    assert!(output.status.success(), "{} failed; it says why above", script.display());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let script = script.to_owned();
    move |name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{} did not say {name}=", script.display())).to_owned()
    }
}

/// The folder that holds our own programs: `CATAMARAN_BIN`, or where cargo put them beside the running test.
pub fn shim_folder() -> PathBuf {
    if let Some(folder) = env::var_os("CATAMARAN_BIN") {
        return folder.into();
    }
    let mut folder = env::current_exe().expect("this program has no path");
    folder.pop();
    if folder.ends_with("deps") || folder.ends_with("examples") {
        folder.pop();
    }
    folder
}

/// The folder that is kept between runs: `CATAMARAN_CACHE`, or `~/.cache/catamaran`.
pub fn cache() -> PathBuf {
    if let Some(folder) = env::var_os("CATAMARAN_CACHE") {
        return folder.into();
    }
    let home = env::var_os("HOME").unwrap_or_else(|| "/root".into());
    Path::new(&home).join(".cache/catamaran")
}
