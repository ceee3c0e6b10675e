//! The tables of docs/engines.md, which `make engines BLESS=1` writes.
//!
//! Each stands between two comments, `<!-- table: NAME -->` and `<!-- end of table -->`; the text around them is written by hand.

mod markdown;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::PathBuf;

use crate::programs::start::Start;
use crate::programs::work::Work;

use markdown::{parts, rows, table};

/// The page.
pub const DOCUMENT: &str = "docs/engines.md";

const CHOICE: [&str; 3] = ["a program that spends its time on", "choose", "run on Wasmer / on Wasmtime"];
const RUNS: [&str; 6] =
    ["ms", "Wasmtime: run", "Wasmer: run", "Wasmer / Wasmtime", "Wasmtime: processor", "Wasmer: processor"];
const STARTS: [&str; 7] = [
    "ms, MB",
    "Wasmtime: first start",
    "Wasmer: first start",
    "Wasmtime: later start",
    "Wasmer: later start",
    "Wasmtime: peak memory",
    "Wasmer: peak memory",
];
/// A smaller difference between the engines is less than that between two runs on a busy machine.
const MATTERS: f64 = 0.1;

/// A figure of each engine, to a tenth, as the page has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    wasmtime: f64,
    wasmer: f64,
}

/// What a work took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taken {
    /// Milliseconds from the start to the end.
    pub run: Pair,
    /// Milliseconds of processor time.
    pub processor: Pair,
}

/// What a start took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Started {
    /// Milliseconds, with a compile.
    pub first: Pair,
    /// Milliseconds, with the code in the cache.
    pub later: Pair,
    /// Megabytes at most.
    pub memory: Pair,
}

/// All figures of the page, in the order of the tables.
#[derive(Debug, PartialEq)]
pub struct Figures {
    /// A figure for each of [`Work::ALL`].
    pub works: Vec<Taken>,
    /// One for each of [`Start::ALL`].
    pub starts: Vec<Started>,
}

impl Pair {
    /// The figures of both, which are rounded so that the ratio is that of the rounded ones.
    pub fn new(wasmtime: f64, wasmer: f64) -> Self {
        let tenth = |value: f64| (value * 10.0).round() / 10.0;
        Self { wasmtime: tenth(wasmtime), wasmer: tenth(wasmer) }
    }

    /// Reads two cells.
    fn parse(wasmtime: &str, wasmer: &str) -> Option<Self> {
        Some(Self::new(wasmtime.parse().ok()?, wasmer.parse().ok()?))
    }

    fn cells(self) -> [String; 2] {
        [self.wasmtime, self.wasmer].map(|value| format!("{value:.1}"))
    }

    fn ratio(self) -> f64 {
        self.wasmer / self.wasmtime
    }

    /// The engine to choose by these times.
    fn choice(self) -> &'static str {
        match self.ratio() {
            ratio if ratio < 1.0 - MATTERS => "Wasmer",
            ratio if ratio > 1.0 + MATTERS => "Wasmtime",
            _ => "either",
        }
    }
}

impl Figures {
    /// The tables, by their names.
    fn tables(&self) -> [(&'static str, String); 3] {
        let works = || Work::ALL.into_iter().zip(&self.works);
        let ratio = |taken: &Taken| format!("{:.2}", taken.run.ratio());
        let choice =
            works().map(|(work, taken)| [work.title().to_owned(), taken.run.choice().to_owned(), ratio(taken)]);
        let runs = works().map(|(work, taken)| {
            let ([wasmtime, wasmer], [first, second]) = (taken.run.cells(), taken.processor.cells());
            [work.title().to_owned(), wasmtime, wasmer, ratio(taken), first, second]
        });
        let starts = Start::ALL.into_iter().zip(&self.starts).map(|(start, taken)| {
            let ([a, b], [c, d], [e, f]) = (taken.first.cells(), taken.later.cells(), taken.memory.cells());
            [start.title().to_owned(), a, b, c, d, e, f]
        });
        [("choice", table(CHOICE, choice)), ("runs", table(RUNS, runs)), ("starts", table(STARTS, starts))]
    }

    /// The tables, one below the other.
    pub fn text(&self) -> String {
        self.tables().map(|(_, table)| table).join("\n")
    }

    /// The page with these figures in place of its own.
    pub fn written(&self, page: &str) -> String {
        self.tables().iter().fold(page.to_owned(), |page, (name, table)| {
            let (before, _, after) = parts(&page, name);
            [before, table, after].concat()
        })
    }

    /// The page's own figures.
    ///
    /// # Panics
    /// When a row or a number is missing.
    pub fn read(page: &str) -> Self {
        let pair = |row: &[String], at: usize| {
            Pair::parse(&row[at], &row[at + 1])
                .unwrap_or_else(|| panic!("{DOCUMENT} has no numbers in the row {row:?}"))
        };
        let works = rows(page, "runs", RUNS.len());
        let starts = rows(page, "starts", STARTS.len());
        Self {
            works: works.iter().map(|row| Taken { run: pair(row, 1), processor: pair(row, 4) }).collect(),
            starts: starts
                .iter()
                .map(|row| Started { first: pair(row, 1), later: pair(row, 3), memory: pair(row, 5) })
                .collect(),
        }
    }
}

/// The path of the page.
pub fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(DOCUMENT)
}

/// The page as it is.
///
/// # Panics
/// When it cannot be read.
pub fn text() -> String {
    fs::read_to_string(path()).unwrap_or_else(|error| panic!("cannot read {DOCUMENT}: {error}"))
}
