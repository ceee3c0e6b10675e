//! What is asked for, from the environment:
//!
//! - `VERSUS`: the absolute path of another `containerd-shim-NAME-vN`, measured with the Wasm images.
//! - `BENCH_ROUNDS`, `BENCH_WARM_UPS`: how often hello runs, and how often before that without counting.
//! - `BENCH_HERDS`: how often twenty containers are started, and how often twenty are left idle.
//! - `BENCH_COLD`: how often the Go guest starts with an empty cache.

use std::env;
use std::path::PathBuf;

use serde::Serialize;

/// How much is measured.
#[derive(Serialize)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) warm_ups: usize,
    pub(crate) herds: usize,
    pub(crate) cold: usize,
    /// Paths are the machine's own business and do not go into the report.
    #[serde(skip)]
    pub(crate) versus: Option<PathBuf>,
}

impl Plan {
    /// # Panics
    /// When a variable holds what it cannot hold.
    pub(crate) fn from_environment() -> Self {
        let versus = env::var_os("VERSUS").filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(path) = &versus {
            // containerd takes a path in place of a runtime's name only when it is absolute.
            assert!(path.is_absolute() && path.is_file(), "VERSUS={} is no absolute path of a file", path.display());
        }
        Self {
            rounds: number("BENCH_ROUNDS", 15, 1),
            warm_ups: number("BENCH_WARM_UPS", 2, 0),
            herds: number("BENCH_HERDS", 3, 0),
            cold: number("BENCH_COLD", 5, 0),
            versus,
        }
    }
}

fn number(name: &str, default: usize, least: usize) -> usize {
    let Ok(text) = env::var(name) else { return default };
    match text.parse() {
        Ok(number) if number >= least => number,
        _ => panic!("{name}={text} is no number of at least {least}"),
    }
}
