//! What the node's cache did, counted in a file that whoever shows metrics can read: one line a counter, its name and its
//! value since the file was made.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use log::debug;
use rustix::fs::FlockOperation;

const NAME: &str = "counters";

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counter {
    /// Starts that found an artifact.
    Hits,
    /// Starts that had to wait for one.
    Misses,
    /// Compile processes.
    Compiles,
    /// Modules that were found to be at fault.
    Refusals,
    /// Entries that went because the cache was full.
    Evictions,
}

const ALL: [(Counter, &str); 5] = [
    (Counter::Hits, "hits"),
    (Counter::Misses, "misses"),
    (Counter::Compiles, "compiles"),
    (Counter::Refusals, "refusals"),
    (Counter::Evictions, "evictions"),
];

/// Adds one. A count that cannot be written is lost: no container fails for it.
pub(super) fn add(root: &Path, counter: Counter) {
    if let Err(e) = try_add(root, counter) {
        debug!("counting {counter:?}: {e}");
    }
}

fn try_add(root: &Path, counter: Counter) -> io::Result<()> {
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).mode(0o644).open(root.join(NAME))?;
    // Never waited for: anybody who can read the file can hold its lock, and a shim has one thread.
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let mut text = String::new();
    (&file).take(4096).read_to_string(&mut text)?;
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok()).unwrap_or(0)
    };
    let lines: Vec<_> =
        ALL.iter().map(|(each, name)| format!("{name} {}\n", value(name) + u64::from(*each == counter))).collect();
    let text = lines.concat();
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_by_its_name() {
        let root = std::env::temp_dir().join(format!("catamaran-counters-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        for counter in [Counter::Hits, Counter::Hits, Counter::Evictions] {
            add(&root, counter);
        }
        let text = std::fs::read_to_string(root.join(NAME)).unwrap();
        assert_eq!(text, "hits 2\nmisses 0\ncompiles 0\nrefusals 0\nevictions 1\n");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
