//! docs/reference.md as a whole. Its tables are compared by unit tests of the crates that have them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says that it failed"
)]

use catamaran_reference::{keys, repository, sources, tables};

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// The tables that a crate's test compares.
#[test]
fn every_table_of_the_reference_is_made_from_the_code() {
    let mut texts = String::new();
    let mut left = vec![repository().join("shim")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            texts += &std::fs::read_to_string(path).unwrap();
        }
    }
    let texts: String = texts.split_whitespace().collect::<Vec<_>>().join(" ");
    let tables = tables();
    assert!(tables.len() > 5, "{tables:?}");
    for table in tables {
        let calls = ["(", "( "].map(|begin| format!("matches{begin}\"{table}\","));
        assert!(calls.iter().any(|call| texts.contains(call)), "no test of a crate compares the table {table:?}");
    }
}

#[test]
fn every_variable_that_a_program_reads_is_in_the_reference_and_no_other() {
    let sources = sources::shipped();
    let found = sources::variables(&sources);
    let of = |node: bool| {
        let names = found.iter().filter(|(program, _)| (*program == "node") == node).map(|(_, name)| name.clone());
        let mut names = sorted(names.collect());
        names.dedup();
        names
    };
    assert_eq!(of(false), sorted(keys("variables of the shim")));
    assert_eq!(of(true), sorted(keys("variables of catamaran")));
}

#[test]
fn every_variable_of_guests_is_in_the_reference() {
    let sources = sources::shipped();
    assert_eq!(
        sources::unnamed(&sources),
        Vec::<String>::new(),
        "give the variable a constant, and a row in the reference"
    );
    let named = sources.iter().find(|source| source.path.ends_with("shim/worker/src/variables.rs")).unwrap();
    let names: Vec<_> =
        named.text.lines().filter_map(|line| line.strip_prefix("pub const ")?.split('"').nth(1)).collect();
    assert!(names.len() > 2, "{names:?}");
    let known = [keys("variables that guests get"), keys("variables of guests")].concat();
    for name in names {
        assert!(known.iter().any(|key| key == name), "{name} is not in the reference");
    }
}

#[test]
fn every_field_of_the_log_is_in_the_reference() {
    // The one line that is the log's own form: time, level and msg.
    let found = sources::fields(&sources::shipped(), "daemon");
    assert!(found.iter().all(|field| field.contains("boot/logging.rs")), "write it by container/line.rs: {found:?}");
}

#[test]
fn the_chart_and_the_installer_take_the_options_of_the_reference() {
    let options = sorted(keys("options"));
    let schema = std::fs::read_to_string(repository().join("charts/catamaran/values.schema.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let taken = schema["properties"]["options"]["properties"].as_object().unwrap();
    assert_eq!(sorted(taken.keys().cloned().collect()), options);
}
