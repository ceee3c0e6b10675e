//! The command `catamaran` on a node, as an administrator calls it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says that it failed"
)]

mod serving;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use catamaran_harness::{Image, Node, OURS, guests, shim_folder};
use serde_json::Value;

pub use serving::Serving;

/// The command, with its arguments and variables for one node.
#[derive(Clone, Debug)]
pub struct Catamaran {
    /// The arguments before a command's own.
    pub args: Vec<String>,
    /// Variables.
    pub env: Vec<(String, String)>,
}

/// The command's exit code and output.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The exit code; None if a signal ended it.
    pub code: Option<i32>,
    /// Its JSON; null if it was killed before its output.
    pub value: Value,
    /// Progress.
    pub stderr: String,
}

impl Catamaran {
    /// The command for a node of the harness, without a variable that leads to systemd.
    pub fn on(node: &Node) -> Self {
        let args = [
            "--containerd-socket".to_owned(),
            node.socket().display().to_string(),
            "--programs-dir".to_owned(),
            node.dir().join("opt/catamaran").display().to_string(),
        ];
        let root = node.catamaran_root().display().to_string();
        Self { args: args.to_vec(), env: vec![("CATAMARAN_ROOT".to_owned(), root)] }
    }

    /// The same with a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started, or prints no JSON.
    pub fn run(&self, args: &[&str]) -> Answer {
        self.run_with(args, &[])
    }

    /// The same with further variables.
    ///
    /// # Panics
    /// As [`Catamaran::run`].
    pub fn run_with(&self, args: &[&str], env: &[(&str, &str)]) -> Answer {
        let mut command = Command::new(shim_folder().join("catamaran"));
        command
            .args(&self.args)
            .args(["-o", "json"])
            .args(args)
            .envs(self.env.iter().cloned())
            .envs(env.iter().copied());
        let output = command.output().expect("cannot start catamaran");
        let text = String::from_utf8_lossy(&output.stdout);
        let value = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("no JSON") };
        Answer { code: output.status.code(), value, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// Returns its text output.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn text(&self, args: &[&str]) -> String {
        let mut command = Command::new(shim_folder().join("catamaran"));
        let output = command.args(&self.args).args(args).envs(self.env.iter().cloned()).output();
        String::from_utf8_lossy(&output.expect("cannot start catamaran").stdout).into_owned()
    }

    /// Runs it, and expects success.
    ///
    /// # Panics
    /// When it fails.
    pub fn done(&self, args: &[&str]) -> Value {
        let answer = self.run(args);
        assert_eq!(answer.code, Some(0), "catamaran {}: {answer:#?}", args.join(" "));
        answer.value
    }
}

/// Makes another build of a release's programs in a folder: the same, with an additional byte at the end of each.
pub fn other_build(folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).expect("cannot make a folder");
    for program in OURS.into_iter().chain(["catamaran"]) {
        let mut bytes = fs::read(shim_folder().join(program)).expect("cannot read a program: `make build` makes them");
        bytes.push(b'\n');
        let path = folder.join(program);
        fs::write(&path, bytes).expect("cannot write a program");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, mode).expect("cannot set permissions");
    }
    folder.to_owned()
}

/// An image whose module sleeps, with another module for execs.
pub fn tools() -> Image {
    let modules = ["sleep", "hello"].map(|name| (format!("/{name}.wasm"), guests::wat(name)));
    modules
        .iter()
        .fold(Image::new("tools"), |image, (path, module)| image.file(path, module))
        .entrypoint(["/sleep.wasm"])
}

/// Every file below a folder, with its bytes.
pub fn bytes_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => {
                found.push((path.clone(), Vec::new()));
                found.extend(bytes_below(&path));
            }
            false => found.push((path.clone(), fs::read(&path).expect("cannot read a file"))),
        }
    }
    found.sort();
    found
}
