//! `kubectl` and `helm`, run as a user runs them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use catamaran_harness::{Output, die_with_parent, spawn};
use serde_json::Value;

/// How long a command of a test may take.
const LIMIT: Duration = Duration::from_secs(180);

/// The program with the configuration of one user.
#[derive(Clone, Debug)]
pub struct Client {
    program: PathBuf,
    config: PathBuf,
}

impl Client {
    pub(crate) fn new(program: PathBuf, config: PathBuf) -> Self {
        Self { program, config }
    }

    /// The file to set `KUBECONFIG` to.
    pub fn config(&self) -> &Path {
        &self.config
    }

    fn command<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = die_with_parent(Path::new("timeout"));
        command.args(["--kill-after=5", &LIMIT.as_secs().to_string()]).arg(&self.program);
        command.arg(format!("--kubeconfig={}", self.config.display()));
        command.args(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        // For the caches of discovery and preferences.
        command.env("HOME", self.config.with_file_name("clients-home"));
        command
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.run_with(args, "")
    }

    /// The same, with standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run_with<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>, stdin: &str) -> Output {
        let begin = Instant::now();
        let mut child = self.start(args);
        let mut pipe = child.stdin.take().expect("a pipe");
        let text = stdin.to_owned();
        // A program that ends without reading all of its stdin is no failure.
        let writer = std::thread::spawn(move || drop(pipe.write_all(text.as_bytes())));
        let output = child.wait_with_output().expect("cannot wait for a client");
        writer.join().expect("a writer does not panic");
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            duration: begin.elapsed(),
        }
    }

    /// Starts a command that runs until it is killed, such as `port-forward`. All of its streams are pipes.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        spawn(command).expect("cannot start a client")
    }

    /// Runs a command and returns its output.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let output = self.run(&args);
        assert!(
            output.code == 0,
            "{} {} failed: {}{}",
            self.program.display(),
            args.join(" "),
            output.stdout,
            output.stderr
        );
        output.stdout
    }

    /// `kubectl apply`.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub fn apply(&self, manifest: &str) {
        let output = self.run_with(["apply", "-f", "-"], manifest);
        assert!(output.code == 0, "{}\nof:\n{manifest}", output.stderr);
    }

    /// `kubectl get -o json`; returns None if there is no such object.
    pub fn try_get(&self, words: &[&str]) -> Option<Value> {
        let output = self.run([&["get", "-o", "json"], words].concat());
        serde_json::from_str(&output.stdout).ok()
    }
}
