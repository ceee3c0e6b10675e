//! The plan of a run, from the environment:
//!
//! - `VERSUS`: the absolute path of another `containerd-shim-NAME-vN`, measured with the Wasm images.
//! - `BENCH_ROUNDS`, `BENCH_WARM_UPS`: how often hello runs, and how often before that without counting.
//! - `BENCH_HERDS`: how often twenty containers are started, and how often twenty are left idle.
//! - `BENCH_FIRST`: how often programs of Go with 6 and 14 MB start with an empty cache, and CPython if `BENCH_CPYTHON` is the path of a
//!   `python.wasm` with its library inside, such as `tests/suites/provision-cpython` provides. `BENCH_APPLICATIONS` has the paths of two
//!   components, such as componentize-js makes of two scripts: commands that print something.
//! - `BENCH_LARGE`: how often one of 49 MB does: ten minutes a time.
//! - `BENCH_SIZES`: how often modules of 0.1, 5 and 50 MB start with an empty cache, as a file and as a layer.
//! - `BENCH_STAMPEDES`: how often one first start and ten at once come, quiet and beside load.
//! - `BENCH_CODE`: how often twenty containers of a module of 15 MB are left idle.
//! - `BENCH_COMPUTE`: how often the C programs compute.
//! - `BENCH_PODS`: how often twenty pods of the CRI are left idle.
//! - `BENCH_CROWD`, `BENCH_CROWD_PODS`: how many containers, and how many pods of the CRI, a crowded node has. Once each, some two minutes
//!   a contender.
//! - `BENCH_CONTENDERS`: the columns of the shims' table to measure, such as `catamaran runc`, instead of all.
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
    pub(crate) first: usize,
    pub(crate) large: usize,
    pub(crate) sizes: usize,
    pub(crate) stampedes: usize,
    pub(crate) code: usize,
    pub(crate) compute: usize,
    pub(crate) pods: usize,
    pub(crate) crowd: usize,
    pub(crate) crowd_pods: usize,
    pub(crate) servers: usize,
    pub(crate) contenders: Option<Vec<String>>,
    /// Paths are the machine's own and do not go into the report.
    #[serde(skip)]
    pub(crate) versus: Option<PathBuf>,
    #[serde(skip)]
    pub(crate) cpython: Option<PathBuf>,
    #[serde(skip)]
    pub(crate) applications: Option<[PathBuf; 2]>,
}

impl Plan {
    /// # Panics
    /// When a variable has an invalid value.
    pub(crate) fn from_environment() -> Self {
        let path = |name| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let versus = path("VERSUS");
        let cpython = path("BENCH_CPYTHON");
        if let Some(file) = &cpython {
            assert!(file.is_file(), "BENCH_CPYTHON={} is no file", file.display());
        }
        let applications = env::var("BENCH_APPLICATIONS").ok().map(|text| {
            let paths: Vec<_> = text.split_whitespace().map(PathBuf::from).collect();
            <[PathBuf; 2]>::try_from(paths).unwrap_or_else(|_| panic!("BENCH_APPLICATIONS={text} is no two paths"))
        });
        let words = |text: String| text.split_whitespace().map(str::to_owned).collect();
        if let Some(path) = &versus {
            // containerd takes a path in place of a runtime's name only when it is absolute.
            assert!(path.is_absolute() && path.is_file(), "VERSUS={} is no absolute path of a file", path.display());
        }
        Self {
            rounds: number("BENCH_ROUNDS", 15),
            warm_ups: number("BENCH_WARM_UPS", 2),
            herds: number("BENCH_HERDS", 3),
            first: number("BENCH_FIRST", 3),
            large: number("BENCH_LARGE", 1),
            sizes: number("BENCH_SIZES", 1),
            stampedes: number("BENCH_STAMPEDES", 3),
            code: number("BENCH_CODE", 1),
            compute: number("BENCH_COMPUTE", 7),
            pods: number("BENCH_PODS", 1),
            crowd: number("BENCH_CROWD", 500),
            crowd_pods: number("BENCH_CROWD_PODS", 300),
            servers: number("BENCH_SERVERS", 3),
            contenders: env::var("BENCH_CONTENDERS").ok().map(words),
            versus,
            cpython,
            applications,
        }
    }
}

fn number(name: &str, default: usize) -> usize {
    let Ok(text) = env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name}={text} is no whole number, 0 or more"))
}
