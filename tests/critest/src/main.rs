//! Kubernetes' own conformance suite of CRI runtimes, critest, on runc's handler and on ours: `make critest`.
//!
//! ```text
//! provision   builds critest from its module        registry   serves its images on loopback, under any host's name
//! skipped     specs that neither can run here       expected   specs that pass on runc's handler and not on ours, and why
//! ```
//!
//! Both handlers get the same list of skipped specs. A spec that passes on runc's handler alone fails the run unless it is expected, and so
//! does an expected one that passes. Words after the command are parts of the names of specs to run.
//!
//! Needs root, and no other critest at the same time: some of its specs have fixed ports.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "like a test: a panic is how it says that it cannot go on, and the node is removed by unwinding"
)]

mod images;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use catamaran_critest::{Outcomes, Registry, compare, list, outcome, quoted};
use catamaran_harness::{Node, cri, provided_by};

/// The handlers: runc's, the reference, and ours.
const HANDLERS: [&str; 2] = ["runc", "catamaran"];
/// The limit of a run, because critest has none for a spec that hangs.
const LIMIT: &str = "15m";

/// A program that `provision` has built.
fn provided(name: &str) -> PathBuf {
    provided_by(&Path::new(env!("CARGO_MANIFEST_DIR")).join("provision"))(name).into()
}

/// A folder of this run's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Self {
        let path = std::env::temp_dir().join(format!("catamaran-critest-{}", std::process::id()));
        fs::create_dir_all(&path).expect("cannot make a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The segments of shared memory that specs make on the host by `ipcmk`, and leave there: a program of that name, before the host's own in
/// PATH, records them.
struct Segments(PathBuf);

impl Segments {
    fn noted(folder: &Path) -> Self {
        let programs = folder.join("bin");
        fs::create_dir_all(&programs).expect("cannot make a folder");
        let path = programs.join("ipcmk");
        let script = format!("#!/bin/sh\n/usr/bin/ipcmk \"$@\" | tee -a '{}'\n", folder.join("segments").display());
        fs::write(&path, script).expect("cannot write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("cannot make a program");
        Self(folder.to_owned())
    }

    fn path(&self) -> String {
        format!("{}:{}", self.0.join("bin").display(), std::env::var("PATH").unwrap_or_default())
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        let noted = fs::read_to_string(self.0.join("segments")).unwrap_or_default();
        for id in noted.lines().filter_map(|line| line.rsplit_once(' ')) {
            let _ = Command::new("ipcrm").args(["-m", id.1]).status();
        }
        let _ = fs::remove_file(self.0.join("segments"));
    }
}

/// Runs all specs on one handler.
fn tried(
    handler: &str,
    words: &[String],
    skipped: &BTreeMap<String, String>,
    folder: &Path,
    registry: &Registry,
) -> Outcomes {
    let node = Node::start_with(cri::options().network().config(&registry.configuration(folder)));
    cri::import_sandbox_image(&node);
    let report = folder.join(format!("{handler}.json"));
    let mut critest = Command::new(provided("critest"));
    let segments = Segments::noted(folder);
    critest.current_dir(folder).stdin(Stdio::null()).env("TMPDIR", folder).env("PATH", segments.path());
    critest.arg(format!("--runtime-endpoint=unix://{}/containerd.sock", node.dir().display()));
    critest.arg(format!("--runtime-handler={handler}"));
    critest.arg(format!("--ginkgo.json-report={}", report.display()));
    critest.args([format!("--ginkgo.timeout={LIMIT}"), "--ginkgo.no-color".to_owned()]);
    critest.args(skipped.keys().map(|name| format!("--ginkgo.skip={}", quoted(name))));
    critest.args(words.iter().map(|word| format!("--ginkgo.focus={}", quoted(word))));
    let begin = Instant::now();
    let output = critest.output().expect("cannot run critest");
    fs::write(folder.join(format!("{handler}.log")), &output.stdout).expect("cannot write");
    if let Some(kept) = std::env::var_os("CATAMARAN_CRITEST_LOGS") {
        fs::create_dir_all(&kept).expect("cannot make a folder");
        fs::write(Path::new(&kept).join(format!("{handler}.log")), &output.stdout).expect("cannot write");
    }
    let outcomes = outcome::read(&report);
    let passed = outcomes.values().filter(|why| why.is_none()).count();
    println!("{handler}: {passed} of {} specs passed, {} s", outcomes.len(), begin.elapsed().as_secs());
    cri::remove_pods(&node);
    node.finish();
    remove_parents();
    outcomes
}

/// Removes the parent cgroups of pods that name none, which containerd makes and leaves. One in use stays.
fn remove_parents() {
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let _ = fs::remove_dir(hierarchy.path().join("k8s.io"));
    }
    let _ = fs::remove_dir("/sys/fs/cgroup/k8s.io");
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (skipped, expected) = (list::read(&here.join("skipped")), list::read(&here.join("expected")));
    let folder = Folder::make();
    let registry = Registry::serve(images::all(&provided("standin")));
    let [on_runc, on_ours] = HANDLERS.map(|handler| tried(handler, &words, &skipped, &folder.0, &registry));
    let good = compare(&on_runc, &on_ours, &expected, "tests/critest/expected");
    println!("\n{} specs skipped on both, {} differences expected", skipped.len(), expected.len());
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
