//! Replays the corpora: hand-made inputs, and what was found.

use std::path::PathBuf;

use catamaran_fuzz::{TARGETS, run};

/// The inputs of a target, by their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut all: Vec<_> = files
        .map(|file| {
            let file = file.unwrap();
            (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn every_input_of_every_corpus_is_borne() {
    for (name, target) in TARGETS {
        for (file, input) in corpus(name) {
            println!("{name}/{file}");
            run(target, &input);
            // And everything that it begins with, of the shorter ones.
            for end in (0..input.len().min(2000)).step_by(7) {
                run(target, &input[..end]);
            }
        }
    }
}

#[test]
fn valid_inputs_are_taken_and_refused_ones_are_not() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        for kind in ["valid", "refused"] {
            let of_kind: Vec<_> = corpus.iter().filter(|(file, _)| file.starts_with(kind)).collect();
            assert!(of_kind.len() >= 2, "{name} has {} inputs that are {kind}", of_kind.len());
            for (file, input) in of_kind {
                assert_eq!(run(target, input), kind == "valid", "{name}/{file}");
            }
        }
    }
}
