//! A cluster for use by hand.
//!
//! ```text
//! catamaran-cluster up FOLDER     starts `hold` in the background, and returns when the cluster is ready
//! catamaran-cluster hold FOLDER   keeps a cluster until it gets a signal
//! catamaran-cluster down FOLDER   ends that one, and removes what is left of killed clusters
//! ```
//!
//! FOLDER gets `pid`, `log`, and when the cluster is ready `environment`, to be sourced, with the files that it names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "like a test: a panic is how it says that it cannot go on, and the cluster is removed by unwinding"
)]

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use catamaran_cluster::{Cluster, Kubernetes};
use catamaran_harness::{Example, guests, wait_until};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

/// How long a cluster may take to end.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["up", folder] => return up(Path::new(folder)),
        ["hold", folder] => hold(Path::new(folder)),
        ["down", folder] => down(Path::new(folder)),
        _ => {
            eprintln!("expected `up FOLDER`, `hold FOLDER` or `down FOLDER`");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// The pid in a folder, if that process exists.
fn running(folder: &Path) -> Option<Pid> {
    let text = fs::read_to_string(folder.join("pid")).ok()?;
    let pid = Pid::from_raw(text.trim().parse().ok()?);
    let program = fs::read_link(format!("/proc/{}/exe", pid)).ok()?;
    let ours = program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("catamaran-cluster"));
    ours.then_some(pid)
}

/// Removes the files that [`hold`] writes.
fn clear(folder: &Path) {
    for file in ["pid", "environment", "kubeconfig", "containerd.sock", "helm"] {
        let _ = fs::remove_file(folder.join(file));
    }
}

fn up(folder: &Path) -> ExitCode {
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
    assert!(running(folder).is_none(), "a cluster runs already: `make cluster-down` ends it");
    clear(folder);
    // Built or fetched here, where its messages are visible.
    println!("{}", Kubernetes::provide().version);
    let begin = Instant::now();
    let log = File::create(folder.join("log")).expect("cannot create a log");
    let mut holder = Command::new("setsid");
    holder.arg(std::env::current_exe().expect("this program has no path")).arg("hold").arg(folder);
    holder.stdin(Stdio::null()).stdout(log.try_clone().expect("cannot duplicate a descriptor")).stderr(log);
    let mut holder = holder.spawn().expect("cannot start the cluster's process");
    let environment = folder.join("environment");
    let ready = wait_until(LIMIT, "the cluster", || {
        let ended = holder.try_wait().expect("cannot wait for a child").is_some();
        (ended || environment.exists()).then_some(!ended)
    });
    if !ready {
        eprintln!("the cluster did not come up: {} says why", folder.join("log").display());
        return ExitCode::FAILURE;
    }
    println!("ready after {:.1} s; to use it:  . {}", begin.elapsed().as_secs_f32(), environment.display());
    ExitCode::SUCCESS
}

fn hold(folder: &Path) {
    // Before there are threads, so that all of them leave the signals to this one.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    signals.thread_block().expect("cannot block signals");
    fs::write(folder.join("pid"), std::process::id().to_string()).expect("cannot write");
    let cluster = Cluster::start();
    for name in Example::all() {
        cluster.import_example(&name);
    }
    cluster.import(&guests::busybox());
    let text = environment(&cluster, folder);
    let unfinished = folder.join("environment.new");
    fs::write(&unfinished, text)
        .and_then(|()| fs::rename(unfinished, folder.join("environment")))
        .expect("cannot write");
    signals.wait().expect("cannot wait for a signal");
    cluster.finish();
    clear(folder);
}

/// The file for a user's shell to source. It never contains the name of the node's folder, because the harness ends every process with that
/// name in its environment together with the node.
fn environment(cluster: &Cluster, folder: &Path) -> String {
    let folder = fs::canonicalize(folder).expect("a folder");
    let programs = Kubernetes::provide();
    fs::copy(cluster.kubectl().config(), folder.join("kubeconfig")).expect("cannot copy the kubeconfig");
    for (name, target) in [("containerd.sock", cluster.node().socket()), ("helm", programs.helm.clone())] {
        let _ = fs::remove_file(folder.join(name));
        symlink(&target, folder.join(name)).unwrap_or_else(|error| panic!("cannot make a link to {target:?}: {error}"));
    }
    let folder = folder.display();
    format!(
        "export KUBECONFIG='{folder}/kubeconfig'\nexport CONTAINER_RUNTIME_ENDPOINT='unix://{folder}/containerd.sock'\n\
         export PATH='{}':'{folder}':\"$PATH\"\n",
        programs.folder().display(),
    )
}

fn down(folder: &Path) {
    if let Some(pid) = running(folder) {
        kill(pid, Signal::SIGTERM).expect("cannot signal the cluster's process");
        wait_until(LIMIT, "the cluster to end", || running(folder).is_none().then_some(()));
    }
    clear(folder);
    catamaran_cluster::sweep();
}
