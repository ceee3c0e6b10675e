//! Counts what a node's shims did, in a file that `catamaran` shows and serves as metrics: a line for each count, with its name and its
//! value since the file was made.
//!
//! ```text
//! hits misses compiles refusals failures evictions     of all engines; of one engine, as in hits.wasmtime
//! starts.ENGINE.WORLD.ORIGIN                           containers and execs by the world of their code (command, http) and where it
//!                                                      came from (best, fast, uncached)
//! compiled.ENGINE.TIER  compile_milliseconds.ENGINE.TIER   compile processes that ended, and how long they ran
//! refused.REASON                                       containers that were not created
//! traps.ENGINE          guests that ended with the exit code of a trap
//! oom_kills.ENGINE      OOM kills; oom_kills.native are those of native containers and the pod's own
//! shim_deaths           pods that were cleaned up after a shim that had died or hung
//! ```
//!
//! Lines with other names are kept, because a newer version's pods may run beside those of this version.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use catamaran_worker::compiler::Tier;
use log::debug;
use rustix::fs::FlockOperation;

use crate::engine::Engine;
use crate::target::Target;

const NAME: &str = "counters";
/// A file of this size or more is not ours.
const MOST_BYTES: usize = 16 << 10;

/// What is counted of the cache, for all engines together and for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Starts that found an artifact.
    Hits,
    /// Starts that had to wait for one.
    Misses,
    /// Compile processes.
    Compiles,
    /// Modules that were found to be at fault.
    Refusals,
    /// Orders that failed without a module's fault, those for better code among them.
    Failures,
    /// Entries that were evicted because the cache was full.
    Evictions,
}

impl Counter {
    fn word(self) -> &'static str {
        match self {
            Counter::Hits => "hits",
            Counter::Misses => "misses",
            Counter::Compiles => "compiles",
            Counter::Refusals => "refusals",
            Counter::Failures => "failures",
            Counter::Evictions => "evictions",
        }
    }
}

/// Why a container was not created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The pod, its annotations or the handler's options ask for something that does not exist.
    Spec,
    /// The node lacks something.
    Node,
    /// The module cannot run.
    Module,
    /// No engine that the pod may use runs the module.
    Engine,
    /// The compiler failed, or too many waited for it.
    Compiler,
    /// A hook of the pod failed.
    Hook,
    /// The program that should read the output does not.
    Logger,
    /// runc refused a native container.
    Runtime,
    /// The worker could not confine itself.
    Worker,
    /// The operating system failed.
    System,
}

impl Reason {
    fn word(self) -> &'static str {
        match self {
            Reason::Spec => "spec",
            Reason::Node => "node",
            Reason::Module => "module",
            Reason::Engine => "engine",
            Reason::Compiler => "compiler",
            Reason::Hook => "hook",
            Reason::Logger => "logger",
            Reason::Runtime => "runtime",
            Reason::Worker => "worker",
            Reason::System => "system",
        }
    }
}

/// One thing that happened, or several of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// A cache event.
    Cache(Engine, Counter),
    /// A guest was started.
    Start {
        /// The target of its code.
        target: Target,
        /// The tier of its code.
        tier: Tier,
        /// Whether the code is in memory alone.
        uncached: bool,
    },
    /// A compile process ended, with any result.
    Compiled {
        /// The compiler's engine.
        engine: Engine,
        /// The tier of the code that it was to make.
        tier: Tier,
        /// How long it ran.
        took: Duration,
    },
    /// A container was not created.
    Refused(Reason),
    /// A guest ended with the exit code of a trap.
    Trap(Engine),
    /// The kernel made so many OOM kills in a container of that engine, or of none.
    OomKills(Option<Engine>, u64),
    /// A pod was cleaned up after its shim had died or hung.
    ShimDeath,
}

impl Count {
    /// Returns the names of the lines that count it, and by how much.
    fn lines(self) -> Vec<(String, u64)> {
        match self {
            Count::Cache(engine, counter) => {
                vec![(counter.word().to_owned(), 1), (format!("{}.{engine}", counter.word()), 1)]
            }
            Count::Start { target, tier, uncached } => {
                let origin = if uncached { "uncached" } else { tier.word() };
                vec![(format!("starts.{}.{}.{origin}", target.engine(), target.world_word()), 1)]
            }
            Count::Compiled { engine, tier, took } => {
                let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                let of = format!("{engine}.{}", tier.word());
                vec![(format!("compiled.{of}"), 1), (format!("compile_milliseconds.{of}"), milliseconds)]
            }
            Count::Refused(reason) => vec![(format!("refused.{}", reason.word()), 1)],
            Count::Trap(engine) => vec![(format!("traps.{engine}"), 1)],
            Count::OomKills(engine, kills) => {
                vec![(format!("oom_kills.{}", engine.map_or("native", Engine::word)), kills)]
            }
            Count::ShimDeath => vec![("shim_deaths".to_owned(), 1)],
        }
    }
}

/// Adds to the file below `root`, all in one update. Counts that cannot be written are lost: no container fails because of them.
pub fn add(root: &Path, counts: &[Count]) {
    if let Err(e) = try_add(root, counts) {
        debug!("counting {counts:?}: {e}");
    }
}

fn try_add(root: &Path, counts: &[Count]) -> io::Result<()> {
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o644).open(root.join(NAME))?;
    // Does not wait for the lock, because anybody who can read the file can hold it, and a shim has one thread.
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let mut bytes = vec![0; MOST_BYTES];
    let length = file.read_at(&mut bytes, 0)?;
    if length == MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has {MOST_BYTES} bytes or more")));
    }
    let text = added(&String::from_utf8_lossy(&bytes[..length]), counts);
    file.write_all_at(text.as_bytes(), 0)?;
    match text.len() < length {
        true => file.set_len(text.len() as u64),
        false => Ok(()),
    }
}

/// Returns the lines of `text` with these counts added.
fn added(text: &str, counts: &[Count]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (name, more) in counts.iter().copied().flat_map(Count::lines) {
        let value = |line: &str| line.strip_prefix(&name)?.strip_prefix(' ')?.parse::<u64>().ok();
        match lines.iter_mut().find_map(|line| value(line).map(|value| (line, value))) {
            Some((line, value)) => *line = format!("{name} {}", value.saturating_add(more)),
            None => lines.push(format!("{name} {more}")),
        }
    }
    lines.iter().fold(String::new(), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let root = std::env::temp_dir().join(format!("catamaran-counters-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        root
    }

    #[test]
    fn counters_count_by_name() {
        let root = folder("names");
        let of = Count::Cache;
        add(&root, &[of(Engine::Wasmtime, Counter::Hits)]);
        let start = Count::Start { target: Target::Wasmer, tier: Tier::Fast, uncached: false };
        for _ in 0..2 {
            add(&root, &[of(Engine::Wasmer, Counter::Hits), start]);
        }
        for (target, tier, uncached) in [
            (Target::WasmtimeHttp, Tier::Best, false),
            (Target::WasmtimeHttpUninterrupted, Tier::Best, false),
            (Target::WasmtimeHttp, Tier::Fast, false),
        ] {
            add(&root, &[Count::Start { target, tier, uncached }]);
        }
        add(&root, &[Count::Start { target: Target::Wasmer, tier: Tier::Best, uncached: true }, Count::ShimDeath]);
        let took = Duration::from_millis(1234);
        for count in [
            Count::Compiled { engine: Engine::Wasmtime, tier: Tier::Best, took },
            Count::Compiled { engine: Engine::Wasmtime, tier: Tier::Best, took },
            Count::Refused(Reason::Module),
            Count::Trap(Engine::Wasmtime),
            Count::OomKills(Some(Engine::Wasmer), 2),
            Count::OomKills(None, 1),
        ] {
            add(&root, &[count]);
        }
        let text = std::fs::read_to_string(root.join(NAME)).unwrap();
        let expected = [
            "hits 3",
            "hits.wasmtime 1",
            "hits.wasmer 2",
            "starts.wasmer.command.fast 2",
            "starts.wasmtime.http.best 2",
            "starts.wasmtime.http.fast 1",
            "starts.wasmer.command.uncached 1",
            "shim_deaths 1",
            "compiled.wasmtime.best 2",
            "compile_milliseconds.wasmtime.best 2468",
            "refused.module 1",
            "traps.wasmtime 1",
            "oom_kills.wasmer 2",
            "oom_kills.native 1",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn lines_of_other_versions_are_kept() {
        let text = "hits 7\nhits.wasmtime 7\nfuel.wasmtime.http 12 and more\nhits.other x\n";
        let text = added(text, &[Count::Cache(Engine::Wasmtime, Counter::Hits), Count::ShimDeath]);
        assert_eq!(text, "hits 8\nhits.wasmtime 8\nfuel.wasmtime.http 12 and more\nhits.other x\nshim_deaths 1\n");
    }

    #[test]
    fn a_file_of_others_or_a_held_one_is_left_as_it_is() {
        let root = folder("foreign");
        let path = root.join(NAME);
        let large = "x".repeat(MOST_BYTES);
        std::fs::write(&path, &large).unwrap();
        assert!(try_add(&root, &[Count::ShimDeath]).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), large);
        std::fs::write(&path, "hits 1\n").unwrap();
        let held = File::open(&path).unwrap();
        held.lock().unwrap();
        assert!(try_add(&root, &[Count::ShimDeath]).is_err());
        drop(held);
        try_add(&root, &[Count::ShimDeath]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "hits 1\nshim_deaths 1\n");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
