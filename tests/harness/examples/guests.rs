//! Builds the guests that need a compiler, into the cache, for tests on machines without one. No guest in C for Wasm is among them, because
//! no test on such a machine runs one.

#![allow(clippy::expect_used, reason = "a program for the tests: it says what is missing and ends")]

use std::path::Path;

use catamaran_harness::guests;

fn main() {
    guests::peer();
    guests::native("side");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/go");
    for entry in folder.read_dir().expect("tests/guests/go cannot be read") {
        let path = entry.expect("tests/guests/go cannot be read").path();
        if path.extension().is_some_and(|extension| extension == "go") {
            guests::go(&path.file_stem().expect("a file name").to_string_lossy());
        }
    }
}
