//! The page `/metrics`: Prometheus' text format 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::board::Board;
use super::reconciler::{INSTALLS, RECONCILES, UNINSTALLS};
use crate::counters::{self, Size};
use crate::handler::ENGINES;
use crate::host::Host;

const TIERS: [&str; 2] = ["best", "fast"];
const WORLDS: [&str; 2] = ["command", "http"];
const ORIGINS: [&str; 3] = ["best", "fast", "uncached"];
const CAUSES: [&str; 3] = ["wasmtime", "wasmer", "native"];
const REASONS: [&str; 10] =
    ["spec", "node", "module", "engine", "compiler", "hook", "logger", "runtime", "worker", "system"];

/// A metric that shims count.
struct Counted {
    /// The first word of its lines in the counters.
    line: &'static str,
    name: &'static str,
    help: &'static str,
    /// The labels of the line's further words, in order, each with the values that are shown before anything is counted.
    labels: &'static [(&'static str, &'static [&'static str])],
    /// The divisor of a count.
    unit: f64,
}

const COUNTED: [Counted; 12] = [
    Counted {
        line: "starts",
        name: "catamaran_starts_total",
        help: "Started guests, containers and execs, by engine, world (http: servers) and machine code: best (optimised), fast, or uncached (no room in the cache).",
        labels: &[("engine", &ENGINES), ("world", &WORLDS), ("origin", &ORIGINS)],
        unit: 1.0,
    },
    Counted {
        line: "refused",
        name: "catamaran_refusals_total",
        help: "Containers that were not created, by reason.",
        labels: &[("reason", &REASONS)],
        unit: 1.0,
    },
    Counted {
        line: "compiled",
        name: "catamaran_compiles_total",
        help: "Compile processes that ended, by engine and tier.",
        labels: &[("engine", &ENGINES), ("tier", &TIERS)],
        unit: 1.0,
    },
    Counted {
        line: "compile_milliseconds",
        name: "catamaran_compile_seconds_total",
        help: "The time that compile processes ran, in seconds.",
        labels: &[("engine", &ENGINES), ("tier", &TIERS)],
        unit: 1000.0,
    },
    Counted {
        line: "failures",
        name: "catamaran_compile_failures_total",
        help: "Orders for machine code that failed without the module's fault.",
        labels: &[("engine", &ENGINES)],
        unit: 1.0,
    },
    Counted {
        line: "refusals",
        name: "catamaran_modules_refused_total",
        help: "Modules that a compiler refused.",
        labels: &[("engine", &ENGINES)],
        unit: 1.0,
    },
    Counted {
        line: "hits",
        name: "catamaran_cache_hits_total",
        help: "Starts whose machine code was in the cache.",
        labels: &[("engine", &ENGINES)],
        unit: 1.0,
    },
    Counted {
        line: "misses",
        name: "catamaran_cache_misses_total",
        help: "Starts that waited for their machine code.",
        labels: &[("engine", &ENGINES)],
        unit: 1.0,
    },
    Counted {
        line: "evictions",
        name: "catamaran_cache_evictions_total",
        help: "Entries that were removed because the cache was full.",
        labels: &[("engine", &ENGINES)],
        unit: 1.0,
    },
    Counted {
        line: "traps",
        name: "catamaran_traps_total",
        help: "Guests that ended with 134, the exit code of a trap.",
        labels: &[("engine", &ENGINES)],
        unit: 1.0,
    },
    Counted {
        line: "oom_kills",
        name: "catamaran_oom_kills_total",
        help: "Kills by the kernel because a container's cgroup ran out of memory; native: containers without an engine.",
        labels: &[("engine", &CAUSES)],
        unit: 1.0,
    },
    Counted {
        line: "shim_deaths",
        name: "catamaran_shim_deaths_total",
        help: "Pods that were cleaned up after their shim had died or did not answer.",
        labels: &[],
        unit: 1.0,
    },
];

/// This process's metrics: the results of its passes.
const PASSES: [(&str, &str, &[&str]); 3] = [
    (
        INSTALLS,
        "Installations since this installer started, by result.",
        &["changed", "unchanged", "restart-needed", "refused", "failed", "rolled-back"],
    ),
    (
        RECONCILES,
        "Checks of the node in the mode install, by result; the first installation counts as mended.",
        &["intact", "mended", "failed"],
    ),
    (
        UNINSTALLS,
        "Uninstallations since this installer started, by result.",
        &["changed", "unchanged", "restart-needed", "refused", "failed", "rolled-back"],
    ),
];

/// The whole page.
pub(crate) fn text(host: &Host, board: &Board) -> String {
    let mut page = Page::default();
    let told = board.told();
    page.head("catamaran_build_info", "gauge", "Always 1; the label is the version that this installer installs.");
    page.sample("catamaran_build_info", &[("version", &told.version)], 1.0);
    page.gauge(
        "catamaran_node_ready",
        "1 while pods of the handler can run on this node (/readyz answers 200), else 0.",
        f64::from(u8::from(told.node_ready)),
    );
    let passes = board.passes();
    for (name, help, results) in PASSES {
        page.head(name, "counter", help);
        for result in results {
            let count = passes.get(&(name, *result)).copied().unwrap_or(0);
            page.sample(name, &[("result", result)], count as f64);
        }
    }
    let counters = counters::read(host);
    for counted in &COUNTED {
        page.head(counted.name, "counter", counted.help);
        for (words, value) in values(counted, &counters) {
            let labels: Vec<_> = counted.labels.iter().map(|(name, _)| *name).zip(words).collect();
            page.sample(counted.name, &labels, value as f64 / counted.unit);
        }
    }
    page.gauge(
        "catamaran_compile_queue",
        "Starts that wait for machine code, including those whose module is being compiled.",
        counters::queue(host) as f64,
    );
    let size = Size::read(host);
    page.gauge("catamaran_cache_bytes", "The size of the cache on the disk, in bytes.", size.bytes as f64);
    page.gauge("catamaran_cache_entries", "The number of artifacts in the cache.", size.entries as f64);
    page.0
}

/// A metric's values by its labels' values: the known ones, and others that a newer version counted.
fn values<'c>(counted: &Counted, counters: &'c BTreeMap<String, u64>) -> BTreeMap<Vec<&'c str>, u64> {
    let mut known: Vec<Vec<&str>> = vec![Vec::new()];
    for (_, values) in counted.labels {
        let longer = |words: &Vec<&'static str>| {
            values.iter().map(|value| [words.as_slice(), &[*value]].concat()).collect::<Vec<_>>()
        };
        known = known.iter().flat_map(longer).collect();
    }
    let mut all: BTreeMap<Vec<&str>, u64> = known.into_iter().map(|words| (words, 0)).collect();
    for (line, value) in counters {
        let mut words = line.split('.');
        if words.next() == Some(counted.line) {
            let words: Vec<&str> = words.collect();
            // A line of fewer words is the sum of others.
            if words.len() == counted.labels.len() {
                all.insert(words, *value);
            }
        }
    }
    all
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> = labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escaped(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use catamaran_reference::{code, matches, plain};

    use super::*;
    use crate::serve::board::State;
    use crate::serve::mode::Mode;
    use crate::tree::Tree;

    #[test]
    fn every_metric_has_a_head_and_all_its_samples_below_it() {
        let mut tree = Tree::new();
        tree.file(
            "var/lib/catamaran/counters",
            "hits 3\nhits.wasmtime 3\nstarts.wasmer.command.fast 2\nstarts.wasmtime.http.fast 3\nstarts.newer.http.best 1\ncompiled.wasmer.fast 2\n\
             compile_milliseconds.wasmer.fast 2500\nrefused.module 4\noom_kills.native 1\nshim_deaths 5\ntraps 9\n",
        );
        let board = Board::new("catamaran", "0.1.0-0123456789ab");
        let host = tree.host();
        assert!(text(&host, &board).contains("\ncatamaran_node_ready 0\n"));
        board.tell(Some(Mode::Install), State::Ready, "runs");
        board.count(RECONCILES, "intact");
        let text = text(&host, &board);
        for line in [
            "catamaran_build_info{version=\"0.1.0-0123456789ab\"} 1",
            "catamaran_node_ready 1",
            "catamaran_reconciles_total{result=\"intact\"} 1",
            "catamaran_installs_total{result=\"rolled-back\"} 0",
            "catamaran_cache_hits_total{engine=\"wasmtime\"} 3",
            "catamaran_cache_hits_total{engine=\"wasmer\"} 0",
            "catamaran_starts_total{engine=\"wasmer\",world=\"command\",origin=\"fast\"} 2",
            "catamaran_starts_total{engine=\"wasmtime\",world=\"http\",origin=\"fast\"} 3",
            "catamaran_starts_total{engine=\"wasmtime\",world=\"http\",origin=\"best\"} 0",
            "catamaran_starts_total{engine=\"wasmtime\",world=\"command\",origin=\"uncached\"} 0",
            "catamaran_starts_total{engine=\"newer\",world=\"http\",origin=\"best\"} 1",
            "catamaran_compile_seconds_total{engine=\"wasmer\",tier=\"fast\"} 2.5",
            "catamaran_refusals_total{reason=\"module\"} 4",
            "catamaran_oom_kills_total{engine=\"native\"} 1",
            "catamaran_shim_deaths_total 5",
            "catamaran_traps_total{engine=\"wasmtime\"} 0",
            "catamaran_compile_queue 0",
            "catamaran_cache_entries 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        let mut name = "";
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# TYPE ") {
                name = head.split(' ').next().unwrap();
                assert_eq!(text.matches(&format!("# TYPE {name} ")).count(), 1);
            } else if !line.starts_with('#') {
                assert_eq!(line.split(['{', ' ']).next(), Some(name), "{line}");
            }
        }
        assert!(text.ends_with('\n') && !text.contains("traps_total 9"));
    }

    /// A metric's labels in the page, each with the values that are shown before anything is counted.
    fn labels(page: &str, name: &str) -> String {
        let mut labels = Vec::<(&str, Vec<&str>)>::new();
        for line in page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split('}').next()) {
            for (key, value) in line.split(',').filter_map(|pair| pair.split_once('=')) {
                let at = labels.iter().position(|(known, _)| *known == key).unwrap_or(labels.len());
                if at == labels.len() {
                    labels.push((key, Vec::new()));
                }
                let values = &mut labels[at].1;
                if !values.contains(&value) {
                    values.push(value);
                }
            }
        }
        let told = |(key, values): (&str, Vec<&str>)| match values.as_slice() {
            [_] => code(key),
            values => {
                let mut values: Vec<_> = values.iter().map(|value| code(value.trim_matches('"'))).collect();
                values.sort();
                format!("{}: {}", code(key), values.join(", "))
            }
        };
        labels.into_iter().map(told).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn the_reference_has_every_metric() {
        let page = text(&Tree::new().host(), &Board::new("catamaran", "0.1.0"));
        let heads = page.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
        let rows: Vec<_> = heads.map(|(name, help)| [code(name), labels(&page, name), plain(help)]).collect();
        assert!(rows.len() > COUNTED.len() + PASSES.len(), "{rows:?}");
        matches("metrics", ["name", "labels", "meaning"], rows);
    }

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.sample("m", &[("l", "a\"b\\c\nd")], 1.0);
        assert_eq!(page.0, "m{l=\"a\\\"b\\\\c\\nd\"} 1\n");
    }
}
