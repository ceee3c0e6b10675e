//! The table in `README.md` of preview 1's functions, and the tests that cover each of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use catamaran_suites::{CPython, GoPackages, Suite as _};

/// The number of preview 1's functions.
const FUNCTIONS: usize = 46;
/// The reasons for which no test covers a function.
const UNCOVERED: [&str; 2] = ["no C library calls it", "a module gets no sockets"];

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of the table, by their cells.
fn rows() -> Vec<Vec<String>> {
    let text = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let (_, table) = text.split_once("| function | on Wasmtime | on Wasmer |\n").expect("the table's head");
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    table.lines().skip(1).take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// The words of a cell that are set as code.
fn words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_table_has_each_function_of_preview_1_once() {
    let rows = rows();
    let named: Vec<&str> = rows.iter().flat_map(|row| words(&row[0])).collect();
    let calls = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/wasix/calls.txt"));
    let known: BTreeSet<&str> = calls.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    let unknown: Vec<&&str> = named.iter().filter(|name| !known.contains(**name)).collect();
    assert!(unknown.is_empty(), "{unknown:?} are no functions");
    assert_eq!((named.len(), named.iter().collect::<BTreeSet<_>>().len()), (FUNCTIONS, FUNCTIONS));
}

#[test]
fn each_test_that_the_table_names_exists() {
    let integration = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../integration/tests");
    let mut seen = 0;
    for row in rows() {
        assert_eq!(row.len(), 3, "{row:?}");
        for cell in row[1..].iter().filter(|cell| *cell != "the same" && !UNCOVERED.contains(&cell.as_str())) {
            assert!(!words(cell).is_empty(), "{cell:?} names no test");
            for word in words(cell) {
                let (file, test) = word.split_once(": ").unwrap_or_else(|| panic!("`{word}` is no `FILE: TEST`"));
                let exists = match file {
                    "cpython" => CPython.parts().contains(&test),
                    "go" => GoPackages::default().parts().contains(&test),
                    _ => read(&integration.join(file).with_extension("rs")).contains(&format!("fn {test}(")),
                };
                assert!(exists, "there is no `{word}`");
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "{seen} tests");
}
