//! Catamaran for its users: manifests given to an API server, run by a kubelet, on both engines.
//!
//! - `workloads`: Deployment, Job, CronJob, and their controllers' reactions to exit codes
//! - `pods`: init and sidecar containers, probes, hooks, termination messages, OOMKilled, a resize in place
//! - `volumes`: ConfigMap, Secret, projected, downward API, subPath, emptyDir, image
//! - `security`: security contexts, the level `restricted`, RuntimeClass overhead
//! - `hands`: logs, exec, attach, port-forward, debug, the examples
//! - `documents`: the commands and manifests of the first guide and of the examples' READMEs
//! - `servers`: components that Catamaran's own HTTP server calls
//! - `restarts`: kubelet and containerd stopped and killed under running pods
//! - `times`: how soon a pod is ready, and sixty at once, compared with runc
//!
//! All of them use one cluster, each in a namespace of its own, several at a time. The words of the command line are parts of names of
//! tests to run; without words all run. The output is in the form of Rust's own test programs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

mod documents;
mod guest;
mod hands;
mod pods;
mod restarts;
mod run;
mod security;
mod servers;
mod times;
mod volumes;
mod workloads;

use std::process::ExitCode;
use std::time::Instant;

use catamaran_cluster::{Cluster, Kubernetes};

use run::Test;

fn main() -> ExitCode {
    // Options that cargo and other callers pass to Rust's own test programs are ignored.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |test: &&Test| words.is_empty() || words.iter().any(|word| test.name.contains(word.as_str()));
    let groups = [
        workloads::TESTS,
        pods::TESTS,
        volumes::TESTS,
        security::TESTS,
        hands::TESTS,
        documents::TESTS,
        servers::TESTS,
        restarts::TESTS,
        times::TESTS,
    ];
    let tests: Vec<&Test> = groups.into_iter().flatten().filter(wanted).collect();
    let begin = Instant::now();
    let cluster = Cluster::start();
    println!("{}, containerd {}", Kubernetes::provide().version, cluster.node().programs().version);
    println!("node ready after {:.1} s", begin.elapsed().as_secs_f32());
    guest::import_all(&cluster);
    let outcome = run::all(&cluster, &tests);
    let ended = Instant::now();
    cluster.expect_no_tasks();
    cluster.finish();
    println!("down after {:.1} s", ended.elapsed().as_secs_f32());
    outcome.print(begin.elapsed());
    if outcome.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
