//! The report of a run, as `bench.json` in cargo's target folder.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use catamaran_harness::{Node, shim_folder};
use serde::Serialize;

use crate::contender::{Contender, said};
use crate::plan::Plan;
use crate::rows::{InWords, Row, Words};
use crate::samples::Samples;
use crate::servers::{Server, ServerRow};

/// Everything about one run.
#[derive(Serialize)]
pub(crate) struct Report {
    /// In UTC.
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) versions: BTreeMap<String, String>,
    /// Cargo's profile of our own programs, from their folder's name: figures of `debug` must not be quoted.
    pub(crate) build: String,
    pub(crate) plan: Plan,
    #[serde(flatten)]
    pub(crate) shims: Table<Row>,
    pub(crate) servers: Table<ServerRow>,
}

/// Rows with the same columns.
#[derive(Serialize)]
pub(crate) struct Table<R: InWords> {
    /// The columns, ours first.
    pub(crate) contenders: Vec<String>,
    /// The number of ours.
    pub(crate) ours: usize,
    #[serde(rename = "rows", serialize_with = "rows")]
    pub(crate) samples: Samples<R>,
}

/// The machine that it ran on.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
}

/// A row with its figures.
#[derive(Serialize)]
struct Figures {
    #[serde(flatten)]
    words: Words,
    medians: BTreeMap<String, Option<f64>>,
    samples: BTreeMap<String, Vec<f64>>,
    failures: BTreeMap<String, usize>,
}

fn rows<R: InWords, S: serde::Serializer>(samples: &Samples<R>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(samples.rows().into_iter().map(|row| {
        let all = samples.values_of(row);
        let medians = all.keys().map(|name| (name.clone(), samples.median(row, name))).collect();
        Figures { words: row.words(), medians, samples: all, failures: samples.failures_of(row) }
    }))
}

impl Report {
    pub(crate) fn new(
        node: &Node,
        contenders: &[Contender],
        samples: Samples,
        servers: &[Server<'_>],
        of_servers: Samples<ServerRow>,
        plan: Plan,
    ) -> Self {
        let mut versions: BTreeMap<String, String> =
            contenders.iter().map(|contender| (format!("shim {}", contender.name), contender.version(node))).collect();
        versions.insert("containerd".into(), node.programs().version.clone());
        versions.insert("runc".into(), said(Command::new(&node.programs().runc).arg("--version")));
        let build = shim_folder().file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self {
            date: said(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])),
            machine: Machine::here(),
            versions,
            build,
            plan,
            shims: Table {
                contenders: contenders.iter().map(|contender| contender.name.clone()).collect(),
                ours: contenders.iter().filter(|contender| contender.is_ours()).count(),
                samples,
            },
            servers: Table {
                contenders: servers.iter().map(|server| server.name.clone()).collect(),
                ours: servers.iter().filter(|server| server.is_ours()).count(),
                samples: of_servers,
            },
        }
    }

    /// Writes `bench.json`.
    pub(crate) fn write(&self) {
        let path = target_folder().join("bench.json");
        let text = serde_json::to_string_pretty(self).expect("a report is JSON");
        fs::create_dir_all(target_folder())
            .and_then(|()| fs::write(&path, text + "\n"))
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        println!("every sample: {}", path.display());
    }
}

impl Machine {
    fn here() -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        // Not every architecture has this line.
        let model = cpus.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim()));
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        Self { kernel, cpu: model.unwrap_or(env::consts::ARCH).to_owned(), cores }
    }
}

fn target_folder() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    env::var_os("CARGO_TARGET_DIR").map_or_else(default, PathBuf::from)
}
