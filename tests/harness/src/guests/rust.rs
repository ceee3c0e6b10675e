//! The Rust compiler for examples.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::programs::provided;

/// A compiler with the standard library for `wasm32-wasip1` and `wasm32-wasip2`, as `provision-rust` fetched it.
pub(crate) struct Rust {
    /// The program.
    pub(crate) rustc: PathBuf,
    /// Its version, as it names it.
    pub(crate) version: String,
}

impl Rust {
    /// # Panics
    /// When it is not there and cannot be fetched; the script lists its attempts on stderr.
    pub(crate) fn provide() -> &'static Self {
        static RUST: OnceLock<Rust> = OnceLock::new();
        RUST.get_or_init(|| {
            let value = provided("provision-rust");
            Self { rustc: PathBuf::from(value("folder")).join("bin/rustc"), version: value("version") }
        })
    }
}
