//! The chart `charts/catamaran`, rendered by Helm, and its checks.
//!
//! ```text
//! helm       lints and renders, by Helm 4 and 3          documents   the rendered YAML, taken apart
//! openapi    JSON schemas for kubeconform, from each Kubernetes' description of its objects
//! values     values.yaml, its comments and README.md's table
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test says that it failed"
)]

pub mod documents;
pub mod helm;
pub mod openapi;
pub mod values;

use std::fs;
use std::path::{Path, PathBuf};

/// The chart's folder.
pub fn chart() -> PathBuf {
    repository().join("charts/catamaran")
}

/// The folder of the whole repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// The text of a file of the chart.
///
/// # Panics
/// When it cannot be read.
pub fn text(name: &str) -> String {
    fs::read_to_string(chart().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Whether to write generated files in place: `make chart BLESS=1`.
pub fn bless() -> bool {
    std::env::var_os("BLESS").is_some_and(|value| !value.is_empty())
}

/// Compares with the content of a file, or writes it there.
///
/// # Panics
/// When they differ.
pub fn matches_file(file: &Path, made: &str) {
    let kept = fs::read_to_string(file).unwrap_or_default();
    if kept == made {
        return;
    }
    if bless() {
        fs::write(file, made).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        return;
    }
    let line = kept.lines().zip(made.lines()).position(|(one, other)| one != other);
    let line = line.unwrap_or_else(|| kept.lines().count().min(made.lines().count()));
    let at = |text: &str| text.lines().nth(line).unwrap_or("(the end)").to_owned();
    panic!(
        "{}, line {}: {:?} is kept, {:?} was made. If that is right: make chart BLESS=1, and look at the difference",
        file.display(),
        line + 1,
        at(&kept),
        at(made)
    );
}
