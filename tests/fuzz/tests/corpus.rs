//! Replays the corpora: hand-made inputs, and earlier findings.

use std::path::PathBuf;

use catamaran_fuzz::{TARGETS, run};

/// The inputs of a target, by their names.
fn corpus(target: &str) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let read = |file: std::io::Result<std::fs::DirEntry>| {
        let file = file?;
        Ok((file.file_name().to_string_lossy().into_owned(), std::fs::read(file.path())?))
    };
    let mut all = std::fs::read_dir(folder)?.map(read).collect::<std::io::Result<Vec<_>>>()?;
    all.sort();
    Ok(all)
}

#[test]
fn no_input_of_a_corpus_panics_or_exceeds_its_bounds() {
    for (name, target) in TARGETS {
        for (file, input) in corpus(name).unwrap() {
            println!("{name}/{file}");
            run(target, &input);
            // And every beginning of it, for shorter inputs.
            for end in (0..input.len().min(2000)).step_by(7) {
                run(target, &input[..end]);
            }
        }
    }
}

#[test]
fn valid_inputs_are_accepted_and_invalid_ones_refused() {
    for (name, target) in TARGETS {
        let corpus = corpus(name).unwrap();
        for kind in ["valid", "refused"] {
            let of_kind: Vec<_> = corpus.iter().filter(|(file, _)| file.starts_with(kind)).collect();
            assert!(of_kind.len() >= 2, "{name} has {} inputs that are {kind}", of_kind.len());
            for (file, input) in of_kind {
                assert_eq!(run(target, input), kind == "valid", "{name}/{file}");
            }
        }
    }
}
