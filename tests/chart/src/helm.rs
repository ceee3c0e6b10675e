//! Helm, of both major versions.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use catamaran_harness::provided_by;

use crate::chart;

/// The version of Kubernetes that charts are rendered for.
const KUBERNETES: &str = "1.37.2";

/// The tools that `provision` provides.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Helm 4 and Helm 3.
    pub helms: [Helm; 2],
    /// `kubeconform`.
    pub kubeconform: PathBuf,
    /// The folder of `vVERSION.json`, the description of the objects of each Kubernetes.
    pub openapi: PathBuf,
    /// The definition of the kind PodMonitor.
    pub podmonitor: PathBuf,
}

impl Tools {
    /// The tools; provided once in each program.
    ///
    /// # Panics
    /// When they cannot be built or fetched; the script lists its attempts on stderr.
    pub fn provide() -> &'static Self {
        static TOOLS: OnceLock<Tools> = OnceLock::new();
        TOOLS.get_or_init(|| {
            let value = provided_by(&Path::new(env!("CARGO_MANIFEST_DIR")).join("provision"));
            let helm = |line: &str| Helm { line: line.to_owned(), program: value(&format!("helm{line}")).into() };
            Self {
                helms: [helm("4"), helm("3")],
                kubeconform: value("kubeconform").into(),
                openapi: value("openapi").into(),
                podmonitor: value("podmonitor").into(),
            }
        })
    }
}

/// A Helm.
#[derive(Clone, Debug)]
pub struct Helm {
    /// Its line, `4` or `3`.
    pub line: String,
    program: PathBuf,
}

/// A release to render.
#[derive(Clone, Copy, Debug)]
pub struct Release<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// The text of a file of values.
    pub values: &'a str,
}

impl<'a> Release<'a> {
    /// The release `catamaran` in the namespace `catamaran-system`.
    pub fn with(values: &'a str) -> Self {
        Self { name: "catamaran", namespace: "catamaran-system", values }
    }
}

impl Helm {
    /// Returns the rendered documents; the error is Helm's own text.
    ///
    /// # Errors
    /// When Helm refuses the values.
    pub fn template(&self, release: Release<'_>) -> Result<String, String> {
        self.template_for(release, KUBERNETES)
    }

    /// The same for a Kubernetes of another version.
    ///
    /// # Errors
    /// When Helm refuses the values, or that version.
    pub fn template_for(&self, release: Release<'_>, kubernetes: &str) -> Result<String, String> {
        let args = ["template", release.name, "--namespace", release.namespace, "--kube-version", kubernetes];
        self.run(&args, release.values)
    }

    /// Returns Helm's complaints.
    ///
    /// # Errors
    /// When Helm finds a warning or an error.
    pub fn lint(&self, values: &str) -> Result<String, String> {
        self.run(&["lint", "--strict", "--kube-version", KUBERNETES], values)
    }

    /// The notes that a user reads after an installation.
    ///
    /// # Panics
    /// When Helm refuses the values.
    pub fn notes(&self, release: Release<'_>) -> String {
        let args = ["install", release.name, "--namespace", release.namespace, "--dry-run=client"];
        let text = self.run(&args, release.values).unwrap_or_else(|e| panic!("helm {}: {e}", self.line));
        text.split_once("\nNOTES:\n").unwrap_or_else(|| panic!("no notes in: {text}")).1.to_owned()
    }

    fn run(&self, args: &[&str], values: &str) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        // The chart is the last argument of `template` and `install`, and the only one of `lint`.
        command.args(args).arg(chart()).args(["--values", "-"]);
        // Keeps the developer's own cluster and plugins out.
        command
            .env_clear()
            .env("KUBECONFIG", "/dev/null")
            .env("HOME", "/nonexistent")
            .env("HELM_PLUGINS", "/nonexistent");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.program.display()));
        child.stdin.take().unwrap().write_all(values.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(format!("{}{}", text(&output.stdout), text(&output.stderr)))
    }
}
