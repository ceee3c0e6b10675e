//! What the node's cache did, counted in a file that whoever shows metrics can read: one line a counter, its name and its
//! value since the file was made. First those of all engines together, then each engine's: `compiles.wasmtime`.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use log::debug;
use rustix::fs::FlockOperation;

use crate::engine::Engine;

const NAME: &str = "counters";

/// What is counted.
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
    /// Orders that came to nothing without a module's fault, those for better code among them.
    Failures,
    /// Entries that went because the cache was full.
    Evictions,
}

const ALL: [(Counter, &str); 6] = [
    (Counter::Hits, "hits"),
    (Counter::Misses, "misses"),
    (Counter::Compiles, "compiles"),
    (Counter::Refusals, "refusals"),
    (Counter::Failures, "failures"),
    (Counter::Evictions, "evictions"),
];

/// Adds one. A count that cannot be written is lost: no container fails for it.
pub fn add(root: &Path, engine: Engine, counter: Counter) {
    if let Err(e) = try_add(root, engine, counter) {
        debug!("counting {counter:?}: {e}");
    }
}

fn try_add(root: &Path, engine: Engine, counter: Counter) -> io::Result<()> {
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).mode(0o644).open(root.join(NAME))?;
    // Never waited for: anybody who can read the file can hold its lock, and a shim has one thread.
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let mut text = String::new();
    (&file).take(4096).read_to_string(&mut text)?;
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok()).unwrap_or(0)
    };
    let mut lines = Vec::new();
    for of in [None].into_iter().chain(Engine::ALL.map(Some)) {
        for (each, name) in ALL {
            let name = of.map_or_else(|| name.to_owned(), |of| format!("{name}.{of}"));
            let more = each == counter && of.is_none_or(|of| of == engine);
            lines.push(format!("{name} {}\n", value(&name) + u64::from(more)));
        }
    }
    let text = lines.concat();
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_count_by_name() {
        let root = std::env::temp_dir().join(format!("catamaran-counters-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        for (engine, counter) in [
            (Engine::Wasmtime, Counter::Hits),
            (Engine::Wasmer, Counter::Hits),
            (Engine::Wasmer, Counter::Hits),
            (Engine::Wasmtime, Counter::Evictions),
        ] {
            add(&root, engine, counter);
        }
        let text = std::fs::read_to_string(root.join(NAME)).unwrap();
        let told: Vec<_> = text.lines().filter(|line| !line.ends_with(" 0")).collect();
        let expected = ["hits 3", "evictions 1", "hits.wasmtime 1", "evictions.wasmtime 1", "hits.wasmer 2"];
        assert_eq!(told, expected);
        assert_eq!(text.lines().count(), 3 * ALL.len());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
