//! Every command of the documents has a way, and every way its command. Needs neither root nor containerd.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use catamaran_documents::{WAYS, Way, clone, pages};

const TABLE: &str = "tests/documents/src/ways.rs";

/// The commands of all pages, with the places where they stand.
fn commands() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for block in pages().iter().flat_map(catamaran_documents::Page::blocks) {
        for command in block.commands().unwrap_or_else(|error| panic!("{error}")) {
            found.entry(command.text).or_default().push(block.place.clone());
        }
    }
    found
}

#[test]
fn every_command_of_the_documents_has_a_test_or_a_reason_and_none_is_listed_that_is_gone() {
    let commands = commands();
    assert!(commands.len() > 50, "only {} commands were found", commands.len());
    let listed: Vec<&str> = WAYS.iter().flat_map(|(_, texts)| *texts).copied().collect();
    let once: BTreeSet<&str> = listed.iter().copied().collect();
    let mut wrong: Vec<String> = Vec::new();
    for (text, places) in commands.iter().filter(|(text, _)| !once.contains(text.as_str())) {
        wrong.push(format!("{}: nothing runs `{text}`: list it in {TABLE}", places.join(", ")));
    }
    for text in once.iter().filter(|text| !commands.contains_key(**text)) {
        wrong.push(format!("{TABLE}: no page has `{text}`"));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert_eq!(listed.len(), once.len(), "{TABLE} lists a command twice");
}

/// A test takes its commands from the table by its own name.
#[test]
fn every_test_that_is_to_run_a_command_exists_and_takes_its_commands() {
    let mut tests = 0;
    for (way, texts) in WAYS {
        match way {
            Way::Test { file, name } => {
                let source = fs::read_to_string(clone().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
                for needed in [format!("fn {name}("), format!("Assigned::to(\"{name}\")")] {
                    assert!(source.contains(&needed), "{file} has no `{needed}`");
                }
                tests += 1;
            }
            Way::Ci => {
                let ci = fs::read_to_string(clone().join(".ci/run")).unwrap();
                for text in *texts {
                    let step = |line: &str| line.starts_with("step ") && line.ends_with(&format!("' {text}"));
                    assert!(ci.lines().any(step), ".ci/run has no step `{text}`");
                }
            }
            Way::NotHere(reason) => assert!(reason.len() > 20, "{texts:?}: {reason:?} is no reason"),
        }
    }
    assert!(tests > 5, "{tests}");
}

/// A figure's block has no language, and no commands either.
#[test]
fn no_command_hides_in_a_block_without_a_language() {
    let programs: BTreeSet<String> = commands()
        .keys()
        .filter_map(|text| text.split(' ').find(|word| !word.contains('=')))
        .map(str::to_owned)
        .collect();
    for block in pages().iter().flat_map(catamaran_documents::Page::blocks).filter(|block| block.language.is_empty()) {
        for line in block.text.lines() {
            let first = line.trim_start().split(' ').next().unwrap_or_default();
            assert!(
                !["$", "#"].contains(&first) && !programs.contains(first),
                "{}: '{line}' is a command",
                block.place
            );
        }
    }
}

/// Targets in the text too, such as `make bench`.
#[test]
fn every_target_of_make_that_the_documents_name_exists() {
    let makefile = fs::read_to_string(clone().join("Makefile")).unwrap();
    let mut seen = 0;
    for page in pages() {
        for place in ["`make ", "$ make ", "\n# make "] {
            for rest in page.text.split(place).skip(1) {
                let target = rest.split(|letter: char| !letter.is_ascii_lowercase() && letter != '-').next().unwrap();
                assert!(makefile.contains(&format!("\n{target}:")), "{}: there is no `make {target}`", page.path);
                seen += 1;
            }
        }
    }
    assert!(seen > 15, "{seen}");
}
