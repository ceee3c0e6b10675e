//! The word that names everything of a node.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// The beginning of every node's tag.
pub(crate) const PREFIX: &str = "catamaran-test-";

static NEXT: AtomicU32 = AtomicU32::new(1);

/// Makes a new tag: `catamaran-test-PID-STARTED-NNN`, the process that owns the node, its start time (which tells a reused pid apart) and a
/// number, all of one width so that no tag is a prefix of another.
pub(crate) fn new() -> String {
    let pid = std::process::id();
    let started = started(pid).expect("/proc does not know this process");
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(number < 1000, "a thousand nodes in one test program");
    format!("{PREFIX}{pid}-{started}-{number:03}")
}

/// Makes a new folder of the test program's own, which names no node. The caller removes it; the folder of a killed program is swept as
/// nodes are.
///
/// # Panics
/// When it cannot be made.
pub fn scratch() -> PathBuf {
    let path = std::env::temp_dir().join(new());
    fs::create_dir(&path).unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
    path
}

/// Whether the process that made the tag has ended. False for a name that is no tag.
pub(crate) fn is_stale(tag: &str) -> bool {
    let Some(rest) = tag.strip_prefix(PREFIX) else { return false };
    let words: Vec<&str> = rest.split('-').collect();
    let [pid, start, _] = words[..] else { return false };
    match (pid.parse::<u32>(), start.parse::<u64>()) {
        (Ok(pid), Ok(start)) => started(pid) != Some(start),
        _ => false,
    }
}

/// The start time of a process, in clock ticks since boot.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name in parentheses, may itself hold blanks and parentheses.
    let after = stat.rsplit_once(')')?.1;
    let mut fields = after.split_ascii_whitespace();
    let state = fields.next()?;
    // A zombie does nothing any more, so it counts as gone.
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{is_stale, new, started};

    #[test]
    fn a_tag_lives_as_long_as_its_process() {
        assert!(!is_stale(&new()));
        let pid = std::process::id();
        let start = started(pid).unwrap();
        assert!(is_stale(&format!("catamaran-test-{pid}-{}-001", start + 1)));
        assert!(is_stale("catamaran-test-4194305-1-001"));
    }

    #[test]
    fn names_that_are_no_tags_are_left_alone() {
        for word in ["", "catamaran-test-", "catamaran-test-1", "catamaran-test-a-b-c", "system.slice"] {
            assert!(!is_stale(word), "{word}");
        }
    }
}
