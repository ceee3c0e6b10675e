//! The plan of a run, from the environment:
//!
//! - `VERSUS`: the absolute path of another `containerd-shim-NAME-vN`, measured with the Wasm images.
//! - `BENCH_ROUNDS`, `BENCH_WARM_UPS`: how often hello runs, and how often before that without counting.
//! - `BENCH_HERDS`: how often twenty containers are started, and how often twenty are left idle.
//! - `BENCH_COLD`: how often the Go guest starts with an empty cache.
//! - `BENCH_SIZES`: how often modules of 0.1, 5 and 50 MB start with an empty cache, as a file and as a layer.
//! - `BENCH_STAMPEDES`: how often ten first starts come at once.
//! - `BENCH_CODE`: how often twenty containers of a module of 15 MB are left idle.
//! - `BENCH_COMPUTE`: how often the C programs compute.
//! - `BENCH_PODS`: how often twenty pods of the CRI are left idle.
//! - `BENCH_SERVERS`: how often each server starts, and is put under each load: ten minutes a time.
//!
//! 0 leaves rows out.

use std::env;
use std::path::PathBuf;

use serde::Serialize;

/// How much to measure.
#[derive(Serialize)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) warm_ups: usize,
    pub(crate) herds: usize,
    pub(crate) cold: usize,
    pub(crate) sizes: usize,
    pub(crate) stampedes: usize,
    pub(crate) code: usize,
    pub(crate) compute: usize,
    pub(crate) pods: usize,
    pub(crate) servers: usize,
    /// Paths are the machine's own and do not go into the report.
    #[serde(skip)]
    pub(crate) versus: Option<PathBuf>,
}

impl Plan {
    /// # Panics
    /// When a variable has an invalid value.
    pub(crate) fn from_environment() -> Self {
        let versus = env::var_os("VERSUS").filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(path) = &versus {
            // containerd takes a path in place of a runtime's name only when it is absolute.
            assert!(path.is_absolute() && path.is_file(), "VERSUS={} is no absolute path of a file", path.display());
        }
        Self {
            rounds: number("BENCH_ROUNDS", 15),
            warm_ups: number("BENCH_WARM_UPS", 2),
            herds: number("BENCH_HERDS", 3),
            cold: number("BENCH_COLD", 5),
            sizes: number("BENCH_SIZES", 1),
            stampedes: number("BENCH_STAMPEDES", 3),
            code: number("BENCH_CODE", 1),
            compute: number("BENCH_COMPUTE", 5),
            pods: number("BENCH_PODS", 1),
            servers: number("BENCH_SERVERS", 3),
            versus,
        }
    }
}

fn number(name: &str, default: usize) -> usize {
    let Ok(text) = env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name}={text} is no whole number, 0 or more"))
}
