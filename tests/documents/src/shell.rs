//! Where a command is typed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use catamaran_harness::{Output, die_with_parent, spawn};

/// How long a command may take.
const LIMIT: &str = "300";

/// A user's shell in a folder, with stand-ins before the machine's programs.
#[derive(Clone, Debug)]
pub struct Shell {
    folder: PathBuf,
    stand_ins: PathBuf,
    env: Vec<(String, String)>,
}

impl Shell {
    /// A shell in `folder`; `stand_ins` is an empty folder for [`Shell::stand_in`].
    pub fn new(folder: &Path, stand_ins: &Path) -> Self {
        Self { folder: folder.to_owned(), stand_ins: stand_ins.to_owned(), env: Vec::new() }
    }

    /// The same shell in another folder.
    #[must_use]
    pub fn in_folder(&self, folder: &Path) -> Self {
        Self { folder: folder.to_owned(), ..self.clone() }
    }

    /// The same shell with a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes a program that is called `name`: a script of the shell, whose arguments are `"$@"`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn stand_in(&self, name: &str, script: &str) {
        let path = self.stand_ins.join(name);
        fs::write(&path, format!("#!/bin/sh\nset -eu\n{script}\n")).expect("cannot write a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("cannot set permissions");
    }

    /// Types a text, one command a line, to its end or to the first failure.
    ///
    /// # Panics
    /// When no shell can be started.
    pub fn run(&self, text: &str) -> Output {
        let machine = std::env::var("PATH").unwrap_or_default();
        let mut command = die_with_parent(Path::new("timeout"));
        command.args(["--kill-after=5", LIMIT, "sh", "-ec", text]).current_dir(&self.folder).stdin(Stdio::null());
        command.env("PATH", format!("{}:{machine}", self.stand_ins.display())).envs(self.env.iter().cloned());
        let begin = Instant::now();
        let child = spawn({
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command
        });
        let output = child.and_then(std::process::Child::wait_with_output).expect("cannot run a shell");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Output { code, stdout: text(&output.stdout), stderr: text(&output.stderr), duration: begin.elapsed() }
    }

    /// Types it, and returns its standard output.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&self, text: &str) -> String {
        let output = self.run(text);
        assert!(output.code == 0, "{text}\nended with {}: {}{}", output.code, output.stdout, output.stderr);
        output.stdout
    }
}
