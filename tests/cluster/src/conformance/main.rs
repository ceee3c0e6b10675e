//! Kubernetes' own end-to-end suite on a node whose default runtime is Catamaran, and on one whose default is runc: `make conformance`.
//!
//! ```text
//! catamaran-conformance [--on runc] [--on catamaran] [--sample] [WORD...]
//!
//! provision-suite         builds the suite and agnhost from Kubernetes' Go module
//! conformance/skipped     specs that cannot run here, on either runtime
//! conformance/expected    specs that pass on runc alone, and why
//! conformance/sample      the specs of `--sample`
//! ```
//!
//! No pod of the suite names a runtime class, so all of them run on the node's default runtime. Without words these specs run: of node,
//! storage and apps, [Conformance] and [NodeConformance], neither [Serial], [Slow] nor [Disruptive]. WORDs are parts of names of specs to
//! run instead. A spec that passes on runc alone fails the run unless it is expected, and so does an expected one that passes.
//!
//! `CATAMARAN_CONFORMANCE_LOGS` names a folder that gets the suite's whole output, `CATAMARAN_CONFORMANCE_LIMIT` another limit than 75m.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "like a test: a panic is how it says that it cannot go on, and the cluster is removed by unwinding"
)]

mod images;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use catamaran_cluster::{Cluster, Kubernetes, Suite};
use catamaran_critest::{Outcomes, Registry, compare, list, outcome, quoted};
use catamaran_harness::{cri, die_with_parent, scratch, spawn};

/// runc, the reference, and ours.
const RUNTIMES: [&str; 2] = ["runc", "catamaran"];
const CHOSEN: &str = "(Conformance || NodeConformance) && (sig-node || sig-storage || sig-apps) && !Serial && !Slow && !Disruptive \
                      && Feature: isEmpty";
/// The specs that words choose from: all except those of features that must be switched on.
const OF_WORDS: &str = "Feature: isEmpty";
/// The number of concurrent specs: most of the time they wait.
const AT_ONCE: u32 = 8;
const LIMIT: &str = "75m";
/// The variable for another limit, such as `20m`. Specs that have not begun by then do not count.
const LIMIT_NAME: &str = "CATAMARAN_CONFORMANCE_LIMIT";

/// The parsed command line.
struct Order {
    runtimes: Vec<String>,
    words: Vec<String>,
}

impl Order {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut order = Self { runtimes: Vec::new(), words: Vec::new() };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--on" => match words.next() {
                    Some(name) if RUNTIMES.contains(&name.as_str()) => order.runtimes.push(name),
                    other => return Err(format!("--on {other:?}: expected `runc` or `catamaran`")),
                },
                "--sample" => order.words.extend(listed("sample").into_keys()),
                _ => order.words.push(word),
            }
        }
        if order.runtimes.is_empty() {
            order.runtimes = RUNTIMES.map(str::to_owned).to_vec();
        }
        Ok(order)
    }
}

fn listed(name: &str) -> BTreeMap<String, String> {
    list::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance").join(name))
}

/// A folder that is removed when this is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the suite on a node with this default runtime.
fn run(runtime: &str, order: &Order, suite: &Suite, registry: &Registry, folder: &Path) -> Outcomes {
    let default = format!("[plugins.'io.containerd.cri.v1.runtime'.containerd]\n  default_runtime_name = '{runtime}'");
    let options = cri::options().config(&registry.configuration(folder)).config(&default);
    let cluster = Cluster::start_with(options);
    println!("{runtime}: {}, containerd {}", suite.version, cluster.node().programs().version);
    let report = format!("{runtime}.json");
    let limit = std::env::var(LIMIT_NAME).unwrap_or_else(|_| LIMIT.to_owned());
    let mut ginkgo = die_with_parent(&suite.program("ginkgo"));
    ginkgo.current_dir(folder).stdin(Stdio::null()).env("HOME", folder).env("TMPDIR", folder);
    ginkgo.args(["--no-color", "--keep-going", &format!("--procs={AT_ONCE}"), &format!("--timeout={limit}")]);
    ginkgo.args([format!("--output-dir={}", folder.display()), format!("--json-report={report}")]);
    ginkgo.args(listed("skipped").keys().map(|name| format!("--skip={}", quoted(name))));
    let filter = if order.words.is_empty() { CHOSEN } else { OF_WORDS };
    ginkgo.arg(format!("--label-filter={filter}"));
    ginkgo.args(order.words.iter().map(|word| format!("--focus={}", quoted(word))));
    ginkgo.arg(suite.program("e2e.test")).arg("--");
    ginkgo.arg(format!("--kubeconfig={}", cluster.kubectl().config().display()));
    ginkgo.arg(format!("--kubectl-path={}", Kubernetes::provide().program("kubectl").display()));
    ginkgo.arg(format!("--kubelet-root-dir={}", cluster.node().dir().join("kubelet").display()));
    ginkgo.arg(format!("--container-runtime-endpoint=unix://{}", cluster.node().socket().display()));
    ginkgo.arg(format!("--e2e-output-dir={}", folder.display()));
    ginkgo.args(["--dump-logs-on-failure=false", "--disable-log-dump", "--prepull-images=false"]);
    let kept = std::env::var_os("CATAMARAN_CONFORMANCE_LOGS").map_or_else(|| folder.to_owned(), PathBuf::from);
    fs::create_dir_all(&kept).expect("cannot make a folder");
    let log = fs::File::create(kept.join(format!("{runtime}.log"))).expect("cannot create a log");
    ginkgo.stdout(log.try_clone().expect("cannot duplicate a log")).stderr(log);
    let begin = Instant::now();
    let status = spawn(ginkgo).expect("cannot start ginkgo").wait().expect("cannot wait for ginkgo");
    let report = folder.join(report);
    if !report.exists() {
        let text = fs::read_to_string(kept.join(format!("{runtime}.log"))).unwrap_or_default();
        panic!("the suite broke off with {status}:\n{}", text.lines().rev().take(40).collect::<Vec<_>>().join("\n"));
    }
    let outcomes = outcome::read(&report);
    let passed = outcomes.values().filter(|why| why.is_none()).count();
    println!("{runtime}: {passed} of {} specs passed, {} s", outcomes.len(), begin.elapsed().as_secs());
    let _ = fs::copy(&report, kept.join(format!("{runtime}.json")));
    cluster.expect_no_tasks();
    cluster.finish();
    outcomes
}

/// Prints the passed specs of each group, side by side.
fn table(all: &[(&String, Outcomes)]) {
    let group =
        |name: &str| name.split_once(']').map_or("other", |(group, _)| group.trim_start_matches('[')).to_owned();
    let mut groups: Vec<String> =
        all.iter().flat_map(|(_, outcomes)| outcomes.keys().map(|name| group(name))).collect();
    groups.sort();
    groups.dedup();
    println!("\n{:14}{}", "", all.iter().map(|(runtime, _)| format!("{runtime:>16}")).collect::<String>());
    for one in groups {
        let cell = |outcomes: &Outcomes| {
            let of_group: Vec<_> = outcomes.iter().filter(|(name, _)| group(name) == one).collect();
            let passed = of_group.iter().filter(|(_, why)| why.is_none()).count();
            format!("{:>16}", format!("{passed} of {}", of_group.len()))
        };
        println!("{one:14}{}", all.iter().map(|(_, outcomes)| cell(outcomes)).collect::<String>());
    }
}

/// Prints the failures; returns whether there are none.
fn failures(outcomes: &Outcomes) -> bool {
    for (name, why) in outcomes.iter().filter_map(|(name, why)| Some((name, why.as_ref()?))) {
        println!("\nfails: {name}");
        why.lines().take(20).for_each(|line| println!("    {line}"));
    }
    outcomes.values().all(Option::is_none)
}

fn main() -> ExitCode {
    let order = match Order::parse(std::env::args().skip(1)) {
        Ok(order) => order,
        Err(trouble) => {
            eprintln!("{trouble}");
            return ExitCode::from(2);
        }
    };
    let suite = Suite::provide();
    let folder = Folder(scratch());
    let registry = Registry::serve(images::all(&suite));
    let all: Vec<_> =
        order.runtimes.iter().map(|name| (name, run(name, &order, &suite, &registry, &folder.0))).collect();
    table(&all);
    let ran = all.iter().all(|(_, outcomes)| !outcomes.is_empty());
    assert!(ran, "no spec has such a name: {:?}", order.words);
    let good = match &all[..] {
        [(_, on_runc), (_, on_ours)] => {
            let mut expected = listed("expected");
            // Only the specs that ran.
            expected.retain(|name, _| on_runc.contains_key(name));
            compare(on_runc, on_ours, &expected, "tests/cluster/conformance/expected")
        }
        _ => all.iter().all(|(_, outcomes)| failures(outcomes)),
    };
    println!(
        "\n{} specs or groups of them are skipped on both, {} differences are expected",
        listed("skipped").len(),
        listed("expected").len()
    );
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
