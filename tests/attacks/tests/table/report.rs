//! The printed table.

use catamaran_attacks::Outcome;
use catamaran_harness::Engine;

/// One row: an attack, its attacker, and its outcome.
pub(crate) struct Line {
    attack: String,
    by: &'static str,
    outcome: Outcome,
    without_filter: Option<Outcome>,
    denied_by: String,
}

impl Line {
    pub(crate) fn guest(attack: &str, engine: Engine, also: &str, outcome: Outcome) -> Self {
        let by = match engine {
            Engine::Wasmtime => "guest, wasmtime",
            Engine::Wasmer => "guest, wasmer",
        };
        Self { attack: attack.to_owned(), by, outcome, without_filter: None, denied_by: also.to_owned() }
    }

    pub(crate) fn native(attack: &str, also: &str, outcome: &Outcome, without: Option<&Outcome>) -> Self {
        let denied_by = deniers(outcome, without, also);
        let (outcome, without_filter) = (outcome.clone(), without.cloned());
        Self { attack: attack.to_owned(), by: "native", outcome, without_filter, denied_by }
    }

    /// From a native sidecar, on a worker of that engine.
    pub(crate) fn sidecar(attack: &str, engine: Engine, outcome: Outcome) -> Self {
        let by = match engine {
            Engine::Wasmtime => "sidecar, wasmtime",
            Engine::Wasmer => "sidecar, wasmer",
        };
        let denied_by = "cloned inside its tree, by nobody's user".to_owned();
        Self { attack: attack.to_owned(), by, outcome, without_filter: None, denied_by }
    }

    /// From a process that was executed in a container.
    pub(crate) fn executed(attack: &str, also: &str, outcome: &Outcome, without: Option<&Outcome>) -> Self {
        Self { by: "native, exec", ..Self::native(attack, also, outcome, without) }
    }

    /// Returns the attack's name and gain, if it gained anything.
    pub(crate) fn broken_through(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Open(text) => Some(format!("{} ({}): {text}", self.attack, self.by)),
            Outcome::Denied(_) | Outcome::Absent(_) => None,
        }
    }
}

/// What denied an attack: the filter alone, if the attack succeeds without it; else its other obstacles, after the filter if the filter
/// answered.
fn deniers(filtered: &Outcome, without: Option<&Outcome>, also: &str) -> String {
    let by_filter = matches!(filtered, Outcome::Denied(text) if text.contains("ENOSYS") || text.contains("SIGSYS"));
    match (by_filter, without) {
        (_, Some(Outcome::Open(_))) => "filter alone".to_owned(),
        (true, _) if also.is_empty() => "filter, the kernel itself".to_owned(),
        (true, _) => format!("filter, {also}"),
        (false, _) => also.to_owned(),
    }
}

/// The cgroup version that this machine runs containers on, 1 or 2.
fn cgroup_version() -> &'static str {
    const CGROUP2: i64 = 0x6367_7270;
    let unified = rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|s| s.f_type == CGROUP2);
    if unified { "v2" } else { "v1" }
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Denied(text) | Outcome::Absent(text) => text.clone(),
        Outcome::Open(text) => format!("THROUGH: {text}"),
    }
}

fn without(outcome: Option<&Outcome>) -> String {
    match outcome {
        None => "-".to_owned(),
        Some(Outcome::Open(text)) => format!("OPEN: {text}"),
        Some(denied) => words(denied),
    }
}

/// Prints the table and its sums on standard output.
pub(crate) fn print(lines: &[Line]) {
    let cgroup = cgroup_version();
    let head = ["attack", "by", "cgroup", "outcome", "with our filter off", "denied by"].map(str::to_owned);
    let row = |line: &Line| {
        [
            line.attack.clone(),
            line.by.to_owned(),
            cgroup.to_owned(),
            words(&line.outcome),
            without(line.without_filter.as_ref()),
            line.denied_by.clone(),
        ]
    };
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(lines.iter().map(row)).collect();
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3, 4].map(width);
    for row in &rows {
        let cells = row[..5].iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("{} | {}", cells.collect::<Vec<_>>().join(" | "), row[5]);
    }
    let through = lines.iter().filter(|line| line.broken_through().is_some()).count();
    let absent = lines.iter().filter(|line| matches!(line.outcome, Outcome::Absent(_))).count();
    let alone = lines.iter().filter(|line| matches!(line.without_filter, Some(Outcome::Open(_)))).count();
    println!(
        "\n{} attacks, {through} through, {absent} that this machine cannot try, {alone} denied by our filter alone",
        lines.len()
    );
}
